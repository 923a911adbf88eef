"""What to cite for a run, and that what is cited exists."""

from __future__ import annotations

import json
import re
import sys

import pandas as pd
import pytest
from markdown.extensions.toc import slugify
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.inference.samplers.registry import SAMPLERS
from proda.models.registry import MODELS
from proda.references import bibliography, cited
from tests.conftest import HERE
from tests.run_folders import made_run

ROOT = HERE.parent
UNKNOWN = {"Mishra et al. 2020"}
"""Cited works of which the bibliography has no reference: `proda cite` says so."""


def test_every_source_of_a_model_and_a_sampler_is_in_the_bibliography():
    texts = {name: [m.source, *(row.source for row in m.rows)] for name, m in MODELS.items()}
    texts |= {name: [sys.modules[s.__module__].__doc__] for name, s in SAMPLERS.items()}
    for name, own in texts.items():
        named = [pair for text in own for pair in cited(text)]
        assert named, name
        assert [label for label, reference in named if reference is None] == [], name


def test_citations_are_found_in_text():
    text = "See Wieder et al. 2014, 2015; (Tang and\nRiley 2013), P-Table S1, Nobody 1999 and 2020."
    found = list(cited(text))
    assert [label for label, _ in found] == [
        "Wieder et al. 2014",
        "Wieder et al. 2015",
        "Tang and Riley 2013",
        "P",
        "Nobody 1999",
    ]
    keys = [None if r is None else r.key for _, r in found]
    assert keys == ["wieder2014", "wieder2015", "tang2013", "study", None]


def test_entries_are_whole():
    entries = bibliography()
    assert len(entries) > 35
    assert len({e.label for e in entries.values()}) == len(entries)
    for key, entry in entries.items():
        assert {"author", "title"} <= set(entry.fields), key
        assert key == "study" or re.search(r"(19|20)\d\d", entry.fields["year"]), key
        assert "{" not in entry.text(), key
        assert entry.bibtex().count("{") == entry.bibtex().count("}"), key


def test_an_assimilation_cites_its_model_and_sampler(tmp_path):
    folder = made_run(tmp_path / "run")
    found = proda.cite(folder)
    table = found.table().set_index("key")["purpose"]
    assert "model clm5" in table["lawrence2019"]
    assert "sampler rto" in table["bardsley2014"]
    assert "parameters of clm5" in table["study"]
    assert "vehtari2021" in table
    assert "hoffman2014" not in table
    assert found.missing == ()


def test_a_study_cites_its_data_and_says_what_states_no_source(tmp_path):
    folder = tmp_path / "study"
    for part in ("rothc/network", "profiles", "clm5"):
        (folder / part).mkdir(parents=True)
    made_run(folder / "clm5" / "assimilation")
    about = {"model": "rothc", "variant": "default"}
    (folder / "rothc" / "network" / "train.json").write_text(json.dumps(about))
    sources = [
        {"reader": "wosis2019", "name": "wosis"},
        {"reader": "csv", "name": "mine"},
        {"reader": "ncscd", "name": "ncscd"},
    ]
    (folder / "profiles" / "summary.json").write_text(json.dumps({"settings": {"source": sources}}))
    covariates = pd.DataFrame({"site": ["a"], "bio1": [1.0]})
    covariates.attrs = {"covariates": {"bio1": {"licence": "terms of WorldClim"}}}
    covariates.to_parquet(folder / "covariates.parquet")
    forcing = proda.example_columns().assign_attrs(references="Cosby et al. 1984; Nobody 1999")
    forcing.to_netcdf(folder / "sites.nc")
    found = proda.cite(folder)
    keys = set(found.table()["key"])
    assert {
        "coleman2014",
        "burke2017",
        "lawrence2019",
        "batjes2020",
        "hugelius2013",
        "cosby1984",
        "fick2017",
        "study",
        "tao2020",
    } <= keys
    assert "batjes2024" not in keys
    missing = " ".join(found.missing)
    assert "soil profiles mine: the reader csv states no source." in missing
    assert "forcing: sites.nc cites Nobody 1999" in missing
    assert all(name in missing for name in UNKNOWN)
    shown = CliRunner().invoke(app, ["cite", str(folder)])
    assert shown.exit_code == 0
    assert "RothC: a model for the turnover" in shown.stdout
    assert "Missing: soil profiles mine" in shown.stderr
    entries = CliRunner().invoke(app, ["cite", str(folder), "--bibtex"]).stdout
    assert entries.startswith("@software{proda,")
    assert set(re.findall(r"^@\w+\{([\w-]+),", entries, re.MULTILINE)) == keys | {"proda"}


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(proda.FileError, match="no study, assimilation"):
        proda.cite(tmp_path)
    with pytest.raises(proda.FileError, match="there is no such folder"):
        proda.cite(tmp_path / "nowhere")


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    return {slugify(heading, "-") for heading in headings}


def test_what_docstrings_cite_of_the_manual_exists():
    """Every `docs/PAGE.md` in the code is a page, and what follows its # a heading of it."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for page, anchor in re.findall(r"(docs/[\w/]+\.md)(?:#([\w-]+))?", path.read_text()):
            assert (ROOT / page).is_file(), (path, page)
            assert not anchor or anchor in _anchors(page), (path, page, anchor)
            found.append(anchor)
    assert len([anchor for anchor in found if anchor]) >= 30


def test_nothing_cites_a_document_outside_the_project():
    for folder in ("src", "tests", "docs", "benchmarks", "tools"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md", ".toml") and path != HERE / "test_citations.py":
                text = path.read_text()
                assert not re.search(r"\bscience(_next)?\.md|\bscience: |\bdesign\.md", text), path
