"""Parameters at land cells from a trained network: covariates aligned by cell, chunk by chunk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int

from proda.checksums import digest
from proda.drivers.covariates import CovariateGrid
from proda.errors import MapError
from proda.forcing import Forcing
from proda.learning.applicability import applicability
from proda.learning.ensemble import Ensemble as Networks
from proda.learning.features import Missing
from proda.learning.forcing_inputs import beside, needs_forcing
from proda.learning.residuals import add_residuals
from proda.maps.cells import LandCells
from proda.maps.map_comparison import positions
from proda.maps.parameter_sources import Member, ParameterSource, checked_members
from proda.models.model import SoilModel
from proda.parameters import Bounds

BLOCK = 65_536
"""Rows of covariates that are looked at together, so that memory does not grow with the grid."""

CHUNK = 4096
"""Cells whose forcing is read together where the network needs its summary."""

ROUNDING = 1e-9
"""A share of the prior range by which a prediction may pass its end by rounding alone."""


@dataclass(frozen=True)
class CellCovariates:
    """Covariates of all land cells, in their order, and what is out of the ordinary there.

    `covered` are the cells from which parameters can be predicted; `outside_training` those whose
    covariates lie outside the range of the training data. `lacking` and `filled` count cells by
    covariate, `unseen` by category and class. `digest` tells this table from others.
    """

    table: pd.DataFrame
    covered: Bool[np.ndarray, " cell"]
    outside_training: Bool[np.ndarray, " cell"]
    lacking: dict[str, int]
    filled: dict[str, int]
    unseen: dict[str, int]
    digest: str


@dataclass(frozen=True, eq=False)
class NetworkParameters(ParameterSource):
    """Predictions of an ensemble of networks, in the registry's order.

    A cell without covariates has no parameters. Nor has a member at a cell where it predicts a
    value outside `bounds`, which only networks with unbounded outputs (the study's) can do.
    """

    networks: Networks
    covariates: CellCovariates
    draws: bool = True
    """Members spread as far as the truth may lie; else the members as trained."""
    missing: Missing = field(default="leave_out")
    residuals: Float[np.ndarray, "member p"] | None = None
    """For joint draws (:mod:`proda.learning.residuals`); None: each parameter by itself."""

    def at(
        self, model: SoilModel, cells: Int[np.ndarray, " cell"], forcing: Forcing, bounds: Bounds
    ) -> tuple[list[Member], Bool[np.ndarray, "member cell"]]:
        """Predict the parameters of some land cells."""
        values = self._predict(cells)
        inside = np.ones(values.shape[:2], dtype=bool)
        for k, row in enumerate(model.rows):
            one = values[:, :, k]
            tiny = ROUNDING * (row.upper - row.lower)
            low, high = row.lower + (tiny if row.positive else 0.0), row.upper
            # Only what rounding made of an end of the prior is put back onto it.
            one = np.where((one < low) & (one > row.lower - tiny), low, one)
            one = np.where((one > high) & (one < high + tiny), high, one)
            values[:, :, k] = one
            lower, upper = row.limits(bounds)
            inside &= ~((one < lower) | (one > upper) | (row.positive & (one <= 0.0)))
        for parts in model.shares:
            where = [[row.name for row in model.rows].index(name) for name in parts]
            inside &= ~(values[:, :, where].sum(axis=2) > 1.0)
        values[~inside] = np.nan
        return checked_members(values, model, forcing, bounds)

    def inputs(
        self, cells: Int[np.ndarray, " cell"]
    ) -> tuple[Float[np.ndarray, "usable input"], Bool[np.ndarray, " cell"]]:
        """Return the encoded inputs of the cells that have them, and which cells these are."""
        encoded = self.networks.features.encode(self.covariates.table.iloc[cells], self.missing)
        return encoded.inputs, encoded.usable

    def _predict(self, cells: Int[np.ndarray, " cell"]) -> Float[np.ndarray, "member cell p"]:
        """Return (member, cell, parameter) in physical units; NaN where nothing is known."""
        table = self.covariates.table.iloc[cells]
        joint = self.draws and self.residuals is not None
        predicted = self.networks.predict(table, self.missing, draws=self.draws and not joint)
        if self.draws and self.residuals is not None:
            low, width = self.networks.lower, self.networks.upper - self.networks.lower
            mean = predicted["mean"].transpose("site", "parameter").to_numpy()
            array = low + width * add_residuals((mean - low) / width, self.residuals)
        else:
            values = predicted["draws" if self.draws else "parameters"]
            array = values.transpose("member", "site", "parameter").to_numpy().copy()
        array[:, ~self.covariates.covered[cells]] = np.nan
        return array


def cell_covariates(
    grid: CovariateGrid, cells: LandCells, networks: Networks, missing: Missing = "leave_out"
) -> CellCovariates:
    """Take the covariates of every land cell and compare them with those of the training.

    Parameters
    ----------
    grid
        From :func:`proda.drivers.covariates.open_covariates`; it needs a cell wherever the
        forcing has one. Land cells that it does not count as usable have no covariates.
    missing
        "leave_out": a cell that lacks a covariate gets no parameters; "median": it is filled with
        the median of the training sites, and counted.

    Raises
    ------
    MapError
        If the grid is another one, or no land cell has all covariates.
    LearningError
        Naming covariates that the network was trained with and the grid lacks.
    """
    like = xr.Dataset(coords={"lat": cells.lat, "lon": cells.lon})
    place = {
        axis: positions(grid.dataset, like, axis, "grid of covariates") for axis in ("lat", "lon")
    }
    row, column = place["lat"][cells.row], place["lon"][cells.column]
    table = grid.table(row, column)
    if needs_forcing(networks.features.names):
        table = beside(table, _made_of_forcing(table, cells, networks, missing))
    usable = grid.usable[row, column]
    covered, outside = usable.copy(), np.zeros(len(cells), dtype=bool)
    lacking, filled, unseen = Counter[str](), Counter[str](), Counter[str]()
    for start in range(0, len(cells), BLOCK):
        block = table.iloc[start : start + BLOCK]
        encoded = networks.features.encode(block, missing)
        reach = applicability(block, networks.features, networks.training_range)
        covered[start : start + BLOCK] &= encoded.usable
        outside[start : start + BLOCK] = reach["flag"].to_numpy()
        lacking.update(encoded.missing)
        filled.update(encoded.filled)
        for name, classes in encoded.unseen.items():
            unseen.update({f"{name} {kind}": n for kind, n in classes.items()})
    if not covered.any():
        worst = ", ".join(f"{name} ({n:,})" for name, n in lacking.most_common(5))
        raise MapError(
            f"None of {len(cells):,} land cells has all covariates of the network. "
            f"Cells without: {worst or 'all, by the land mask of the covariates'}."
        )
    columns = np.array(sorted(map(str, table.columns)))
    content = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return CellCovariates(
        table,
        covered,
        outside & covered,
        dict(lacking),
        dict(filled),
        dict(unseen),
        digest(columns, content),
    )


def _made_of_forcing(
    table: pd.DataFrame, cells: LandCells, networks: Networks, missing: Missing
) -> pd.DataFrame:
    """Return the inputs that the networks take from the forcing, for every land cell."""
    model = networks.soil_model("of these maps")
    parts = [
        networks.made_of_forcing(table.iloc[chunk], cells.forcing(chunk), model, missing).set_index(
            chunk
        )
        for chunk in cells.chunks(CHUNK)
    ]
    return pd.concat(parts).sort_index()
