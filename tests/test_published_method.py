"""The published method by one word, and the ladder from there to ours."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import cli, files
from proda.errors import StudyError
from proda.inference.problem import build_problem
from proda.label import label, labelled
from proda.plots.figure_files import save_figure
from proda.study import ladder
from proda.study.ladder import link_study, published_amounts, run_ladder, rung_folder, tables_of
from proda.study.methods import CORRECTIONS, LABEL, SETTINGS, rung
from proda.study.settings import parse


@pytest.fixture
def given(tmp_path):
    """Settings as TOML has them, with the files that they name."""
    for name in ("layers", "profiles"):
        (tmp_path / f"{name}.parquet").touch()
    return {
        "study": {"name": "A study"},
        "profiles": {"source": [{"reader": "tidy", "name": "survey", "folder": "."}]},
        "forcing": {"climate": "climate.nc"},
        "covariates": {"grid": "covariates.nc"},
    }


def with_(values, **tables):
    return {**values, **{k: {**values.get(k, {}), **v} for k, v in tables.items()}}


def test_one_word_sets_the_published_chain(given, tmp_path):
    settings = parse(with_(given, study={"method": "published"}), "x.toml", tmp_path)
    for (table, name), value in SETTINGS.items():
        assert getattr(getattr(settings, table), name) == value
    for model in ("clm5", "compas"):
        own = settings.assimilation_of(model)
        assert (own.likelihood, own.variant) == (f"published-{model}", "published")
        sampler = build_problem(own).sampler
        assert sampler.n_warm_up + sampler.n_kept == 70_000
    assert not settings.training.build(0).bounded
    # What is written reads back.
    again = parse(settings.model_dump(mode="json", exclude={"profiles"})
                  | {"profiles": given["profiles"]}, "x.toml", tmp_path)  # fmt: skip
    assert again.assimilation == settings.assimilation


def test_our_method_is_the_default(given, tmp_path):
    settings = parse(given, "x.toml", tmp_path)
    assert settings.study.method == "ours"
    assert settings.study.variant == "default"


def test_what_contradicts_the_method_is_refused(given, tmp_path):
    odd = with_(given, study={"method": "published"}, assimilation={"sampler": "nuts"})
    with pytest.raises(StudyError, match=r"assimilation.sampler is 'nuts'"):
        parse(odd, "x.toml", tmp_path)
    fewer = with_(given, study={"method": "published"},
                  assimilation={"options": {"test": 40, "formal": 80}, "draws": 4})  # fmt: skip
    assert parse(fewer, "x.toml", tmp_path).assimilation.draws == 4
    with pytest.raises(StudyError, match="method"):
        parse(with_(given, study={"method": "theirs"}), "x.toml", tmp_path)


def test_every_rung_changes_what_it_says(given, tmp_path):
    found = [parse(rung(given, i), "x.toml", tmp_path) for i in range(len(CORRECTIONS))]
    names = [c.name for c in CORRECTIONS]

    def first(value):
        """Name of the first rung on which something is as by our method."""
        return names[[value(s) for s in found].index(True)]

    assert first(lambda s: s.study.variant == "default") == "models"
    assert first(lambda s: s.assimilation.likelihood == "log-normal") == "likelihood"
    assert first(lambda s: s.assimilation.sampler == "auto") == "sampler"
    assert first(lambda s: s.assimilation.operator == "layer_mean") == "layer_mean"
    assert first(lambda s: s.training.preset == "default") == "network"
    assert first(lambda s: s.learning.route == "end-to-end") == "through_model"
    assert found[6].learning.end_to_end.forcing_inputs == "summary"
    assert found[7].learning.end_to_end.forcing_inputs == "response"
    assert {s.study.seed for s in found} == {0}
    assert [s.study.method for s in found] == ["published"] + ["ours"] * 7
    ours = parse(with_(given, learning={"route": "end-to-end"}), "x.toml", tmp_path)
    assert found[-1].model_dump(exclude={"study"}) == ours.model_dump(exclude={"study"})


def test_fewer_steps_leave_even_draws():
    changes = published_amounts(20, 40, {"epochs": 2})
    assert changes[("assimilation", "draws")] == 20
    assert changes[("training", "settings")] == {"epochs": 2}
    with pytest.raises(StudyError, match="choose multiples of 8"):
        published_amounts(1, 6)


def test_labels_stand_on_files_and_figures(tmp_path):
    with labelled("as published"):
        files.write_netcdf(xr.Dataset({"x": 1.0}), tmp_path / "a.nc")
        figure, axis = plt.subplots()
        axis.set_title("A figure")
        described = save_figure(figure, tmp_path, "b", "What it shows.", "data")
        files.write_tables({"t": pd.DataFrame({"x": [1, 2]})}, tmp_path)
    assert label() == ""
    assert list(files.read_csv(tmp_path / "t.csv")["method_label"]) == ["as published"] * 2
    files.write_tables({"u": pd.DataFrame({"x": [1, 2]})}, tmp_path)
    assert list(files.read_csv(tmp_path / "u.csv")) == ["x"]
    assert described.caption == "What it shows. As published."
    with files.open_netcdf(tmp_path / "a.nc") as opened:
        assert opened.attrs["method"] == "as published"
    files.write_netcdf(xr.Dataset({"x": 1.0}), tmp_path / "c.nc")
    with files.open_netcdf(tmp_path / "c.nc") as opened:
        assert "method" not in opened.attrs
    assert "published" in LABEL


def test_a_linked_study_shares_files_and_keeps_its_own_record(tmp_path):
    source = tmp_path / "one"
    (source / "clm5").mkdir(parents=True)
    (source / "clm5" / "maps.nc").write_text("map")
    (source / "study.json").write_text("{}")
    (source / ".lock").write_text("")
    link_study(source, tmp_path / "two")
    two = tmp_path / "two"
    assert (two / "clm5" / "maps.nc").stat().st_nlink == 2
    assert (two / "study.json").stat().st_nlink == 1
    assert not (two / ".lock").exists()
    (two / "clm5" / "maps.nc").unlink()
    assert (source / "clm5" / "maps.nc").read_text() == "map"


def comparison(folder, verdict, r):
    """Write the tables of a comparison that a ladder reads."""
    made = folder / "comparison"
    made.mkdir(parents=True)
    finding = {"id": "r_rises", "section": "3", "paper": "r rises", "route": "end to end",
               "run": f"r = {r}", "verdict": verdict, "reason": "", "rule": "by r"}  # fmt: skip
    pd.DataFrame([finding]).to_csv(made / "findings.csv", index=False)
    row = {"first": "clm5", "second": "compas", "state": "after", "variable": "cSoilAbove1m",
           "r": r, "low": r - 0.1, "high": r + 0.1, "n_effective": 60.0}  # fmt: skip
    pd.DataFrame([row]).to_csv(made / "correlations.csv", index=False)
    total = {"zone": "globe", "stock": "cSoilAbove1m", "source": "clm5", "state": "after",
             "mean": 1400.0, "q05": 1300.0, "q95": 1500.0}  # fmt: skip
    pd.DataFrame([total]).to_csv(made / "totals.csv", index=False)
    (made / "michaelis.csv").write_text("\n")


def test_findings_of_all_rungs_stand_side_by_side(tmp_path):
    for i, verdict in enumerate(("agrees", "disagrees")):
        comparison(rung_folder(tmp_path, i), verdict, 0.5 + 0.1 * i)
    result = tables_of([rung_folder(tmp_path, i) for i in range(2)])
    row = result.findings.iloc[0]
    assert row["holds"] == "depends on the method"
    assert (row["0_published"], row["1_models"]) == ("agrees", "disagrees")
    assert row["1_models, numbers"] == "r = 0.6"
    r = result.numbers[result.numbers["quantity"].str.startswith("r of")]
    assert list(r["value"]) == [0.5, 0.6]


def test_ladder_links_rungs_and_writes_tables(given, tmp_path, monkeypatch):
    done = []

    def ran(settings, folder, **_):
        done.append((folder.name, settings.assimilation.sampler, (folder / "study.json").exists()))
        folder.mkdir(exist_ok=True)
        if not (folder / "comparison").exists():
            comparison(folder, "agrees", 0.5)
        (folder / "study.json").write_text("{}")

    monkeypatch.setattr(ladder, "run_study", ran)
    text = '[study]\nname = "A"\n[[profiles.source]]\nname = "s"\nreader = "tidy"\nfolder = "."\n'
    text += '[forcing]\nclimate = "c.nc"\n[covariates]\ngrid = "g.nc"\n'
    (tmp_path / "study.toml").write_text(text)
    result = run_ladder(tmp_path / "study.toml", tmp_path / "ladder", rungs=4)
    assert [d[1] for d in done] == ["published"] * 2 + ["auto"] * 2
    assert [d[2] for d in done] == [False, True, True, True]
    assert set(result.findings["holds"]) == {"on every rung"}
    assert (tmp_path / "ladder" / ladder.FINDINGS).is_file()
    shown = CliRunner().invoke(
        cli.app, ["ladder", str(tmp_path / "study.toml"), str(tmp_path / "ladder"), "--rungs", "2"]
    )
    assert shown.exit_code == 0, shown.output
    assert "depends" not in shown.output
    (tmp_path / "study.toml").write_text(text.replace('name = "A"', 'name = "A"\nmethod = "ours"'))
    with pytest.raises(StudyError, match="remove method"):
        run_ladder(tmp_path / "study.toml", tmp_path / "ladder")
