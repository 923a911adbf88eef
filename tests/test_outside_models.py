"""Models from outside the package: loaded, refused by name, sent to other processes."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint

import cloudpickle
import pytest
from typer.testing import CliRunner

import proda
from proda import cli
from proda.cli import app
from proda.errors import AssimilationError, ModelError
from proda.inference.assimilation_run import Run, create
from proda.inference.problem import checked_settings
from proda.learning import contract
from proda.models import registry
from proda.models.outside import CHECKSUM, SOURCE, provenance
from proda.models.registry import load_recorded
from tests.assimilation_worlds import write_forcing, write_profiles
from tests.conftest import HERE

TWO_POOL = (HERE.parent / "examples" / "two_pool.py").read_text()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "two_pool.py"
    path.write_text(TWO_POOL)
    return path


def sha(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_in_a_file_is_one_like_others_and_outputs_say_where_it_came_from(file, examples):
    model = proda.load_model(f"{file}:TwoPool")
    assert model.name == "two_pool"
    values = proda.default_parameters(model, examples)
    steady = proda.steady_state(model, values, examples)
    assert (steady["reason"] == 0).all()
    assert steady.attrs["model"] == "two_pool"
    assert steady.attrs[SOURCE] == f"{file}:TwoPool"
    assert steady.attrs[CHECKSUM] == sha(file)
    assert type(load_recorded(steady.attrs, "steady")) is type(model)
    assert (
        SOURCE
        not in proda.steady_state(
            proda.load_model("compas"),
            proda.default_parameters(proda.load_model("compas"), examples),
            examples,
        ).attrs
    )


def test_a_relative_path_is_made_absolute(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert provenance(proda.load_model("two_pool.py:TwoPool"))[SOURCE] == f"{file}:TwoPool"


def test_a_changed_file_is_loaded_anew_and_products_of_the_other_are_refused(file):
    before = proda.load_model(f"{file}:TwoPool")
    attributes = {"model": "two_pool", "variant": "default", **provenance(before)}
    file.write_text(TWO_POOL.replace("150.0", "160.0"))
    after = proda.load_model(f"{file}:TwoPool")
    assert after.parameters.loc["tau_slow", "default"] == 160.0
    assert before.parameters.loc["tau_slow", "default"] == 150.0
    with pytest.raises(ModelError, match=rf"{file}: this file .* changed after the map was made"):
        load_recorded(attributes, "the map")
    file.unlink()
    with pytest.raises(ModelError, match=rf"{file}: there is no such file"):
        load_recorded(attributes, "the map")


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (
            ("class TwoPool", "class TwoPools"),
            "TwoPool",
            r"contains no class TwoPool; its models are TwoPools",
        ),
        ((TWO_POOL, "x = 1"), "TwoPool", r"contains no class TwoPool; it defines no model"),
        (("(SoilModel)", ""), "TwoPool", r"TwoPool is not a soil model"),
        (("US = ", "US === "), "TwoPool", r"two_pool.py, line 12: .*invalid syntax"),
        (
            ("NO_DEPTH = ", "NO_DEPTH = 1 / 0 + "),
            "TwoPool",
            r"two_pool.py, line 13: .*ZeroDivisionError: division by zero",
        ),
        (
            ("import jax.numpy", "raise SystemExit('done')\nimport jax.numpy"),
            "TwoPool",
            r"two_pool.py, line 3: .*SystemExit: done",
        ),
        (("def steady_state", "def steadystate"), "TwoPool", r"does not define steady_state"),
        (("title = ", "titel = "), "TwoPool", r"does not declare title"),
        (
            ('name = "two_pool"', 'name = "compas"'),
            "TwoPool",
            r"its name 'compas' is already that of a model of proda",
        ),
        (('name = "two_pool"', 'name = "../two"'), "TwoPool", r"has the name '../two'; a name"),
        (("", ""), "Two-Pool", r"is not a model; expected"),
    ],
)
def test_faults_of_a_file_are_named(file, change, name, message, capsys, monkeypatch):
    file.write_text(TWO_POOL.replace(*change))
    with pytest.raises(ModelError, match=message):
        proda.load_model(f"{file}:{name}")
    with pytest.raises(SystemExit, match="2"):
        words = ["proda", "column", "--example", "--model", f"{file}:{name}"]
        monkeypatch.setattr(sys, "argv", words)
        cli.main()
    assert "Traceback" not in "".join(capsys.readouterr())


def test_no_such_file_module_or_model():
    with pytest.raises(ModelError, match=r"none\.py: there is no such file"):
        proda.load_model("none.py:TwoPool")
    with pytest.raises(ModelError, match=r"no_such_package\.soil: the module cannot be found"):
        proda.load_model("no_such_package.soil:TwoPool")
    with pytest.raises(ModelError, match=r"Unknown model 'two_pool'; choose one of clm5.*path/to"):
        proda.load_model("two_pool")
    assert type(proda.load_model("proda.models.clm5:CLM5")) is registry.MODELS["clm5"]


def test_a_module_that_can_be_imported(file, monkeypatch):
    name = "two_pool_importable"
    path = file.with_name(f"{name}.py")
    file.rename(path)
    monkeypatch.syspath_prepend(str(path.parent))
    model = proda.load_model(f"{name}:TwoPool")
    assert provenance(model) == {SOURCE: f"{name}:TwoPool", CHECKSUM: sha(path)}
    with pytest.raises(ModelError, match=r"changed after the map was made"):
        load_recorded(
            {"variant": "default", SOURCE: f"{name}:TwoPool", CHECKSUM: "0" * 64}, "the map"
        )
    path.with_name("lacks_import.py").write_text("import no_such_package\n")
    with pytest.raises(ModelError, match=r"lacks_import.* No module named 'no_such_package'"):
        proda.load_model("lacks_import:TwoPool")


def entry(name, value, package):
    """Return an entry point as of an installed package."""
    made = EntryPoint(name, value, registry.GROUP)
    vars(made)["dist"] = type("Package", (), {"name": package})
    return made


def test_installed_packages_add_models(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))
    found = [entry("two_pool", "two_pool:TwoPool", "soils")] * 2
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    assert proda.load_model("two_pool").name == "two_pool"
    assert "two_pool" in CliRunner().invoke(app, ["models"]).output
    found.append(entry("two_pool", "other:TwoPool", "others"))
    with pytest.raises(
        ModelError,
        match=r"Several installed .* soils \(two_pool:TwoPool\) and "
        r"others \(other:TwoPool\)",
    ):
        proda.load_model("two_pool")
    found[:] = [entry("twopool", "two_pool:TwoPool", "soils")]
    with pytest.raises(ModelError, match=r"soils calls .* 'twopool', .* class says 'two_pool'"):
        proda.load_model("twopool")
    found[:] = [entry("clm5", "two_pool:TwoPool", "soils")]
    assert type(proda.load_model("clm5")) is registry.MODELS["clm5"]
    assert "The package soils adds a model 'clm5'" in registry.installed_models()[1][0]
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    assert "The package soils adds a model 'clm5'" in result.output
    sys.modules.pop("two_pool", None)


def test_other_processes_load_the_same_file_or_say_why_not(file, tmp_path):
    model = proda.load_model(f"{file}:TwoPool")
    for dump in (pickle.dumps, cloudpickle.dumps):
        assert pickle.loads(dump(model)) == model
    (tmp_path / "model").write_bytes(cloudpickle.dumps(model))
    script = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).name)"

    def other():
        return subprocess.run(
            [sys.executable, "-c", script, tmp_path / "model"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert other().stdout.strip() == "two_pool"
    file.write_text(TWO_POOL + "\n")
    assert "this file of a model was changed after the model that was" in other().stderr
    file.unlink()
    assert f"{file}: there is no such file on " in other().stderr


def test_an_assimilation_goes_on_with_the_same_file_only(file, tmp_path, capsys, monkeypatch):
    profiles = write_profiles(tmp_path / "profiles")
    forcing = write_forcing(tmp_path / "forcing.nc")
    settings = checked_settings(
        model=f"{file}:TwoPool",
        sampler="tempered",
        options={"warm_up": 10, "kept": 10},
        draws=10,
        chains=1,
    )
    assert (settings.model, settings.model_checksum) == ("two_pool", sha(file))
    run = create(tmp_path / "run", settings, profiles, forcing)
    again = Run(run.folder)
    assert again.problem.model.name == "two_pool"
    file.write_text(TWO_POOL + "\n")
    with pytest.raises(ModelError, match=r"changed after the run .*run was made"):
        Run(run.folder).problem.model  # noqa: B018
    with pytest.raises(SystemExit, match="2"):
        monkeypatch.setattr(sys, "argv", ["proda", "assimilate", "--resume", str(run.folder)])
        cli.main()
    assert "changed after" in " ".join(capsys.readouterr().err.split())
    assert "model_source" not in checked_settings(model="clm5").model_dump_json()
    with pytest.raises((AssimilationError, ModelError)):
        checked_settings(model="twopool")


BREAKS = {
    "carbon is made": (
        (
            "return general_steady_state(self, parameters, column)",
            "s = general_steady_state(self, parameters, column)\n"
            "        return __import__('equinox').tree_at(lambda s: s.respiration, s, "
            "s.respiration * (1 + 1e-9))",
        ),
        "carbon is conserved, defaults",
    ),
    "a derivative is lost": (
        (
            'rate = 1.0 / jnp.stack([p["tau_fast"], p["tau_slow"]])',
            'rate = 1.0 / jnp.stack([__import__("jax").lax.stop_gradient(p["tau_fast"]), '
            'p["tau_slow"]])',
        ),
        "gradient equals finite differences",
    ),
    "a row without source": (
        ("parameter_rows(\n        US,", 'parameter_rows(\n        "",'),
        "parameter table is complete",
    ),
    "a property that is not declared": (
        (
            "        p = parameters\n",
            '        p = parameters\n        column.site_property("clay")\n',
        ),
        "properties of the soil",
    ),
    "an exception": (
        ("        p = parameters\n", "        p = parameters\n        1 / 0\n"),
        "steady state at the defaults",
    ),
    "input of its own": (
        ("input=self.litter_input(p, column),", "input=1.01 * self.litter_input(p, column),"),
        "plants' carbon enters, defaults",
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_the_check_finds_what_is_wrong_with_a_model(file, fault):
    (old, new), name = BREAKS[fault]
    assert TWO_POOL.count(old) == 1
    file.write_text(TWO_POOL.replace(old, new))
    model = proda.load_model(f"{file}:TwoPool")
    checks = []
    for done in contract.run_checks(model, calibration=False):
        checks.append(done)
        if not done.holds and done.name == name:
            break
    assert name in [c.name for c in checks if not c.holds], checks


def test_a_failed_check_is_a_row_of_the_table_and_exit_status_1(file, monkeypatch):
    some = [contract.Check("a", True, "1", "1"), contract.Check("b", False, "2", "1")]
    monkeypatch.setattr(contract, "run_checks", lambda model, calibration: iter(some))
    result = CliRunner().invoke(app, ["models", f"{file}:TwoPool", "--check"])
    assert result.exit_code == 1
    assert "1 of 2 checks fail" in result.output
    some.pop()
    assert CliRunner().invoke(app, ["models", f"{file}:TwoPool", "--check"]).exit_code == 0
    for words in (["--check"], [f"{file}:TwoPool", "--quick"]):
        result = CliRunner().invoke(app, ["models", *words])
        assert isinstance(result.exception, ModelError)
