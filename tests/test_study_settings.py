"""The settings of a study: every default visible, every fault named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proda.errors import StudyError
from proda.models.registry import load_model
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
        ("[assimilation]\nchain = 3\n", "assimilation.chain: unknown setting; did you mean chains"),
        ("[assimilatoin]\n", "did you mean assimilation"),
        ("[assimilation]\nchains = 0\n", "assimilation.chains: must be at least 1"),
        ("[assimilation]\nsampler = 'gibbs'\n", "unknown sampler"),
        ("[assimilation]\ndraws = 401\n", "draws = 401 cannot be taken evenly"),
        ("[assimilation]\ncluster = 'none.toml'\n", "none.toml"),
        ("[training.settings]\nepoch = 3\n", "Unknown settings: epoch"),
        ("[training.settings]\nepochs = 0\n", "epochs = 0; it must be above 0"),
        ("[training]\npreset = 'paper'\n", "training.preset"),
        ("[filter]\nmax_gelman_rubin = nan\n", "max_gelman_rubin is NaN"),
        ("[learning]\nroute = 'shortcut'\n", "learning.route: must be one of 'end-to-end'"),
        ("[learning.end_to_end]\nmember = 3\n", "did you mean members"),
        ("[learning.end_to_end]\nfolds = 1\n", "one fold leaves no training data"),
        ("[learning.end_to_end]\nsplit = 'halves'\n", "learning.end_to_end.split: must be one of"),
        ("[learning.end_to_end]\nepochs = 0\n", "end_to_end: epochs = 0; it must be above"),
        ("[learning.end_to_end]\nepochs = 'many'\n", "epochs: must be a whole number"),
        ("[learning.end_to_end]\nglobal_parameters = ['q11']\n", "no model of the study has q11"),
    ],
)
def test_faults(write, extra, message):
    with pytest.raises(StudyError, match=message) as error:
        read_study(write(LEAST + extra))
    assert "study.toml" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "Trial"', "", "study.name is missing"),
        ('name = "Trial"', 'name = "Trial"\nmodels = ["clm5", "century"]', "unknown model century"),
        ('name = "Trial"', 'name = "Trial"\nmodels = ["clm5", "clm5"]', "appears twice"),
        ('climate = "climate.nc"', "", "forcing: give climate, or file"),
        ("[covariates]\n", "[covariates]\nlimit_km = 0\n", "covariates.limit_km"),
        ('reader = "csv"', 'reader = "excel"', "profiles: source"),
        ("[study]", "[study", "cannot be read as settings"),
    ],
)
def test_faults_of_what_must_be_there(write, old, new, message):
    with pytest.raises(StudyError, match=message):
        read_study(write(LEAST.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("extra", "route"),
    [
        ("", "end-to-end"),
        ("[assimilation]\n", "both"),
        ("[filter]\nmin_nse = 0.2\n", "both"),
        ("[training]\nfolds = 3\n", "both"),
        ("[learning.end_to_end]\nepochs = 3\n", "end-to-end"),
        ("[learning]\nroute = 'posterior'\n", "posterior"),
        ("[assimilation]\n[learning]\nroute = 'end-to-end'\n", "end-to-end"),
    ],
)
def test_an_assimilation_is_run_where_it_is_asked_for(write, extra, route):
    settings = read_study(write(LEAST + extra))
    assert settings.learning.route == route
    assert f'route = "{route}"' in as_toml(settings)
    assert read_study(write(as_toml(settings))) == settings


def test_settings_of_the_end_to_end_route(write):
    shown = as_toml(read_study(write(LEAST)))
    pull = (
        "# Strength of the pull towards the start, on the squared distance of the logits; 0: none."
        "\nstart_weight"
    )
    for line in (
        pull,
        "# Number of networks.\nmembers = 10",
        "# patience is not set",
        'split = "5-degree"',
    ):
        assert line in shown
    text = "[learning.end_to_end]\nglobal_parameters = ['q10', 'tau_mic']\nhidden = [4]\n"
    chosen = read_study(write(LEAST + text)).learning.end_to_end
    names = {m: chosen.build(7, m, "default").global_parameters for m in ("clm5", "compas")}
    assert all(n in [r.name for r in load_model(m).rows] for m in names for n in names[m])
    assert set().union(*names.values()) == {"q10", "tau_mic"}
    built = chosen.build(7, "clm5", "default")
    assert (built.seed, built.hidden, built.members) == (7, (4,), 10)


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
    assert real.assimilation.sites is None
    assert real.learning.route == "both"
    assert real.forcing.drainage is not None
    for section in type(settings).model_fields:
        assert f"| `{section}` |" in page
