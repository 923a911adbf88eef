"""Stocks per depth interval, in the format of the Northern Circumpolar Soil Carbon Database.

(Hugelius et al. 2013; also Mishra et al. 2020.) Carbon is already a stock: g m-3 or kg m-3 inside
the interval, or kg m-2 over it; no density is needed. Either one row per interval, or one row per
profile with one column per interval. Columns that all count from the same top (0-30, 0-100) are
turned into the intervals between them, so that no carbon is used twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from proda.observations.delimited import read_delimited
from proda.observations.readers.base import OnBytes, Part, Source, existing, from_frame, layers
from proda.observations.text import Dialect

_S, _F = pa.string(), pa.float64()


class Interval(BaseModel):
    """A column that holds the stock of one depth interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    upper_cm: float = Field(ge=0)
    lower_cm: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.lower_cm <= self.upper_cm:
            raise ValueError(f"{self.column}: lower_cm must be deeper than upper_cm")
        return self


class NcscdSource(Source):
    """A CSV file of stocks."""

    reader: Literal["ncscd"] = "ncscd"
    file: Path = Field(description="The table, .csv or .csv.gz.")
    unit: Literal["g m-3", "kg m-3", "kg m-2", "g m-2"] = Field(
        description="Unit of the stock: inside the interval (m-3), or over it (m-2)."
    )
    profile_id: str = Field("profile_id", description="Column of the identifier.")
    latitude: str = Field("latitude", description="Column of the latitude, degrees.")
    longitude: str = Field("longitude", description="Column of the longitude, degrees.")
    upper_depth: str = Field("upper_depth", description="Column of the upper bound, cm.")
    lower_depth: str = Field("lower_depth", description="Column of the lower bound, cm.")
    stock: str = Field("soc_stock", description="Column of the stock.")
    intervals: tuple[Interval, ...] = Field(
        (),
        description="Columns with one interval each (wide table); then upper_depth, lower_depth "
        "and stock are not used.",
    )
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="Field separator, one character."
    )
    encoding: str = Field("utf-8", description="Character encoding.")

    @model_validator(mode="after")
    def _no_overlap(self) -> NcscdSource:
        _differences(self.intervals)
        return self

    def files(self) -> list[Path]:
        """Return the table."""
        return [existing(self.file.parent, self.file.name)]

    def parts(self, on_bytes: OnBytes | None = None) -> Iterator[Part]:
        """Yield profiles and layers."""
        stocks = [i.column for i in self.intervals] or [
            self.upper_depth,
            self.lower_depth,
            self.stock,
        ]
        columns = {self.profile_id: _S, self.latitude: _F, self.longitude: _F} | dict.fromkeys(
            stocks, _F
        )
        dialect = Dialect(delimiter=self.delimiter, encoding=self.encoding, multiline=True)
        for batch in read_delimited(
            self.files()[0], columns, dialect, (), on_bytes, [self.profile_id]
        ):
            rows = batch.to_pandas()
            ids = self.name + ":" + rows[self.profile_id]
            frame = pd.DataFrame(
                {"profile_id": ids, "lat": rows[self.latitude], "lon": rows[self.longitude]}
            )
            yield self.profiles(from_frame(frame))
            yield layers(
                from_frame(self._wide(rows, ids) if self.intervals else self._long(rows, ids))
            )

    def _long(self, frame: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
        return self._layers(
            ids, frame[self.upper_depth] * 0.01, frame[self.lower_depth] * 0.01, frame[self.stock]
        )

    def _wide(self, frame: pd.DataFrame, ids: pd.Series) -> pd.DataFrame:
        """One row per interval; columns with the same top become differences."""
        per_area = self.unit.endswith("m-2")
        rows = []
        for above, interval in _differences(self.intervals):
            value = frame[interval.column]
            upper = pd.Series(interval.upper_cm * 0.01, index=frame.index)
            lower = pd.Series(interval.lower_cm * 0.01, index=frame.index)
            if above is not None:
                inner = pd.Series(above.lower_cm * 0.01, index=frame.index)
                if per_area:
                    value = value - frame[above.column]
                else:
                    whole = value * (lower - upper) - frame[above.column] * (inner - upper)
                    value = whole / (lower - inner)
                upper = inner
            rows.append(self._layers(ids, upper, lower, value))
        return pd.concat(rows, ignore_index=True)

    def _layers(
        self, ids: pd.Series, upper: pd.Series, lower: pd.Series, stock: pd.Series
    ) -> pd.DataFrame:
        grams = stock * (1000.0 if self.unit.startswith("kg") else 1.0)
        if self.unit.endswith("m-2"):
            thickness = lower - upper
            # A layer without thickness has no concentration; the depth rules will name it.
            grams = grams / thickness.where(thickness > 0)
        return pd.DataFrame(
            {
                "profile_id": ids,
                "upper_depth": upper.round(9),
                "lower_depth": lower.round(9),
                "stock_given": grams,
            }
        )


def _differences(intervals: tuple[Interval, ...]) -> list[tuple[Interval | None, Interval]]:
    """Pair each interval with the shorter one from the same top whose stock it contains."""
    pairs: list[tuple[Interval | None, Interval]] = []
    ordered = sorted(intervals, key=lambda i: (i.upper_cm, i.lower_cm))
    for i, interval in enumerate(ordered):
        inside = ordered[i - 1] if i and ordered[i - 1].upper_cm == interval.upper_cm else None
        if inside is not None and inside.lower_cm == interval.lower_cm:
            raise ValueError(f"{inside.column} and {interval.column} are the same interval")
        pairs.append((inside, interval))
    bounds = [(inside.lower_cm if inside else i.upper_cm, i.lower_cm) for inside, i in pairs]
    for (_, lower), (upper, _) in pairwise(sorted(bounds)):
        if upper < lower:
            raise ValueError(
                f"the intervals overlap between {upper:g} and {lower:g} cm and do not start at "
                "the same top; leave one out"
            )
    return pairs
