"""The command line as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.files import write_netcdf
from tests.conftest import HERE

runner = CliRunner()


def run(*arguments: object) -> str:
    result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_models_lists_models_and_their_parameters():
    assert "compas" in run("models")
    table = run("models", "clm5", "--csv")
    assert table.splitlines()[0].startswith("name,symbol,unit,lower,upper,default,component")
    assert len(table.splitlines()) == 22
    assert "tau4s3" in run("models", "clm5")
    shown = run("models", "mimics")
    assert "MICr, MICK, CO2" in shown
    assert "Needs of the soil: clay." in shown
    assert "Wieder et al." in shown


def test_column_writes_what_the_python_call_returns(tmp_path):
    forcing = tmp_path / "forcing.nc"
    write_netcdf(proda.example_columns(), forcing)
    output, figure = tmp_path / "out.nc", tmp_path / "out.png"
    text = run(
        "column", forcing, "--model", "compas", "--components", "--output", output, "--plot", figure
    )
    assert "6 sites: 6 feasible" in text
    model = proda.load_model("compas")
    sites = proda.Forcing.from_dataset(proda.example_columns())
    expected = proda.steady_state(model, proda.default_parameters(model, sites), sites)
    written = xr.load_dataset(output)
    xr.testing.assert_equal(
        written["pool_carbon"].drop_vars("site"), expected["pool_carbon"].drop_vars("site")
    )
    assert "CTE" in written
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forcing.nc", "out.nc", "out.png"]


def test_column_takes_parameters_from_a_file():
    path = HERE / "data" / "compas_published.nc"
    text = run("column", path, "--model", "compas", "--variant", "published", "--parameters", path)
    accepted = int((xr.load_dataset(path)["soc"].sum("layer") > 0).sum())
    assert f"{accepted} feasible" in text
    assert "mostly microbes" in text


def test_many_sites_are_drawn_as_bands(tmp_path):
    path = HERE / "data" / "compas_published.nc"
    figure = tmp_path / "bands.pdf"
    run("column", path, "--model", "compas", "--parameters", path, "--plot", figure)
    assert figure.read_bytes().startswith(b"%PDF")


def test_set_changes_a_default():
    assert run("column", "--example", "--set", "b=0.9") != run(
        "column", "--example", "--set", "b=0.9", "--set", "q10=2.5"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["column"], "Give one forcing file"),
        (["column", "absent.nc"], "absent.nc: there is no such file"),
        (["column", "--example", "--model", "century"], "Unknown model 'century'"),
        (["column", "--example", "--set", "q10"], "expected NAME=NUMBER"),
        (["column", "--example", "--set", "q11=2"], "has the parameters fs3s1"),
        (["column", "--example", "--set", "q10=-2"], "q10 = -2"),
        (["column", "--example", "--output", "no/such/folder/x.nc"], "does not exist; create it"),
        (["column", "--example", "--plot", "x.docx"], "cannot draw a .docx"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(proda.ProdaError, match=message):
        runner.invoke(app, arguments, catch_exceptions=False)


def test_the_program_exits_2_with_one_line_and_no_traceback(tmp_path):
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"CDF\x01 not really")
    done = subprocess.run(
        [sys.executable, "-c", "from proda.cli import main; main()", "column", str(broken)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not a readable netCDF file" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_keep_compiled_programs(tmp_path):
    """Also those that compute in the process of the command."""
    script = (
        "import sys, proda.cli; sys.argv = ['proda', 'models']\n"
        "assert 'jax' not in sys.modules\n"
        "proda.cli.app = lambda: None\n"
        "proda.cli.main()\n"
        "import jax; print(jax.config.jax_compilation_cache_dir)"
    )
    given = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", script],
        env=given | {"PRODA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
