"""The registry of map variables: names in files, units, meanings, CF and CMIP names."""

from __future__ import annotations

from dataclasses import dataclass

from proda.learning.boosted_residual import NO_MECHANISM
from proda.learning.conformal import LEAST
from proda.models.components import COMPONENTS, MICROBES
from proda.models.model import SoilModel
from proda.radiocarbon.distribution_of_ages import AGES


@dataclass(frozen=True)
class MapVariable:
    """One variable of a map: name, CF unit, meaning, whether by layer, CF standard name, source.

    `comment` is what must be said of it besides.
    """

    name: str
    unit: str
    long_name: str
    layered: bool = False
    standard_name: str = ""
    source: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Stock:
    """Soil carbon from the surface down to a depth (m); None is the whole column."""

    name: str
    lower: float | None
    words: str


STOCKS: tuple[Stock, ...] = (
    Stock("soc_0_30", 0.3, "0-30 cm"),
    Stock("cSoilAbove1m", 1.0, "0-100 cm"),
    Stock("soc_0_200", 2.0, "0-200 cm"),
    Stock("cSoil", None, "the whole column"),
)
"""Where CMIP has a name for a stock, that is the variable's name."""

CARBON = MapVariable(
    "soc", "kg m-3", "concentration of carbon in the soil pools", True, "", "P-section 2.5"
)
LIMIT = 1e20
"""CMIP's missing value: a number as large as this could not be told from none in the file."""

OLDEST = f"Not given where it reaches {LIMIT:g} years in a member, as for carbon that hardly moves."
"""Description of ages in files."""

PARAMETER_PREFIX = "param_"

LOWER, UPPER = "_lower", "_upper"
"""Endings of the ends of the 90 % predictive interval of one profile in the cell."""

RESIDUAL = "_and_residual"
"""Ending of carbon and stocks to which gradient boosting of what the model leaves is added."""

INTERVAL_COMMENT = (
    "90 % predictive interval for one profile in the cell, not for the cell's mean; calibrated on "
    "profiles left out of training, by class of depth and by warm or cold soil. "
)
LAYER_COMMENT = INTERVAL_COMMENT + (
    f"Layers with less than {LEAST} kg m-3 have none; an end beyond {LIMIT:g} is not given."
)
STOCK_COMMENT = INTERVAL_COMMENT + (
    "Fitted to whole measured stocks of such profiles, so that the correlation between the errors "
    "of their layers is that of the profiles; it is not assumed."
)
"""Description in the file of the intervals of layers and of stocks."""

NO_FORCING, NO_PARAMETERS, TOO_LARGE = 10, 11, 12
REASONS_OF_MAPS: dict[int, str] = {
    NO_FORCING: "no_forcing",
    NO_PARAMETERS: "no_parameters",
    TOO_LARGE: "too_large",
}
"""Why a cell of a map has no answer, besides the model's reasons.

`too_large`: a steady state with a number beyond :data:`LIMIT` in the units of the file, as near the
edges of the prior, where almost nothing decomposes.
"""


def reasons_of(model: SoilModel) -> dict[int, str]:
    """Return why a cell of a model's map has an answer (0) or none, by code."""
    return model.reasons() | REASONS_OF_MAPS


def state_variables(names: list[str]) -> list[MapVariable]:
    """Describe what a model gives at its steady state.

    Parameters
    ----------
    names
        Components that the model has, `microbial_share` and `michaelis_over_POOL` among them.
    """
    known = {row.name: row for row in (*COMPONENTS, *MICROBES)}
    rows = [CARBON]
    rows += [
        MapVariable(
            s.name, "kg m-2", f"soil carbon, {s.words}", False, "soil_mass_content_of_carbon"
        )
        for s in STOCKS
    ]
    for name in names:
        if name in known:
            row = known[name]
            rows.append(MapVariable(name, row.unit, row.long_name, source=row.source))
        else:
            pool = name.rpartition("_")[2]
            rows.append(MapVariable(name, "1", f"Michaelis constant over {pool}", source="P-Fig 5"))
    return rows


BY_POOL = "mean_age_by_pool"
OF_COLUMNS = tuple(row for row in AGES if not row.name.startswith("mean_age_by_"))
"""Ages that are one number for each column."""


def of_pool(pool: str) -> str:
    """Return the variable of the mean age of a pool."""
    return f"mean_age_{pool}"


def age_variables(model: SoilModel) -> list[MapVariable]:
    """Describe the ages of the carbon of a model at steady state."""
    rows = [MapVariable(r.name, r.unit, r.long_name, comment=OLDEST) for r in OF_COLUMNS]
    pools = [
        MapVariable(of_pool(p), "yr", f"mean age of the carbon of {p}", comment=OLDEST)
        for p in model.pools
    ]
    return rows + pools


def residual_variables() -> list[MapVariable]:
    """Describe carbon with the residual added, which is no state of the model."""
    words = ", with boosted residual"
    return [
        MapVariable(
            row.name + RESIDUAL,
            row.unit,
            row.long_name + words,
            row.layered,
            row.standard_name,
            comment=NO_MECHANISM,
        )
        for row in state_variables([])
    ]


def parameter_variables(model: SoilModel, layered: set[str]) -> list[MapVariable]:
    """Describe a model's parameters; `layered` are those that differ between layers here."""
    return [
        MapVariable(
            PARAMETER_PREFIX + row.name, row.unit, row.meaning, row.name in layered, "", row.source
        )
        for row in model.rows
    ]
