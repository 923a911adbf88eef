"""The settings of a study: every default visible, every fault named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proda.errors import StudyError
from proda.study.settings import parse, read_study
from proda.study.toml import as_toml

LEAST = """
[study]
name = "Trial"
[profiles]
source = [{ reader = "csv", name = "mine", layers_file = "mine.csv", columns = { profile_id = { column = "p" }, lat = { column = "y" }, lon = { column = "x" }, layer_id = { column = "l" }, upper_depth = { column = "a", unit = "cm" }, lower_depth = { column = "b", unit = "cm" }, soc = { column = "c", unit = "g kg-1" } } }]
[forcing]
climate = "climate.nc"
[covariates]
grid = "covariates.nc"
"""  # noqa: E501


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("comments", [True, False])
def test_what_is_shown_reads_back(write, comments):
    settings = read_study(write(LEAST + "[training.settings]\nepochs = 5\nhidden = [8, 8]\n"))
    shown = as_toml(settings, comments)
    assert read_study(write(shown)) == settings
    assert ("# Chains per site." in shown) is comments
    for default in ("chains = 3", "max_gelman_rubin = 1.05", "w_floor = 0.05", "min_layers = 3"):
        assert default in shown


def test_paths_are_relative_to_the_file(write):
    path = write(LEAST)
    settings = read_study(path)
    assert settings.forcing.climate == path.parent / "climate.nc"
    assert settings.covariates.grid == path.parent / "covariates.nc"
    assert settings.profiles.source[0].layers_file == path.parent / "mine.csv"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[assimilation]\nchain = 3\n", "assimilation.chain: there is no such setting; did you "
                                        "mean chains"),
        ("[assimilatoin]\n", "did you mean assimilation"),
        ("[assimilation]\nchains = 0\n", "assimilation.chains: must be 1 or more"),
        ("[assimilation]\nsampler = 'gibbs'\n", "there is no such sampler"),
        ("[assimilation]\ndraws = 401\n", "draws = 401 does not divide"),
        ("[assimilation]\ncluster = 'none.toml'\n", "none.toml"),
        ("[training.settings]\nepoch = 3\n", "Unknown settings: epoch"),
        ("[training.settings]\nepochs = 0\n", "epochs = 0; it must be above 0"),
        ("[training]\npreset = 'paper'\n", "training.preset"),
        ("[filter]\nmax_gelman_rubin = nan\n", "max_gelman_rubin is NaN"),
    ],
)  # fmt: skip
def test_faults(write, extra, message):
    with pytest.raises(StudyError, match=message) as error:
        read_study(write(LEAST + extra))
    assert "study.toml" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "Trial"', "", "study.name is missing"),
        ('name = "Trial"', 'name = "Trial"\nmodels = ["clm5", "century"]', "no model century"),
        ('name = "Trial"', 'name = "Trial"\nmodels = ["clm5", "clm5"]', "named twice"),
        ('climate = "climate.nc"', "", "forcing: give climate, or file"),
        ("[covariates]\n", "[covariates]\nlimit_km = 0\n", "covariates.limit_km"),
        ('reader = "csv"', 'reader = "excel"', "profiles: source"),
        ("[study]", "[study", "cannot be read as settings"),
    ],
)
def test_faults_of_what_must_be_there(write, old, new, message):
    with pytest.raises(StudyError, match=message):
        read_study(write(LEAST.replace(old, new, 1)))


def test_absent_file(tmp_path):
    with pytest.raises(StudyError, match=r"nowhere.toml: cannot be read"):
        read_study(tmp_path / "nowhere.toml")


def test_a_section_that_is_no_table(tmp_path):
    with pytest.raises(StudyError, match="study"):
        parse({"study": 3}, "test", tmp_path)


DOCS = Path(__file__).parents[1]


def test_settings_of_the_manual_and_the_examples(write, monkeypatch):
    page = (DOCS / "docs" / "study.md").read_text()
    settings = read_study(write(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]))
    assert settings.study.models == ("clm5", "compas")
    real = read_study(DOCS / "examples" / "real.toml")
    assert real.assimilation.sites >= 2000
    for section in type(settings).model_fields:
        assert f"| `{section}` |" in page
