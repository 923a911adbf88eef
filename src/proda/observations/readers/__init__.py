"""One reader per public data set; a new one is a file here and a line in `AnySource`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from proda.observations.readers.base import Part, Source
from proda.observations.readers.csv_mapping import CsvSource
from proda.observations.readers.israd import IsradSource
from proda.observations.readers.ncscd import NcscdSource
from proda.observations.readers.tidy import TidySource
from proda.observations.readers.wosis2019 import Wosis2019Source
from proda.observations.readers.wosis2023 import Wosis2023Source

AnySource = Annotated[
    TidySource | Wosis2019Source | Wosis2023Source | IsradSource | NcscdSource | CsvSource,
    Field(discriminator="reader"),
]

__all__ = [
    "AnySource",
    "CsvSource",
    "IsradSource",
    "NcscdSource",
    "Part",
    "Source",
    "TidySource",
    "Wosis2019Source",
    "Wosis2023Source",
]
