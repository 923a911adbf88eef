"""The references behind what is coded: `references.bib`, found by how a docstring cites them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files

STUDY = "study"
"""Key of the study whose method proda implements; docstrings cite its parts as P-Eq, P-Table ..."""

_ENTRY = re.compile(r"@(\w+)\{([\w-]+),\n(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
_NAME = r"[A-ZÀ-Þ][\w'’-]+"
_CITED = re.compile(
    rf"(?:(P-(?:Eq|Table|Fig|section)\b)|(Soil Science Division Staff|"
    rf"{_NAME}(?: and {_NAME}| et al\.)?),? \(?((?:19|20)\d\d[a-z]?(?:, (?:19|20)\d\d)*))"
)
_LATEX = {r"{\^o}": "ô", r"{\'e}": "é", r"{\"u}": "ü", r"\_": "_", "--": "-"}


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography."""

    key: str
    kind: str
    fields: dict[str, str]

    @property
    def families(self) -> list[str]:
        """Family names of the authors; the last is "others" where the list is not complete."""
        return [_plain(name.split(",")[0]) for name in self.fields["author"].split(" and ")]

    @property
    def label(self) -> str:
        """How docstrings cite it, such as "Tang and Riley 2013"."""
        names = self.families
        who = (
            names[0]
            if len(names) == 1
            else (" and ".join(names) if len(names) == 2 else f"{names[0]} et al.")
        )
        return f"{who} {self.fields.get('year', '')}".strip()

    def text(self) -> str:
        """Return the reference as a line of text."""
        f = {name: _plain(value) for name, value in self.fields.items()}
        names = f["author"].replace(", ", " ").split(" and ")
        who = ", ".join(names).replace(", others", " et al.")
        year = f" ({f['year']})" if "year" in f else ""
        where = f.get("journal") or f.get("booktitle") or f.get("note") or ""
        numbers = ", ".join(f[n] for n in ("volume", "pages") if n in f)
        place = " ".join(part for part in (where, numbers) if part)
        parts = [f"{who}{year}", f["title"], place, f.get("publisher", "")]
        line = ". ".join(part.rstrip(".") for part in parts if part) + "."
        return line + (f" doi:{f['doi']}" if "doi" in f else "")

    def bibtex(self) -> str:
        """Return the entry in BibTeX."""
        fields = "\n".join(f"  {name} = {{{value}}}," for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{fields}\n}}"


def _plain(text: str) -> str:
    for latex, plain in _LATEX.items():
        text = text.replace(latex, plain)
    return text.replace("{", "").replace("}", "")


@cache
def bibliography() -> dict[str, Reference]:
    """Return all references by key."""
    text = package_files("proda").joinpath("references.bib").read_text(encoding="utf-8")
    return {
        key: Reference(key, kind, dict(_FIELD.findall(body)))
        for kind, key, body in _ENTRY.findall(text)
    }


@cache
def _by_label() -> dict[str, Reference]:
    return {reference.label: reference for reference in bibliography().values()}


def cited(text: str) -> Iterator[tuple[str, Reference | None]]:
    """Yield each work that a text cites, and its reference, or None if the bibliography lacks it.

    Works are cited as "Tang and Riley 2013", "Wieder et al. 2014, 2015" or, for the study whose
    method is implemented, "P-Table S1" and the like.
    """
    for study, who, years in _CITED.findall(" ".join(text.split())):
        if study:
            yield "P", bibliography()[STUDY]
            continue
        for year in years.split(", "):
            label = f"{who} {year}"
            yield label, _by_label().get(label)
