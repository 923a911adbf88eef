"""Abstract class of a kind of measured data: a new one is one file and one line in `registry`."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from proda.column.column import Column
from proda.errors import ObservationError
from proda.files import reading
from proda.grid import Grid
from proda.models.model import SoilModel, SteadyState, Values
from proda.parameters import Parameter

KEPT = "kept"
CARBON = "carbon"
"""Name of the carbon of the profiles among the data of a run."""
CORE = ("source_id", "lat", "lon", "upper", "lower", "year", "value")
"""Columns of the rows that a reader returns: identifier of the profile (or empty), degrees, m, m,
decimal year, value in the stream's unit. A stream may have more, for its rules."""


Scale = Literal["identity", "log", "logit"]


def on_scale(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Return values on the scale of a stream; NaN where there is none."""
    result = np.asarray(values, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        if scale != "identity":
            result = np.log(result) - (np.log1p(-result) if scale == "logit" else 0.0)
    return np.where(np.isfinite(result), result, np.nan)


def from_scale(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Return values in the unit of a stream from those on its scale."""
    if scale == "identity":
        return values
    return np.asarray(np.exp(values) if scale == "log" else 1.0 / (1.0 + np.exp(-values)))


class StreamData(eqx.Module):
    """Measured values of one site, padded to a fixed number."""

    observed: Float[Array, " observation"]
    """In the stream's unit; harmless in the padding."""
    mask: Bool[Array, " observation"]
    """False in the padding, and for layers whose middle lies in bedrock."""
    overlap: Float[Array, "observation layer"]
    """How much of each model layer a measured layer covers, as a share of the model layer."""
    extra: Float[Array, "observation term"]
    """What else a value brings: for 14C, the coefficients of its history."""


@dataclass
class Rows:
    """Rows of a source, of which each gets one reason or is kept."""

    table: pd.DataFrame
    reason: pd.Series = field(init=False)

    def __post_init__(self) -> None:
        if missing := [name for name in CORE if name not in self.table]:
            raise AssertionError(f"a reader must return {', '.join(missing)}")
        self.table = self.table.reset_index(drop=True)
        self.reason = pd.Series(KEPT, index=self.table.index)

    def rule(self, name: str, holds: Any) -> None:
        """Give rows without a reason this one where it holds."""
        fits = pd.Series(np.asarray(holds), index=self.table.index).fillna(False).astype(bool)
        self.reason[(self.reason == KEPT) & fits] = name

    def usual_rules(self, layered: bool) -> None:
        """Apply the rules of most streams: a value, coordinates and, of layers, bounds."""
        t = self.table
        self.rule("no_value", ~np.isfinite(t.value))
        self.rule("coordinates_missing", t.lat.isna() | t.lon.isna())
        if layered:
            self.rule("depth_missing", ~(np.isfinite(t.upper) & np.isfinite(t.lower)))
            self.rule("no_thickness", t.lower <= t.upper)

    @property
    def kept(self) -> pd.DataFrame:
        """Rows without a reason."""
        return self.table[self.reason == KEPT]


class Stream(eqx.Module):
    """One kind of measured data, from its reader to its likelihood."""

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    layered: ClassVar[bool] = True
    """Whether values belong to layers (else to the whole column)."""
    reasons: ClassVar[dict[str, str]]
    """Names of the rules in their order, with their meaning."""
    sources: ClassVar[tuple[str, ...]]
    """Formats that `read` understands, in words."""
    of_forcing: ClassVar[str] = ""
    """Why networks cannot learn from it, where it describes the forcing, not parameters."""
    scale: ClassVar[Scale] = "identity"
    """Scale on which errors are judged."""

    # -- building the table ---------------------------------------------------------------------
    @abc.abstractmethod
    def read(self, source: Path) -> pd.DataFrame:
        """Return all rows of a source, nothing left out, in the stream's unit."""

    @abc.abstractmethod
    def judge(self, rows: Rows) -> None:
        """Apply the stream's own rules, in their order."""

    def extras(self, table: pd.DataFrame) -> Float[np.ndarray, "row term"]:
        """Return what else each kept row brings; nothing, unless a stream says so."""
        return np.zeros((len(table), 0))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings with which a table was made, which a run must have too."""
        return {}

    # -- in the compiled program ----------------------------------------------------------------
    @property
    @abc.abstractmethod
    def rows(self) -> tuple[Parameter, ...]:
        """Parameters of the stream, sampled after those of the model."""

    def rows_of(self, model: SoilModel) -> tuple[Parameter, ...]:
        """Return the parameters of the stream that a model needs."""
        return self.rows

    def lacking(self, model: SoilModel) -> str:
        """Say why a model has no counterpart of these data; empty if it has."""
        return ""

    def acts_on(self, column: Column, values: Values) -> Column:
        """Return the column with what the stream says is uncertain of it."""
        return column

    def log_prior(self, values: Values) -> Float[Array, ""]:
        """Return the log-density of the stream's own parameters over that of a uniform prior."""
        return jnp.zeros(())

    @abc.abstractmethod
    def predict(
        self,
        model: SoilModel,
        state: SteadyState,
        values: Values,
        column: Column,
        data: StreamData,
    ) -> Float[Array, " observation"]:
        """Return the modelled counterpart of each value, in the stream's unit."""

    @abc.abstractmethod
    def pointwise(
        self, modelled: Float[Array, " observation"], data: StreamData, values: Values
    ) -> Float[Array, " observation"]:
        """Return the log-density of each value; 0 in the padding."""

    def prepare(
        self, site: np.ndarray, table: pd.DataFrame, nbedrock: np.ndarray, grid: Grid, size: int
    ) -> StreamData:
        """Return the values of sites, in their order, padded to `size`.

        Parameters
        ----------
        site
            Names of the sites.
        table
            Rows of a table of this stream, with `site` and `extra_0`, `extra_1`, ...
        nbedrock
            Layers of soil at each site.
        grid
            The model's layers.
        size
            Number of values that a site is padded to.
        """
        n, terms = len(site), [c for c in table.columns if c.startswith("extra_")]
        observed, mask = np.full((n, size), self.harmless), np.zeros((n, size), bool)
        overlap = np.zeros((n, size, len(grid)))
        overlap[..., 0] = 1.0
        extra = np.zeros((n, size, len(terms)))
        groups = dict(tuple(table.groupby("site", sort=False))) if len(table) else {}
        for i, name in enumerate(site):
            own = groups.get(str(name))
            if own is None:
                continue
            k = len(own)
            observed[i, :k], mask[i, :k] = own["value"].to_numpy(float), True
            extra[i, :k] = own[terms].to_numpy(float)
            if not self.layered:
                continue
            bottom = grid.interface[int(nbedrock[i]) - 1]
            for j, (upper, lower) in enumerate(own[["upper", "lower"]].to_numpy(float)):
                share = grid.thickness_within(upper, min(lower, bottom)) / grid.thickness
                mask[i, j] = 0.5 * (upper + lower) <= bottom
                if mask[i, j]:
                    overlap[i, j] = share
        return StreamData(*map(jnp.asarray, (observed, mask, overlap, extra)))

    harmless: ClassVar[float] = 0.0
    """A value that does no harm in the arithmetic of the padding."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet table of a source."""
    with reading(path, "table"):
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, encoding="latin-1", low_memory=False)


