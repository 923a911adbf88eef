"""The whole way: settings, reading, rules, tables, the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proda.cli import app, main
from proda.errors import FileError, ObservationError
from proda.observations.build import build
from proda.observations.build_summary import read_build, read_summary, verify
from proda.observations.profile_settings import from_mapping, read_settings
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    REJECTED_COLUMNS,
    read_table,
)

FILES = {"profiles.parquet", "layers.parquet", "rejected.parquet", "summary.json"}
LINES = [
    "a,10,20,1,0,20,20,1.3,10",
    "a,10,20,2,20,40,10,,",
    "a,10,20,3,40,80,5,1.5,0",
    "b,11,20,1,0,20,20,,",
    "b,11,20,2,20,60,,,",
    "c,95,20,1,0,20,20,,",
    "c,95,20,2,20,40,20,,",
    "c,95,20,3,40,80,20,,",
    "d,10,20,1,0,20,20,1.3,10",
    "d,10,20,2,20,40,10,,",
    "d,10,20,3,40,80,5,1.5,0",
]


def many(n):
    """n profiles whose carbon and density follow a curve, every seventh one faulty."""
    lines = []
    for i in range(n):
        for k, (top, bottom) in enumerate(((0, 20), (20, 50), (50, 90 if i % 7 else 40))):
            soc = 3 + (i * 37 + k * 11) % 400
            bd = 0.1 + 1.4 * 2.718281828 ** (-0.006 * 1.724 * soc) + 0.02 * ((i * 5 + k) % 7 - 3)
            lines.append(
                f"p{i},{i % 60},{i % 50},{k},{top},{bottom},{soc},{bd if k else ''},{i % 9}"
            )
    return lines


def tables(folder):
    return (
        read_table(folder / "profiles.parquet", PROFILE_COLUMNS),
        read_table(folder / "layers.parquet", LAYER_COLUMNS),
        read_table(folder / "rejected.parquet", REJECTED_COLUMNS),
    )


def test_every_row_has_one_fate(tmp_path, csv_settings):
    out = tmp_path / "new" / "out"
    summary = build(csv_settings(LINES), out)
    assert {p.name for p in out.iterdir()} == FILES
    profiles, layers, rejected = tables(out)
    assert profiles.profile_id.tolist() == ["survey:a"]
    assert layers.layer_id.tolist() == ["1", "2", "3"]
    gone = rejected[rejected.level == "profile"].set_index("profile_id")
    assert gone.reason.to_dict() == {
        "survey:b": "too_few_layers",
        "survey:c": "coordinates_swapped",
        "survey:d": "duplicate",
    }
    assert gone.detail["survey:d"] == "kept: survey:a"
    assert gone.lat["survey:c"] == 95
    own = rejected[(rejected.level == "layer") & (rejected.by == "layer")]
    assert own.reason.tolist() == ["soc_missing"]
    assert own.layer_id.tolist() == ["2"]
    assert len(layers) + (rejected.level == "layer").sum() == len(LINES)
    assert summary.given == {"layer": {"survey": 11}, "profile": {"survey": 4}}
    table = summary.table("layer")["survey"]
    assert table["read"] == 11
    assert table["with profile: duplicate"] == 3
    verify(summary, out)


def test_stocks_of_a_profile(tmp_path, csv_settings):
    build(csv_settings(LINES), tmp_path / "out")
    profiles, layers, _ = tables(tmp_path / "out")
    bd = 1000 * (0.32 + 1.3 * 2.718281828459045 ** (-0.0089 * 17.24))
    expected = [20 * 1300 * 0.9, 10 * bd, 5 * 1500]
    assert layers.soc_stock.tolist() == pytest.approx(expected)
    total = expected[0] * 0.2 + expected[1] * 0.2 + expected[2] * 0.4
    row = profiles.iloc[0]
    assert row.soc_stock == pytest.approx(total)
    assert (row.n_layers, row.n_estimated_density, row.max_depth) == (3, 1, 0.8)


def test_refit_is_used_and_reported(tmp_path, csv_settings):
    summary = build(csv_settings(many(300), pedotransfer="refit"), None)
    assert summary.pedotransfer == "refit"
    assert summary.constants == pytest.approx((0.1, 1.4, 0.006), rel=0.1)
    assert [fit.name for fit in summary.fits] == ["paper", "paper, OM in %", "refit"]
    assert summary.fits[2].r2 > 0.98
    own = build(csv_settings(many(300), pedotransfer=[0.2, 1.2, 0.005]), None)
    assert own.constants == (0.2, 1.2, 0.005)


def test_refit_without_densities_says_what_to_do(csv_settings):
    with pytest.raises(ObservationError, match=r"Only 2 layers.*pedotransfer = 'paper'"):
        build(csv_settings(LINES, pedotransfer="refit"), None)


def test_preference_between_sources(tmp_path, csv_settings):
    first = csv_settings(LINES[:3], name="first")
    second = csv_settings([line.replace("a,", "z,", 1) for line in LINES[:3]], name="second")
    both = {
        "source": [*first.model_dump()["source"], *second.model_dump()["source"]],
        "pedotransfer": "paper",
    }
    for rules, kept in (({}, "first:a"), ({"prefer": ["second"]}, "second:z")):
        build(from_mapping({**both, "rules": rules}, "test"), tmp_path / "out")
        assert tables(tmp_path / "out")[0].profile_id.tolist() == [kept]


def test_a_fault_leaves_older_tables_alone(tmp_path, csv_settings):
    out = tmp_path / "out"
    build(csv_settings(LINES), out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    broken = csv_settings([*LINES, "e,10,20,1,0,20,abc,,"])
    with pytest.raises(FileError, match=r"survey.csv, line 13, column 7 \(soc\): 'abc'"):
        build(broken, out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_a_fault_leaves_no_half_written_output(tmp_path, csv_settings):
    out = tmp_path / "out"
    with pytest.raises(FileError):
        build(csv_settings([*LINES, "e,10,20"]), out)
    assert list(out.iterdir()) == []


def test_a_row_without_identifier_is_refused(csv_settings):
    # NA is a name like any other; nothing is not.
    assert build(csv_settings([*LINES, "NA,1,1,1,0,10,1,,"]), None).total("profile") == 5
    for nothing in ("", " ", "NaN", "#N/A"):
        with pytest.raises(FileError, match=r"survey.csv, line 13, column 1 .*there is no identif"):
            build(csv_settings([*LINES, f"{nothing},1,1,1,0,10,1,,"]), None)


def test_a_folder_that_cannot_be_made(tmp_path, csv_settings):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FileError, match=r"writing failed .*nothing was written"):
        build(csv_settings(LINES), tmp_path / "out")


def test_tables_of_two_builds_are_noticed(tmp_path, csv_settings):
    out = tmp_path / "out"
    build(csv_settings(LINES), out)
    old = (out / "layers.parquet").read_bytes()
    build(csv_settings(many(30)), out)
    (out / "layers.parquet").write_bytes(old)
    with pytest.raises(FileError, match=r"layers.parquet holds 3 rows, but summary.json counts"):
        verify(read_summary(out), out)


def test_a_build_cut_off_between_two_renames_is_noticed(tmp_path, csv_settings, monkeypatch):
    """Same rows, other stocks: only the checksums tell."""
    out = tmp_path / "out"
    build(csv_settings(LINES), out)
    read_build(out)
    renamed, replace = [], Path.replace

    def stop_at_third(self, target):
        if target.parent == out and len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        build(csv_settings(LINES, pedotransfer=[0.2, 1.2, 0.005]), out)
    assert len(renamed) == 2
    assert {p.name for p in out.iterdir()} == FILES
    with pytest.raises(FileError, match=r"is not the table that was written with summary.json"):
        read_build(out)


def test_lost_rows_would_be_noticed(csv_settings):
    summary = build(csv_settings(LINES), None)
    summary.counts[0].n -= 1
    with pytest.raises(ObservationError, match="accounted for"):
        summary.check()


def test_all_profiles_left_out(tmp_path, csv_settings):
    build(csv_settings(LINES), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ObservationError, match=r"No profile is kept.*too_few_layers.*soc_missing"):
        build(csv_settings(LINES[3:5]), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


# --- settings --------------------------------------------------------------------------------

TOML = """
pedotransfer = "paper"
[rules]
min_layers = 2
[[source]]
reader = "csv"
name = "survey"
layers_file = "survey.csv"
[source.columns]
profile_id = { column = "profile" }
lat = { column = "lat" }
lon = { column = "lon" }
upper_depth = { column = "top", unit = "cm" }
lower_depth = { column = "bottom", unit = "cm" }
soc = { column = "soc", unit = "g kg-1" }
"""


def test_paths_are_relative_to_the_settings(tmp_path, csv_settings):
    csv_settings(LINES)
    (tmp_path / "study.toml").write_text(TOML)
    settings = read_settings(tmp_path / "study.toml")
    assert settings.rules.min_layers == 2
    assert build(settings, None).total("layer") == 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("min_layers = 2", "min_layer = 2"),
            r"study.toml: rules.min_layer: unknown setting; did you mean min_layers",
        ),
        (("min_layers = 2", "min_layers = 0"), r"rules.min_layers: must be at least 1"),
        (('reader = "csv"', 'reader = "wosis"'), r"source.0: .*wosis; .*'wosis2019'"),
        (('unit = "g kg-1"', 'unit = "ppm"'), r"soc: unit 'ppm' is not known"),
        (("[rules]", "[rules"), r"study.toml: cannot be read as settings"),
        (('name = "survey"', 'name = "my survey"'), r"name: may contain only letters"),
    ],
)
def test_wrong_settings_are_named(tmp_path, change, message):
    (tmp_path / "study.toml").write_text(TOML.replace(*change))
    with pytest.raises(ObservationError, match=message):
        read_settings(tmp_path / "study.toml")


def test_two_sources_of_one_name(csv_settings):
    source = csv_settings(LINES).model_dump()["source"][0]
    with pytest.raises(ObservationError, match="two sources are named survey"):
        from_mapping({"source": [source, source]}, "test")


# --- command line ----------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path, csv_settings):
    csv_settings(many(150))
    path = tmp_path / "study.toml"
    path.write_text(TOML.replace('pedotransfer = "paper"', ""))
    text = path.read_text() + 'bulk_density = { column = "bd", unit = "g cm-3" }\n'
    path.write_text(text)
    return path


def test_commands(tmp_path, toml, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    run = CliRunner().invoke
    out = str(tmp_path / "out")
    checked = run(app, ["profiles", "check", "--settings", str(toml)])
    assert checked.exit_code == 0, checked.output
    assert not (tmp_path / "out").exists()
    made = run(app, ["profiles", "build", out, "--settings", str(toml)])
    assert made.exit_code == 0, made.output
    assert "depth_inverted" in made.output
    assert "No land mask was given" in made.stderr
    figures = tmp_path / "figures"
    output = run(app, ["profiles", "summary", out, "--figures", str(figures)])
    assert output.exit_code == 0, output.output
    assert {p.name for p in figures.iterdir()} == {
        "profiles_map.png",
        "carbon_with_depth.png",
        "pedotransfer_fit.png",
    }
    # However narrow the terminal, no number is cut.
    assert "…" not in output.output
    counts = json.loads((tmp_path / "out" / "summary.json").read_text())["counts"]
    assert sum(c["n"] for c in counts if c["level"] == "layer") == 450


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "Give either --settings FILE or --source READER:PATH"),
        (["check", "--source", "tidy"], "give READER:PATH"),
        (["check", "--source", "tidy:/nowhere"], "contains no profiles.parquet"),
        (["check", "--source", "csv:x.csv"], "csv need a column mapping in a settings file"),
        (["summary", "/nowhere"], "summary.json: there is no such file"),
    ],
)
def test_wrong_input_exits_with_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["proda", "profiles", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("command", ["build", "check", "summary"])
def test_help_has_examples(command):
    shown = CliRunner().invoke(app, ["profiles", command, "--help"])
    assert shown.exit_code == 0
    assert f"proda profiles {command}" in shown.output
