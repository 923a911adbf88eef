"""The public contract: many columns at once, parameters checked, results described."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import proda
from proda import simulate
from proda.parameters import Parameter
from tests.conftest import HERE, defaults, parameters_of, rough_forcing, rough_parameters


def test_reference_files_are_valid_input_as_they_are():
    for name in ("clm5", "compas"):
        dataset = xr.load_dataset(HERE / "data" / f"{name}_published.nc")
        forcing = proda.Forcing.from_dataset(dataset)
        names = [n for n in dataset if str(n).startswith("param_")]
        values = dataset[names].rename({n: str(n).removeprefix("param_") for n in names})
        result = proda.steady_state(proda.load_model(name), values, forcing)
        n = dataset.sizes["site"]
        assert dict(result.sizes) == {
            "site": n,
            "pool": dataset.sizes["pool"],
            "layer": 20,
        }
        assert result["pool_carbon"].dims == ("site", "pool", "layer")
        assert result["soil_carbon"].dims == ("site", "layer")
        for variable in ("carbon_input", "respiration", "reason"):
            assert result[variable].dims == ("site",)
        assert result["respiration"].attrs["units"] == "g m-2 yr-1"
        assert list(result["pool"].to_numpy()) == list(dataset["pool"].to_numpy())
        assert "no_steady_state" in result["reason"].attrs["flag_meanings"]


def test_a_site_does_not_depend_on_its_neighbours(model):
    forcing = rough_forcing(5, 600)  # more than one block
    values = rough_parameters(model, 5, 600)
    together = proda.steady_state(model, values, forcing)
    for part in (slice(0, 1), slice(505, 518)):
        alone = proda.steady_state(
            model, {name: v[part] for name, v in values.items()}, forcing.select(part)
        )
        np.testing.assert_allclose(alone["pool_carbon"], together["pool_carbon"][part], rtol=1e-12)
        np.testing.assert_array_equal(alone["reason"], together["reason"][part])


@pytest.mark.parametrize("n", [1, 16, 17, 50])
def test_blocks_of_one_size_hold_every_site(n):
    site = np.arange(n)
    blocks = [site[simulate.block_of(start, 16, n)] for start in range(0, n, 16)]
    assert {len(block) for block in blocks} == {16}
    np.testing.assert_array_equal(np.concatenate(blocks)[:n], site)
    assert (np.concatenate(blocks)[n:] == n - 1).all()


def test_progress_counts_to_the_end(monkeypatch):
    monkeypatch.setattr(simulate, "CPU_BLOCK", 16)
    monkeypatch.setattr(simulate, "GPU_BLOCK", 16)
    forcing, model = rough_forcing(0, 50), proda.load_model("compas")
    seen = []
    proda.steady_state(
        model, rough_parameters(model, 0, 50), forcing, progress=lambda *a: seen.append(a)
    )
    assert seen == [(16, 50), (32, 50), (48, 50), (50, 50)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q10": 9.0}, r"q10 = 9 1 at site tundra is outside its prior range \[1.2, 3\] \(6 val"),
        ({"q10": np.nan}, r"q10 = nan"),
        ({"q10": np.array([2, 2, 2, 0.5, 2, 2])}, "q10 = 0.5 1 at site prairie"),
        ({"tau_mic": 0.0}, r"tau_mic = 0 yr .* \(0, 2\]"),
        ({"tau_mic": "long"}, "tau_mic = 'long' is not a number"),
        ({"q10": np.ones(4)}, r"q10 has the shape \(4,\); expected one number, \(6,\)"),
        ({"q11": 2.0}, "Unknown parameters: q11. The model has: eta_doc"),
        ({"q10": xr.DataArray(2.0, attrs={"units": "K"})}, "q10 is in 'K'; give it in '1'"),
        ({"q10": xr.DataArray(np.full(3, 2.0), dims="time")}, "dimension time"),
        (
            {"q10": xr.DataArray(np.full(6, 2.0), dims="site", coords={"site": np.arange(6)})},
            "other sites than the forcing",
        ),
    ],
)
def test_wrong_parameters_are_named(examples, change, message):
    model = proda.load_model("compas")
    values = {row.name: row.default for row in model.rows}
    proda.steady_state(model, values, examples)
    with pytest.raises(proda.ParameterError, match=message):
        proda.steady_state(model, values | change, examples)


def test_missing_parameters_are_listed(examples):
    model = proda.load_model("clm5")
    with pytest.raises(proda.ParameterError, match=r"Missing parameters: fs3s1, .*, b\.$"):
        proda.steady_state(model, {}, examples)
    with pytest.raises(proda.ParameterError, match="prefix param_"):
        proda.steady_state(model, {"param_q10": 2.0}, examples)


def test_physical_bounds_admit_what_the_prior_does_not(examples):
    model = proda.load_model("compas")
    values = {row.name: row.default for row in model.rows} | {"q10": 4.0}
    with pytest.raises(proda.ParameterError, match="pass bounds='physical'"):
        proda.steady_state(model, values, examples)
    proda.steady_state(model, values, examples, bounds="physical")
    with pytest.raises(proda.ParameterError, match="the range in which it has a meaning"):
        proda.steady_state(model, values | {"eta_doc": 1.5}, examples, bounds="physical")
    with pytest.raises(proda.ParameterError, match="bounds = 'none'"):
        proda.steady_state(model, values, examples, bounds="none")


def test_parameters_may_vary_down_the_column(examples):
    """One value per layer equals the same value for all; CLM5's sand dependence is one such."""
    model = proda.load_model("clm5")
    values = defaults(model, examples).assign(fs2s1=("site", np.full(6, 0.3)))
    layered = values.assign(fs2s1=("layer", np.full(20, 0.3)))
    one = proda.steady_state(model, values, examples)
    other = proda.steady_state(model, layered, examples)
    np.testing.assert_allclose(other["pool_carbon"], one["pool_carbon"], rtol=1e-13)