def own_places(table: pd.DataFrame, layered: bool = True) -> pd.DataFrame:
    """Return where and when the rows of a table of one's own were measured: `CORE` but the value.

    Parameters
    ----------
    table
        With lat, lon, year and, where `layered`, upper_depth and lower_depth (m); profile_id may
        be absent.
    """
    depths = ("upper_depth", "lower_depth")
    upper, lower = (table[n].astype(float) if layered else np.nan for n in depths)
    return pd.DataFrame(
        {
            "source_id": table.get("profile_id", pd.Series("", index=table.index)).astype(str),
            "lat": table["lat"].astype(float),
            "lon": table["lon"].astype(float),
            "upper": upper,
            "lower": lower,
            "year": table["year"].astype(float),
        }
    )


def own_flags(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the flags of a table of one's own; a column that is absent is False."""
    return {name: table[name].eq(True) if name in table else False for name in names}


def words(column: pd.Series) -> pd.Series:
    """Return the texts of a column without blanks around them; missing ones are empty."""
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def need(table: pd.DataFrame, names: tuple[str, ...], where: Path, what: str) -> None:
    """Refuse a table without some columns.

    Raises
    ------
    ObservationError
        Naming them.
    """
    if missing := [name for name in names if name not in table]:
        raise ObservationError(f"{where}: not {what}; it lacks the columns {', '.join(missing)}.")


def student_t(z: Float[Array, "..."], scale: Any, degrees: float) -> Float[Array, "..."]:
    """Return the log-density of Student's t of a residual z / scale."""
    from math import lgamma, log, pi

    constant = lgamma((degrees + 1.0) / 2.0) - lgamma(degrees / 2.0) - 0.5 * log(degrees * pi)
    tail = 0.5 * (degrees + 1.0) * jnp.log1p((z / scale) ** 2 / degrees)
    return constant - jnp.log(scale) - tail


def normal(z: Float[Array, "..."], sd: Any) -> Float[Array, "..."]:
    """Return the log-density of a normal residual z."""
    return -0.5 * (z / sd) ** 2 - jnp.log(sd) - 0.5 * float(np.log(2.0 * np.pi))


def safe_log(value: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the logarithm, and -inf (with a finite derivative) where there is none."""
    there = value > 0.0
    return jnp.where(there, jnp.log(jnp.where(there, value, 1.0)), -jnp.inf)
