"""Microbial biomass, as a share of soil carbon."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.model import SoilModel, SteadyState, Values
from proda.parameters import Parameter
from proda.streams.stream import (
    Rows,
    Scale,
    Stream,
    StreamData,
    need,
    normal,
    own_flags,
    own_places,
    read_table,
    safe_log,
    words,
)

MAX_SHARE = 0.2
"""Shares above it are errors of the compilation (up to 103 %)."""
TIDY = ("lat", "lon", "upper_depth", "lower_depth", "year", "mbc_over_soc")


class MicrobialBiomassStream(Stream):
    """Microbial carbon over soil organic carbon."""

    name: ClassVar[str] = "microbial_biomass"
    title: ClassVar[str] = "microbial biomass"
    unit: ClassVar[str] = "1"
    harmless: ClassVar[float] = 0.01
    scale: ClassVar[Scale] = "log"
    sources: ClassVar[tuple[str, ...]] = (
        "the table of Xu et al. 2013 (columns of ORNL DAAC 1264)",
        "a table with lat, lon, upper_depth, lower_depth (m), year and mbc_over_soc (1)",
    )
    reasons: ClassVar[dict[str, str]] = {
        "no_value": "no biomass, or no soil carbon beside it",
        "coordinates_missing": "no coordinates",
        "depth_missing": "no bounds of the layer",
        "no_thickness": "lower bound not below the upper bound",
        "cultivated": "cropland: its soil is not at steady state",
        "carbon_impossible": "more than 580 g carbon per kg",
        "organic": "more than 200 g carbon per kg: not mineral soil",
        "impossible": "a share of 0, or above 20 %",
        "percent": "a share above 1: percent, where a share of 1 was expected",
    }

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the sd of the error."""
        return (
            Parameter(
                "microbial_biomass_error",
                r"\sigma_{MBC}",
                "1",
                0.2,
                1.5,
                0.7,
                "error",
                "standard deviation of the natural logarithm of microbial over soil carbon",
            ),
        )

    def lacking(self, model: SoilModel) -> str:
        """Say that a model has no microbes."""
        return "" if model.microbial_pools else f"{model.name} has no pool of microbes"

    def read(self, source: Path) -> pd.DataFrame:
        """Return the rows of Xu et al. 2013, or of a table of one's own."""
        table = read_table(source)
        if "Soil_microbial_biomass_carbon" in table:
            names = ("Soil_organic_carbon", "Latitude", "Longitude", "Upper_depth", "Lower_depth")
            need(table, (*names, "Biome"), source, "the table of Xu et al. 2013")
            n = {name: pd.to_numeric(table[name], errors="coerce") for name in names}
            carbon = n["Soil_organic_carbon"] * 0.012011  # mmol to g
            biomass = pd.to_numeric(table["Soil_microbial_biomass_carbon"], errors="coerce")
            biome = words(table["Biome"]).str.casefold()
            return pd.DataFrame(
                {
                    "source_id": "",
                    "lat": n["Latitude"],
                    "lon": n["Longitude"],
                    "upper": n["Upper_depth"] * 0.01,
                    "lower": n["Lower_depth"] * 0.01,
                    "year": np.nan,
                    "value": biomass * 0.012011 / carbon,
                    "carbon": carbon,
                    "cultivated": biome.str.contains("crop"),
                }
            )
        need(table, TIDY, source, "a table of microbial biomass")
        return own_places(table).assign(
            value=table["mbc_over_soc"].astype(float),
            carbon=np.nan,
            **own_flags(table, ("cultivated",)),
        )

    def judge(self, rows: Rows) -> None:
        """Apply the rules in the order of `reasons`."""
        t, rule = rows.table, rows.rule
        rows.usual_rules(layered=True)
        rule("cultivated", t.cultivated)
        rule("carbon_impossible", t.carbon > 580.0)
        rule("organic", t.carbon > 200.0)
        rule("percent", (t.value > 1.0) & t.carbon.isna())
        rule("impossible", (t.value <= 0.0) | (t.value > MAX_SHARE))

    def predict(
        self,
        model: SoilModel,
        state: SteadyState,
        values: Values,
        column: Column,
        data: StreamData,
    ) -> Float[Array, " observation"]:
        """Return microbes over the soil pools of each measured layer."""
        thickness = column.grid.thickness
        microbes = sum(
            (state.pools[model.pools.index(name)] for name in model.microbial_pools),
            jnp.zeros_like(state.soil_carbon),
        )
        return ratio(
            data.overlap @ (microbes * thickness), data.overlap @ (state.soil_carbon * thickness)
        )

    def pointwise(
        self, modelled: Float[Array, " observation"], data: StreamData, values: Values
    ) -> Float[Array, " observation"]:
        """Return the log-normal density of each share."""
        z = safe_log(modelled) - jnp.log(data.observed)
        density = normal(z, values["microbial_biomass_error"]) - jnp.log(data.observed)
        return jnp.where(data.mask, density, 0.0)