def test_defaults_of_clm5_depend_on_sand_and_need_a_root_profile(examples):
    model = proda.load_model("clm5")
    with pytest.raises(proda.ParameterError, match="no default for b"):
        proda.default_parameters(model, examples)
    values = proda.default_parameters(model, examples, b=0.966)
    t = 0.85 - 0.0068 * (100 - examples.sand)
    np.testing.assert_allclose(values["fs2s1"], 1 - t - 0.004)
    assert float(values["fs3s1"][0]) == 0.004


def test_unknown_models_and_variants_are_named():
    with pytest.raises(proda.ModelError, match="Unknown model 'century'; choose one of clm5"):
        proda.load_model("century")
    with pytest.raises(proda.ModelError, match="clm5 has no variant 'old'"):
        proda.load_model("clm5", "old")


def test_the_registry_is_the_papers_tables(model):
    table = model.parameters
    assert list(table.columns[:8]) == [
        "name",
        "symbol",
        "unit",
        "lower",
        "upper",
        "default",
        "component",
        "meaning",
    ]
    assert len(table) == {"clm5": 21, "compas": 23}[model.name]
    assert table["name"].is_unique
    assert (table["lower"] < table["upper"]).all()
    inside = (table["default"] >= table["lower"]) & (table["default"] <= table["upper"])
    outside = set(table["name"][~inside & table["default"].notna()])
    assert outside == ({"efolding"} if model.name == "clm5" else set())
    assert (table["physical_lower"] <= table["lower"]).all()
    assert (table["physical_upper"] >= table["upper"]).all()
    assert all(isinstance(row, Parameter) for row in model.rows)


def test_shares_of_the_prior_range_and_values_are_each_others_inverse(model):
    share = np.array([0.0, 0.25, 0.5, 1.0])
    for row in model.rows:
        wanted = [row.lower, 0.75 * row.lower + 0.25 * row.upper, row.middle, row.upper]
        np.testing.assert_allclose(row.at(share), wanted, rtol=1e-12)
        np.testing.assert_allclose(row.share(row.at(share)), share, atol=1e-12)


def test_results_survive_a_file(tmp_path, model, examples):
    from proda.files import open_netcdf, write_netcdf

    result = proda.steady_state(model, defaults(model, examples), examples, bounds="physical")
    write_netcdf(result, tmp_path / "steady.nc")
    again = open_netcdf(tmp_path / "steady.nc").load()
    xr.testing.assert_identical(
        again["soil_carbon"].drop_vars("site"), result["soil_carbon"].drop_vars("site")
    )
    assert again.attrs["model"] == model.name
    assert again.attrs["forcing_title"] == "Six synthetic columns"


def test_published_parameters_outside_the_prior_are_not_in_the_reference():
    """All reference cases lie inside the prior, so parity needs no physical bounds."""
    for name in ("clm5", "compas"):
        dataset = xr.load_dataset(HERE / "data" / f"{name}_published.nc")
        table = proda.load_model(name).parameters
        for key, value in parameters_of(dataset).items():
            assert (value >= table.loc[key, "lower"]).all(), key
            assert (value <= table.loc[key, "upper"]).all(), key


def test_only_shares_of_decomposition_may_vary_with_layer(examples):
    for name, parameter in (("clm5", "fl2cwd"), ("clm5", "tau4s2"), ("compas", "b")):
        model = proda.load_model(name)
        values = defaults(model, examples)
        layered = values.assign(
            {parameter: (("site", "layer"), np.full((6, 20), float(values[parameter][0])))}
        )
        with pytest.raises(proda.ParameterError, match=f"{parameter} holds for the whole column"):
            proda.steady_state(model, layered, examples, bounds="physical")


def test_layers_of_a_parameter_must_be_in_order(examples):
    model = proda.load_model("clm5")
    values = defaults(model, examples)
    upside_down = values.assign(fs2s1=values["fs2s1"].assign_coords(layer=np.arange(20, 0, -1)))
    with pytest.raises(proda.ParameterError, match="layers of fs2s1 are not 1 to 20"):
        proda.steady_state(model, upside_down, examples, bounds="physical")


def test_shares_of_one_flow_cannot_exceed_it(examples):
    model = proda.load_model("clm5")
    values = defaults(model, examples).assign(fs1s2=0.9, fs3s2=0.2)
    with pytest.raises(proda.ParameterError, match=r"fs1s2 \+ fs3s2 = 1.1 at site tundra"):
        proda.steady_state(model, values, examples, bounds="physical")


@pytest.mark.parametrize("b", [0.0, 1.0])
def test_root_profiles_lie_inside_their_limits(examples, b):
    model = proda.load_model("compas")
    values = defaults(model, examples).assign(b=b)
    with pytest.raises(proda.ParameterError, match=r"outside the range .* \(0, 1\)"):
        proda.steady_state(model, values, examples, bounds="physical")


def test_importing_the_command_line_does_not_import_jax():
    """`proda --help` answers at once."""
    import subprocess
    import sys

    code = "import sys, proda.cli; assert 'jax' not in sys.modules; import proda; dir(proda)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = proda.nothing
