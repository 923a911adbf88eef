"""Sources and licences of the data, and how to cite them and the software."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from proda import files
from proda.drivers.catalogue import catalogue
from proda.errors import FileError
from proda.observations.build_summary import read_build
from proda.study.report.citation import citations
from proda.study.report.elements import Block, Heading, Items, Notice, Table, Text, not_run
from proda.study.report.results import StudyResults

READERS = {"wosis2019": "wosis-2019-september", "wosis2023": "wosis-2023-december"}
"""Readers of data sets in the catalogue of `proda get`."""

WORLDCLIM = "worldclim-bio-10m"
ATTRIBUTES = ("title", "source", "references", "comment", "sampling")


def sources(study: StudyResults) -> list[Block]:
    """Return sources, licences and citations, from the files' own columns and attributes."""
    blocks: list[Block] = [
        Heading("To cite"),
        Text("Cite the software, the study whose method it implements, and the data listed below:"),
        Items(citations()),
    ]
    if study.record.synthetic:
        blocks.append(
            Notice("The profiles of this study are synthetic, so there are no data to cite.")
        )
    named: list[str] = []
    blocks += [*_profiles(study, named), *_forcing(study), *_covariates(study, named)]
    known = catalogue()
    if named:
        blocks += [
            Heading("Data sets to cite"),
            Items(
                tuple(
                    f"{known[n].title}. {known[n].citation} Licence: {known[n].licence}."
                    for n in dict.fromkeys(named)
                )
            ),
        ]
    return blocks


def _profiles(study: StudyResults, named: list[str]) -> list[Block]:
    folder = study.profiles
    blocks: list[Block] = [Heading("Soil profiles")]
    if not folder.is_dir():
        return [*blocks, not_run("profiles", "list of their sources")]
    summary, profiles, _ = read_build(folder, ["profile_id"])
    named += [READERS[s["reader"]] for s in summary.settings["source"] if s["reader"] in READERS]
    groups = profiles.fillna({"collection": "", "licence": "not stated"})
    counted = groups.groupby(["source", "collection", "licence"]).size()
    frame = counted.rename("usable profiles").reset_index()
    return [
        *blocks,
        Table(
            "licences_of_profiles",
            "Sources and licences of the usable profiles",
            frame,
            "As the source states it. Citations of pooled collections are in the documents of the "
            "source.",
        ),
    ]


def _forcing(study: StudyResults) -> list[Block]:
    blocks: list[Block] = [Heading("Forcing")]
    for path, words in ((study.forcing, "on the grid"), (study.sites, "at the sites")):
        if not path.exists():
            blocks.append(not_run(f"forcing {words}", "description of it"))
            continue
        with files.open_dataset(path) as dataset:
            attributes = {n: str(dataset.attrs[n]) for n in ATTRIBUTES if n in dataset.attrs}
        if attributes:
            frame = pd.DataFrame(
                {"attribute": list(attributes), "value": list(attributes.values())}
            )
            blocks.append(
                Table(f"forcing_{path.stem}", f"Attributes of the forcing {words}", frame)
            )
        else:
            blocks.append(Notice(f"{path.name} does not state its source."))
    return blocks


def _covariates(study: StudyResults, named: list[str]) -> list[Block]:
    path = study.covariates
    blocks: list[Block] = [Heading("Covariates")]
    if not path.is_file():
        return [*blocks, not_run("covariates", "list of their licences")]
    described = _attributes(path).get("covariates", {})
    if not described:
        return [*blocks, Notice("covariates.parquet does not state the sources of its columns.")]
    rows = [(c.get("licence") or "not stated", name) for name, c in described.items()]
    frame = pd.DataFrame(rows, columns=["licence", "covariates"])
    groups = frame.groupby("licence", sort=False)["covariates"]
    table = pd.DataFrame({"number": groups.size(), "covariates": groups.agg(", ".join)})
    table = table.reset_index()
    if table["licence"].str.contains("WorldClim").any():
        named.append(WORLDCLIM)
    return [*blocks, Table("licences_of_covariates", "Licences of the covariates", table)]


def _attributes(path: Path) -> dict[str, Any]:
    try:
        return {str(k): v for k, v in pd.read_parquet(path, columns=["site"]).attrs.items()}
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise FileError(f"{path}: not a readable table of covariates ({error}).") from error
