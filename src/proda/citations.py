"""What to cite for a run: the works behind its models, samplers, forcing and data.

Sources are read where they are declared: in the model and its table of parameters, in the docstring
of the sampler and of the reader, in the attributes of the forcing, in the catalogue of data sets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from proda import cf, files
from proda.errors import FileError, ProdaError
from proda.inference.samplers.registry import SAMPLERS
from proda.layout import RUN_DESCRIPTION, TRAINING, RunFolder
from proda.models.registry import load_model
from proda.observations.readers import AnySource
from proda.references import STUDY, Reference, bibliography, cited

DIAGNOSTICS = "Gelman et al. 2014; Vehtari et al. 2021; Vehtari et al. 2017"
"""Convergence, effective sample size and PSIS-LOO, which every assimilation reports."""

METHOD = (STUDY, "tao2020")
"""Keys of the study and of the approach that proda implements."""

_DEPTHS = ("", "*/", "*/*/", "*/*/*/")
"""How deep in a folder runs and networks are looked for."""


@dataclass(frozen=True)
class Citation:
    """One work to cite.

    Parameters
    ----------
    purpose
        What it is cited for, such as "model rothc".
    cited
        How the code cites it.
    reference
        The full reference; None if the bibliography lacks it.
    """

    purpose: str
    cited: str
    reference: Reference | None


@dataclass(frozen=True)
class Citations:
    """What to cite for a run, and what does not say its source."""

    works: tuple[Citation, ...]
    missing: tuple[str, ...]
    """A sentence for each thing whose source is not known."""

    def table(self) -> pd.DataFrame:
        """Return one row per work: purpose (joined), key, reference."""
        rows: dict[str, dict[str, str]] = {}
        for work in self.works:
            if work.reference is None:
                continue
            row = rows.setdefault(
                work.reference.key,
                {"purpose": "", "key": work.reference.key, "reference": work.reference.text()},
            )
            if work.purpose not in row["purpose"].split(", "):
                row["purpose"] = ", ".join(filter(None, (row["purpose"], work.purpose)))
        return pd.DataFrame(list(rows.values()), columns=["purpose", "key", "reference"])

    def bibtex(self) -> str:
        """Return all works in BibTeX, the software first."""
        keys = dict.fromkeys(w.reference.key for w in self.works if w.reference is not None)
        return "\n\n".join([software_bibtex(), *(bibliography()[key].bibtex() for key in keys)])


def software() -> str:
    """Return the citation of proda at this version."""
    return (
        "The proda developers. proda: process-guided, data-driven modelling of soil carbon, "
        f"version {version('proda')}."
    )


def software_bibtex() -> str:
    """Return the citation of proda at this version, in BibTeX."""
    return (
        "@software{proda,\n  author = {{The proda developers}},\n"
        "  title = {proda: process-guided, data-driven modelling of soil carbon},\n"
        f"  version = {{{version('proda')}}},\n}}"
    )


def cite(run: str | os.PathLike[str]) -> Citations:
    """Return what to cite for a run (`proda cite`).

    Parameters
    ----------
    run
        Folder of a study, of an assimilation, of a network or of soil profiles.

    Returns
    -------
    Citations, of which `table()` returns a table and `bibtex()` BibTeX.

    Raises
    ------
    FileError
        If the folder holds nothing that proda wrote, or a file cannot be read.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise FileError(f"{folder}: there is no such folder; give the folder of a run.")
    works = [Citation("method", "P", bibliography()[key]) for key in METHOD]
    missing: list[str] = []
    citations = list(_citations(folder))
    if not citations:
        raise FileError(
            f"{folder}: no study, assimilation, network or soil profiles of proda in this folder."
        )
    for purpose, text, where in dict.fromkeys(citations):
        named = list(cited(text))
        if not named:
            missing.append(f"{purpose}: {where} states no source.")
        for label, reference in named:
            works.append(Citation(purpose, label, reference))
            if reference is None:
                missing.append(
                    f"{purpose}: {where} cites {label}, of which proda has no full reference."
                )
    return Citations(tuple(works), tuple(dict.fromkeys(missing)))


def _citations(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield what was used, the text that cites its sources, and where that text is."""
    for path in _files(folder, RUN_DESCRIPTION):
        settings = files.read_json(path)["settings"]
        yield from _of_model(settings["model"], settings["variant"])
        yield from _of_sampler(settings["sampler"])
    for path in _files(folder, TRAINING):
        about = files.read_json(path)
        yield from _of_model(about["model"], about["variant"])
    for path in _files(folder, "summary.json"):
        for source in files.read_json(path)["settings"]["source"]:
            yield from _of_reader(source)
    place = RunFolder(folder)
    for path in (place.forcing, place.sites):
        if path.exists():
            yield from _of_forcing(path)
    if place.covariates.is_file():
        yield from _of_covariates(place.covariates)


def _files(folder: Path, name: str) -> list[Path]:
    return [path for depth in _DEPTHS for path in sorted(folder.glob(f"{depth}{name}"))]


def _of_model(name: str, variant: str) -> Iterator[tuple[str, str, str]]:
    try:
        model = load_model(name, variant)
    except ProdaError:
        yield f"model {name}", "", "this version of proda does not know it and"
        return
    yield f"model {name}", model.source, "its declaration"
    for source in dict.fromkeys(row.source for row in model.rows):
        yield f"parameters of {name}", source, "its table of parameters"


def _of_sampler(name: str) -> Iterator[tuple[str, str, str]]:
    kind = SAMPLERS.get(name)
    text = "" if kind is None else sys.modules[kind.__module__].__doc__ or ""
    yield f"sampler {name}", text, "its docstring"
    yield "diagnostics", DIAGNOSTICS, "the list of diagnostics"


def _of_reader(source: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    kinds = {
        get_args(kind.model_fields["reader"].annotation)[0]: kind
        for kind in get_args(get_args(AnySource)[0])
    }
    kind = kinds.get(source["reader"])
    text = "" if kind is None else sys.modules[kind.__module__].__doc__ or ""
    yield f"soil profiles {source['name']}", text, f"the reader {source['reader']}"


def _of_forcing(path: Path) -> Iterator[tuple[str, str, str]]:
    with cf.open_grid(path) as opened:
        text = "; ".join(str(opened.attrs.get(name, "")) for name in ("references", "source"))
    yield "forcing", text, path.name


def _of_covariates(path: Path) -> Iterator[tuple[str, str, str]]:
    described = files.read_parquet(path, needed=("site",)).attrs.get("covariates", {})
    licences = dict.fromkeys(c.get("licence", "") for c in described.values())
    text = "Fick and Hijmans 2017" if any("WorldClim" in one for one in licences) else ""
    yield "covariates", text, path.name
