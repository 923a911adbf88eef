"""What a section of the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = field(default="heading", init=False)


@dataclass(frozen=True)
class Notice:
    """A paragraph that must not be missed: what is not there, or what to be careful about."""

    text: str
    kind: str = field(default="notice", init=False)


@dataclass(frozen=True)
class Verbatim:
    """Text shown as it stands, such as settings."""

    title: str
    text: str
    kind: str = field(default="verbatim", init=False)


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    items: tuple[str, ...]
    kind: str = field(default="items", init=False)


@dataclass(frozen=True)
class Table:
    """A table; its numbers also go to run/tables/STEM.csv as they are."""

    stem: str
    title: str
    frame: pd.DataFrame
    note: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Words for columns whose names are not good enough (tables.LABELS has the common ones)."""
    only: tuple[str, str] | None = None
    """Column and value of the rows that the page shows; the CSV has all."""
    verdicts: tuple[str, ...] = ()
    """Columns whose cells are marked as agreeing, not agreeing, or not judged."""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A figure of run/figures."""

    stem: str
    title: str
    caption: str
    png: bytes
    kind: str = field(default="picture", init=False)


Block = Text | Heading | Notice | Verbatim | Items | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    key: str
    """Anchor, and what the sidecars of figures name."""
    title: str
    blocks: tuple[Block, ...]


def not_run(stage: str, what: str) -> Notice:
    """Say that a stage has left nothing, and what the report lacks for it."""
    return Notice(f"The stage “{stage}” has not been run, so there is no {what} here.")
