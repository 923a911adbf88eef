"""Radiocarbon of bulk soil (docs/theory.md#radiocarbon)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.errors import ObservationError
from proda.models.model import SoilModel, SteadyState, Values
from proda.observations.readers.israd_radiocarbon import read_israd
from proda.parameters import Parameter
from proda.radiocarbon.atmosphere import Atmosphere, read_atmosphere, zone_of
from proda.radiocarbon.basis import SLOW_TERMS, Basis
from proda.radiocarbon.tracer_response import response, soil
from proda.streams.stream import (
    Rows,
    Stream,
    StreamData,
    need,
    own_flags,
    own_places,
    read_table,
    student_t,
)

DEGREES = 4.0
"""Of Student's t: replicates at a site and depth differ by 42 permil (median), pooled by 100."""
BOMB = 1955.0
TIDY = ("profile_id", "lat", "lon", "upper_depth", "lower_depth", "year")
MODERN = 0.02
"""Largest difference of Delta14C / 1000 and what fraction modern says, where both are given."""


class RadiocarbonStream(Stream):
    """Delta14C of bulk soil, permil."""

    name: ClassVar[str] = "radiocarbon"
    title: ClassVar[str] = "14C of bulk soil"
    unit: ClassVar[str] = "permil"
    sources: ClassVar[tuple[str, ...]] = (
        "a folder of ISRaD's tables",
        "a table with profile_id, lat, lon, upper_depth, lower_depth (m), year and delta_14c "
        "(permil) or fraction_modern",
    )
    reasons: ClassVar[dict[str, str]] = {
        "no_value": "neither Delta14C nor fraction modern",
        "depth_missing": "a bound is missing or infinite",
        "litter": "above the mineral soil (negative depth), or the source calls it organic",
        "no_thickness": "lower bound not below the upper bound",
        "year_missing": "no year of sampling",
        "before_bomb": "sampled before 1955: contains no bomb carbon, and so no signal of recent "
        "decades",
        "after_record": "sampled after the record of the atmosphere ends",
        "years_bp": "looks like an age in years BP, not like Delta14C",
        "fraction_modern": "a whole profile between 0 and 2: fraction modern given as Delta14C",
        "impossible": "Delta14C below -1000 or above the bomb peak of the air",
        "units_disagree": "Delta14C and fraction modern of the row contradict each other",
        "treated": "manipulated plot",
        "peatland": "peatland or wetland",
        "permafrost": "permafrost",
        "cultivated": "cultivated: its soil is not at steady state",
        "organic": "more carbon than 20 %: not mineral soil",
        "repeated": "the same profile, bounds and year again: averaged into the first",
    }
    half_life: float = eqx.field(static=True, default=5730.0)
    holocene: bool = eqx.field(static=True, default=False)
    lag: float = eqx.field(static=True, default=0.0)
    atmosphere: str = eqx.field(static=True, default="")
    """Record of the atmosphere; needed to build a table only."""

    @property
    def basis(self) -> Basis:
        """Terms of the history."""
        return Basis(half_life=self.half_life, n_slow=SLOW_TERMS if self.holocene else 1)

    @property
    def settings(self) -> dict[str, Any]:
        """Return half-life, Holocene and lag."""
        return {"half_life": self.half_life, "holocene": self.holocene, "lag": self.lag}

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the scale of the error."""
        return (
            Parameter(
                "radiocarbon_error",
                r"\sigma_{14C}",
                "permil",
                10.0,
                200.0,
                60.0,
                "error",
                "scale of Student's t (4 degrees of freedom) of a layer's Delta14C",
            ),
        )

    def read(self, source: Path) -> pd.DataFrame:
        """Return the rows of ISRaD's tables (a folder), or of a table of one's own."""
        if source.is_dir():
            return read_israd(source)
        table = read_table(source)
        need(table, TIDY, source, "a table of radiocarbon")
        if not {"delta_14c", "fraction_modern"} & set(table):
            raise ObservationError(
                f"{source}: lacks delta_14c (permil) or fraction_modern; give one of them."
            )
        years = table["year"].astype(float)
        modern = table.get("fraction_modern", pd.Series(np.nan, index=table.index)).astype(float)
        delta = table.get("delta_14c", pd.Series(np.nan, index=table.index)).astype(float)
        return own_places(table).assign(
            value=delta.fillna(delta_of(modern, years)),
            delta=delta,
            modern=modern,
            **own_flags(table, ("treated", "peatland", "permafrost", "cultivated", "organic")),
        )

    def judge(self, rows: Rows) -> None:
        """Apply the rules in the order of `reasons`."""
        t, rule = rows.table, rows.rule
        air = self._record
        rule("no_value", t.value.isna())
        rule("depth_missing", ~(np.isfinite(t.upper) & np.isfinite(t.lower)))
        rule("litter", (t.upper < 0.0) | t.organic.eq(True))
        rule("no_thickness", t.lower <= t.upper)
        rule("year_missing", t.year.isna())
        rule("before_bomb", t.year < BOMB)
        rule("after_record", t.year - self.lag > air.year[-1])
        rule("years_bp", t.delta > 1000.0)
        # A whole profile between 0 and 2 is not in permil.
        given = t[rows.reason == "kept"]
        small = given.groupby("source_id").delta.agg(
            lambda d: len(d) >= 2 and bool(((d > 0.0) & (d < 2.0)).all() & d.notna().all())
        )
        rule("fraction_modern", t.source_id.map(small).eq(True))
        peak = max(float(np.max(d[air.year > 1900.0])) for d in air.delta.values())
        rule("impossible", (t.value < -1000.0) | (t.value > peak))
        apart = (delta_of(t.modern, t.year) - t.delta).abs() > 1000.0 * MODERN
        rule("units_disagree", apart)
        for name in ("treated", "peatland", "permafrost", "cultivated"):
            rule(name, t[name].eq(True))
        if "carbon_percent" in t:
            rule("organic", t.carbon_percent > 20.0)
        key = ["source_id", "upper", "lower", "year"]
        kept = rows.kept
        rows.table.loc[kept.index, "value"] = kept.groupby(key).value.transform("mean")
        rule("repeated", pd.Series(kept.duplicated(key), index=kept.index).reindex(t.index))

    @property
    def _record(self) -> Atmosphere:
        if not self.atmosphere:
            raise ObservationError(
                "radiocarbon: give the record of the atmosphere with --atmosphere (`proda get "
                "atmosphere-14c --unpack` brings one)."
            )
        return read_atmosphere(self.atmosphere)

    def extras(self, table: pd.DataFrame) -> Float[np.ndarray, "row term"]:
        """Return the coefficients of the history of each row's zone and year."""
        air, basis = self._record, self.basis
        coefficients = [
            air.coefficients(zone_of(lat), year, basis, lag=self.lag, holocene=self.holocene)
            for lat, year in table[["lat", "year"]].to_numpy(float)
        ]
        return np.array(coefficients).reshape(len(table), basis.n_slow + basis.n_fast)

    def predict(
        self,
        model: SoilModel,
        state: SteadyState,
        values: Values,
        column: Column,
        data: StreamData,
    ) -> Float[Array, " observation"]:
        """Return Delta14C of each measured layer, permil."""
        terms = response(model, state.pools, values, column, self.basis, soil(model))
        carbon = state.soil_carbon * column.grid.thickness
        heavy = jnp.einsum("ok,ol,kl->o", data.extra, data.overlap, terms)
        return 1000.0 * (ratio(heavy, data.overlap @ carbon) - 1.0)

    def pointwise(
        self, modelled: Float[Array, " observation"], data: StreamData, values: Values
    ) -> Float[Array, " observation"]:
        """Return Student's t of each layer."""
        density = student_t(modelled - data.observed, values["radiocarbon_error"], DEGREES)
        return jnp.where(data.mask, density, 0.0)


def delta_of(modern: pd.Series, year: pd.Series) -> pd.Series:
    """Return Delta14C (permil) of fraction modern in a year of sampling."""
    return 1000.0 * (modern * np.exp((1950.0 - year) / 8267.0) - 1.0)
