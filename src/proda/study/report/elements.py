"""The elements of a section of the report."""

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
    """A highlighted paragraph: missing results, or a caution."""

    text: str
    kind: str = field(default="notice", init=False)


@dataclass(frozen=True)
class Verbatim:
    """Text shown unchanged, such as settings."""

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
    """A table; its numbers are also written unchanged to run/tables/STEM.csv."""

    stem: str
    title: str
    frame: pd.DataFrame
    note: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of columns with unclear names (tables.LABELS has the common ones)."""
    only: tuple[str, str] | None = None
    """Column and value of the rows shown in the report; the CSV has all rows."""
    verdicts: tuple[str, ...] = ()
    """Columns whose cells are marked as agreeing, disagreeing, or not judged."""
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
    """Anchor, by which the description files of figures name the section."""
    title: str
    blocks: tuple[Block, ...]


def not_run(stage: str, what: str) -> Notice:
    """Return the notice that a stage has not been run, and what the report lacks therefore."""
    return Notice(f"The stage “{stage}” has not been run, so there is no {what} here.")


def minus(text: str) -> str:
    """Replace the minus signs of numbers, not the hyphens."""
    for before in (" ", "("):
        for digit in "0123456789":
            text = text.replace(f"{before}-{digit}", f"{before}−{digit}")
    return text
