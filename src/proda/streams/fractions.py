"""Mineral-associated carbon, as a share of soil carbon."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.ratio import ratio
from proda.models.microbial import MicrobialModel
from proda.models.model import SoilModel, SteadyState, Values
from proda.parameters import Parameter
from proda.streams.stream import (
    Rows,
    Scale,
    Stream,
    StreamData,
    need,
    normal,
    own_places,
    read_table,
    safe_log,
)

SD = 0.8
"""Standard deviation of the logit of a share: methods and cut-offs differ."""
TIDY = ("lat", "lon", "upper_depth", "lower_depth", "year", "maoc_share")
MINERAL = "maoc_of_slow"


class FractionsStream(Stream):
    """Mineral-associated over mineral-associated and particulate carbon."""

    name: ClassVar[str] = "fractions"
    title: ClassVar[str] = "mineral-associated carbon"
    unit: ClassVar[str] = "1"
    harmless: ClassVar[float] = 0.5
    scale: ClassVar[Scale] = "logit"
    sources: ClassVar[tuple[str, ...]] = (
        "the table of Georgiou et al. 2022 (MOC_synthesis.csv)",
        "a table with lat, lon, upper_depth, lower_depth (m), year and maoc_share (1)",
    )
    reasons: ClassVar[dict[str, str]] = {
        "no_value": "one of the fractions is missing",
        "coordinates_missing": "no coordinates",
        "depth_missing": "no bounds of the layer",
        "no_thickness": "lower bound not below the upper bound",
        "recovery": "fractions add up to less than 0.8 or more than 1.2 of the bulk carbon",
        "impossible": "a share that is not between 0 and 1",
    }

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the error, and the share of slow carbon that is mineral-associated."""
        return (
            Parameter(
                "fractions_error",
                r"\sigma_{MAOC}",
                "1",
                0.2,
                2.0,
                SD,
                "error",
                "standard deviation of the logit of the share of mineral-associated carbon",
            ),
            Parameter(
                MINERAL,
                r"\alpha",
                "1",
                0.0,
                1.0,
                0.5,
                "error",
                "share of CLM5's slow carbon that is mineral-associated",
            ),
        )

    def rows_of(self, model: SoilModel) -> tuple[Parameter, ...]:
        """Return the error; CLM5 alone has the share of slow carbon."""
        return self.rows if "sSOC" in model.pools else self.rows[:1]

    def lacking(self, model: SoilModel) -> str:
        """Say that it is not known which pools of a model are measured as which fraction."""
        known = "pSOC" in model.pools or "MAOM" in model.pools or isinstance(model, MicrobialModel)
        return "" if known else f"{model.name} does not say which pools are mineral-associated"

    def read(self, source: Path) -> pd.DataFrame:
        """Return the rows of Georgiou et al. 2022, or of a table of one's own."""
        table = read_table(source)
        if "SiltClayC" in table:
            names = ("Lat", "Lon", "Top.depth", "Bottom.depth", "Bulk.C", "POM_C", "SiltClayC")
            need(table, (*names, "Year"), source, "the table of Georgiou et al. 2022")
            n = {name: pd.to_numeric(table[name], errors="coerce") for name in (*names, "Year")}
            both = n["SiltClayC"] + n["POM_C"]
            return pd.DataFrame(
                {
                    "source_id": "",
                    "lat": n["Lat"],
                    "lon": n["Lon"],
                    "upper": n["Top.depth"] * 0.01,
                    "lower": n["Bottom.depth"] * 0.01,
                    "year": n["Year"],
                    "value": n["SiltClayC"] / both,
                    "recovery": both / n["Bulk.C"],
                }
            )
        need(table, TIDY, source, "a table of fractions")
        return own_places(table).assign(value=table["maoc_share"].astype(float), recovery=1.0)

    def judge(self, rows: Rows) -> None:
        """Apply the rules in the order of `reasons`."""
        t, rule = rows.table, rows.rule
        rows.usual_rules(layered=True)
        rule("recovery", (t.recovery < 0.8) | (t.recovery > 1.2))
        rule("impossible", (t.value <= 0.0) | (t.value >= 1.0))

    def predict(
        self,
        model: SoilModel,
        state: SteadyState,
        values: Values,
        column: Column,
        data: StreamData,
    ) -> Float[Array, " observation"]:
        """Return the modelled share.

        CLM5: passive carbon and a sampled part of the slow one, over the soil pools. Millennial:
        MAOM over MAOM and POM (aggregates hold both alike). COMPAS's family: the soil pools, over
        these and cellulose and lignin litter.
        """
        thickness = column.grid.thickness

        def stock(*names: str) -> Float[Array, " observation"]:
            rows = [state.pools[model.pools.index(name)] * thickness for name in names]
            return data.overlap @ sum(rows, jnp.zeros_like(rows[0]))

        if "MAOM" in model.pools:
            return ratio(stock("MAOM"), stock("MAOM", "POM"))
        if "pSOC" in model.pools:
            mineral = stock("pSOC") + values[MINERAL] * stock("sSOC")
            return ratio(mineral, stock(*model.soil_pools))
        return ratio(stock(*model.soil_pools), stock(*model.soil_pools, "CL", "LL"))

    def pointwise(
        self, modelled: Float[Array, " observation"], data: StreamData, values: Values
    ) -> Float[Array, " observation"]:
        """Return the density of the logit of each share."""
        share = data.observed
        logit = jnp.log(share) - jnp.log1p(-share)
        z = safe_log(modelled) - safe_log(1.0 - modelled) - logit
        density = normal(z, values["fractions_error"]) - jnp.log(share) - jnp.log1p(-share)
        return jnp.where(data.mask, density, 0.0)
