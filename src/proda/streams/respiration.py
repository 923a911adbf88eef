"""Heterotrophic respiration, with a factor of the carbon input."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from proda.column.column import Column
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

SD_INPUT = 0.3
"""Standard deviation of ln of the input factor before any respiration was measured."""
SD = 0.3
"""Standard deviation of ln of a measured annual respiration."""
TIDY = ("lat", "lon", "year", "rh_annual")
FLAGS = ("treated", "flagged", "duplicate", "cultivated", "wetland")


class RespirationStream(Stream):
    """Annual heterotrophic respiration, g m-2 yr-1: at steady state, the carbon input."""

    name: ClassVar[str] = "respiration"
    title: ClassVar[str] = "heterotrophic respiration"
    unit: ClassVar[str] = "g m-2 yr-1"
    layered: ClassVar[bool] = False
    harmless: ClassVar[float] = 100.0
    scale: ClassVar[Scale] = "log"
    of_forcing: ClassVar[str] = (
        "at steady state it is the carbon input, which is forcing; networks do not learn it"
    )
    sources: ClassVar[tuple[str, ...]] = (
        "SRDB's table of data",
        "a table with lat, lon, year and rh_annual (g m-2 yr-1)",
    )
    reasons: ClassVar[dict[str, str]] = {
        "no_value": "no annual heterotrophic respiration",
        "coordinates_missing": "no coordinates",
        "treated": "manipulated plot",
        "flagged": "a quality flag of the source",
        "duplicate": "the source calls it a duplicate of another record",
        "cultivated": "agriculture",
        "wetland": "wetland",
        "impossible": "not between 10 and 3000 g m-2 yr-1",
    }

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """Return the input factor."""
        return (
            Parameter(
                "input_factor",
                "s",
                "1",
                0.3,
                3.0,
                1.0,
                "error",  # of the forcing: networks do not learn it
                "factor of the carbon input; its logarithm is normal with sd 0.3 before data",
            ),
        )

    def read(self, source: Path) -> pd.DataFrame:
        """Return the rows of SRDB, or of a table of one's own."""
        table = read_table(source)
        if "Rh_annual" in table:
            names = ("Latitude", "Longitude", "Study_midyear", "Manipulation", "Quality_flag")
            need(table, (*names, "Duplicate_record", "Ecosystem_type"), source, "SRDB's table")
            number = {
                name: pd.to_numeric(table[name], errors="coerce")
                for name in (*names[:3], "Rh_annual")
            }
            text = {
                name: words(table[name])
                for name in (*names[3:], "Duplicate_record", "Ecosystem_type")
            }
            plain = text["Manipulation"].str.casefold().isin(["", "none", "nan"])
            return pd.DataFrame(
                {
                    "source_id": "",
                    "lat": number["Latitude"],
                    "lon": number["Longitude"],
                    "upper": np.nan,
                    "lower": np.nan,
                    "year": number["Study_midyear"],
                    "value": number["Rh_annual"],
                    "treated": ~plain,
                    "flagged": text["Quality_flag"] != "",
                    "duplicate": text["Duplicate_record"] != "",
                    "cultivated": text["Ecosystem_type"].eq("Agriculture"),
                    "wetland": text["Ecosystem_type"].eq("Wetland"),
                }
            )
        need(table, TIDY, source, "a table of respiration")
        return own_places(table, layered=False).assign(
            value=table["rh_annual"].astype(float), **own_flags(table, FLAGS)
        )

    def judge(self, rows: Rows) -> None:
        """Apply the rules in the order of `reasons`."""
        t, rule = rows.table, rows.rule
        rows.usual_rules(layered=False)
        for name in FLAGS:
            rule(name, t[name])
        rule("impossible", (t.value < 10.0) | (t.value > 3000.0))

    def acts_on(self, column: Column, values: Values) -> Column:
        """Return the column with its carbon input times the factor."""
        return eqx.tree_at(
            lambda c: c.litter_input, column, column.litter_input * values["input_factor"]
        )

    def log_prior(self, values: Values) -> Float[Array, ""]:
        """Return the log-density of the factor."""
        log = jnp.log(values["input_factor"])
        return normal(log, SD_INPUT) - log

    def predict(
        self,
        model: SoilModel,
        state: SteadyState,
        values: Values,
        column: Column,
        data: StreamData,
    ) -> Float[Array, " observation"]:
        """Return the respiration of the column."""
        return jnp.broadcast_to(state.respiration, data.observed.shape)

    def pointwise(
        self, modelled: Float[Array, " observation"], data: StreamData, values: Values
    ) -> Float[Array, " observation"]:
        """Return the log-normal density of each value."""
        z = safe_log(modelled) - jnp.log(data.observed)
        return jnp.where(data.mask, normal(z, SD) - jnp.log(data.observed), 0.0)
