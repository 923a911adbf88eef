"""`proda assimilate` as a user meets it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from proda import cli
from proda.errors import ProdaError
from tests.assimilation_worlds import N_SITES, write_forcing, write_profiles

QUICK = [
    "--sampler",
    "tempered",
    "--option",
    "warm_up=15",
    "--option",
    "kept=20",
    "--option",
    "replicas=3",
    "--draws",
    "4",
    "--chains",
    "2",
    "--seed",
    "7",
    "--workers",
    "1",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assimilate")
    return write_profiles(folder / "profiles"), write_forcing(folder / "sites.nc")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        return CliRunner().invoke(cli.app, ["assimilate", *[str(a) for a in arguments]])

    return run


def test_run_stop_resume(run, data, tmp_path):
    stopped = run(*data, tmp_path / "run", *QUICK, "--stop-after", "0s")
    assert stopped.exit_code == 75, stopped.output
    assert "--resume" in stopped.output
    done = run("--resume", tmp_path / "run", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert f"sites {N_SITES}" in " ".join(done.output.replace("│", " ").split())
    assert (tmp_path / "run" / "summary.nc").is_file()
    again = run("--resume", tmp_path / "run")
    assert again.exit_code == 0
    assert "is already finished" in " ".join(again.output.split())


def test_dry_run_writes_nothing(run, data, tmp_path):
    result = run(*data, tmp_path / "run", *QUICK, "--dry-run")
    assert result.exit_code == 0, result.output
    # 6 sites x 2 chains x 3 replicas x 35 steps
    assert "1,260" in result.output
    assert "million per second" in result.output
    assert "time with" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--option", "warm_up"], "expected NAME=INTEGER"),
        (["--option", "haste=1"], "no option 'haste'"),
        (["--error-sd", "small"], "expected a number above 0, or 'estimate'"),
        (["--stop-after", "soon"], "expected a time such as"),
        (["--workers", "0"], "expected 1 or more"),
        (["--model", "century"], "Unknown model 'century'"),
        (["--sampler", "gibbs"], "choose one of auto, smc, rto, tempered"),
    ],
)
def test_wrong_options_are_named(run, data, tmp_path, extra, message):
    result = run(*data, tmp_path / "run", *QUICK, *extra)
    assert isinstance(result.exception, ProdaError)
    assert message in str(result.exception)


def test_resume_takes_no_data(run, data, tmp_path):
    result = run(*data, "--resume", tmp_path)
    assert "do not give others" in str(result.exception)
    assert "pass --resume" in str(run(data[0]).exception)
