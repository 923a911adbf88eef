"""Attribution: laws of Shapley values, known answers in small worlds, tables and findings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import proda
from proda import cli, files
from proda.attribution import AttributedMap, attribute_maps
from proda.attribution.coalitions import levelled, mean_input, run_coalitions
from proda.attribution.difference import OF_FACTORS, parts_of, product_of
from proda.attribution.measures import CoalitionMaps
from proda.attribution.players import (
    COMPONENTS,
    components_of,
    published_groups,
    shared_parameters,
)
from proda.attribution.response import attribute_response
from proda.attribution.shapley import shapley_values
from proda.attribution.single import MapAttribution, stock_of
from proda.comparison.attributed import read_importance, transport_matters_little
from proda.comparison.evidence import Evidence, NotJudged
from proda.comparison.finding_rules import FindingVerdict
from proda.learning.unseen_file import write_unseen
from proda.maps.run_map import write_map
from proda.projection.changed_drivers import changed
from proda.projection.experiments import EXPERIMENTS
from tests.map_grids import small_grid


def constant_of(model):
    """Parameters near the defaults, inside the prior."""
    return {
        row.name: float(
            np.clip(
                row.default if np.isfinite(row.default) else row.middle,
                row.lower + 0.05 * (row.upper - row.lower),
                row.upper - 0.05 * (row.upper - row.lower),
            )
        )
        for row in model.rows
    }


def test_shapley_values_of_a_known_game():
    # Two left gloves and a right one: a pair is worth 1 (Shapley's own example: 1/6, 1/6, 2/3).
    values = np.array([float(bool(c & 3) and bool(c & 4)) for c in range(8)])
    np.testing.assert_allclose(shapley_values(values), [1 / 6, 1 / 6, 2 / 3])


def test_laws_of_shapley_values():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((64, 5))
    parts = shapley_values(values)
    np.testing.assert_allclose(parts.sum(axis=0), values[-1] - values[0], atol=1e-12)
    c = np.arange(64)
    dummy = values[c & ~4]  # player 2 changes nothing
    np.testing.assert_allclose(shapley_values(dummy)[2], 0.0, atol=1e-12)
    swapped = (c & ~3) | ((c & 1) << 1) | ((c >> 1) & 1)
    alike = values + values[swapped]  # players 0 and 1 change the same
    np.testing.assert_allclose(*shapley_values(alike)[:2], atol=1e-12)
    np.testing.assert_allclose(
        shapley_values(2.0 * values + dummy), 2.0 * parts + shapley_values(dummy), atol=1e-12
    )
    with pytest.raises(ValueError, match="power of 2"):
        shapley_values(np.zeros(6))


@pytest.mark.parametrize("name", ["clm5", "compas"])
def test_coalitions_are_the_model_itself(name):
    model = proda.load_model(name)
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    n, rng = len(forcing), np.random.default_rng(2)
    base = constant_of(model)
    own = {k: v * rng.uniform(0.97, 1.03, n) for k, v in base.items()}
    replaced = {k: np.full(n, v) for k, v in base.items()}
    litter = levelled(forcing.litter_input, mean_input(forcing.litter_input, np.ones(n)))
    of = components_of(model)
    carbon, fine = run_coalitions(model, COMPONENTS, of, replaced, own, forcing, litter)
    assert carbon.shape[:2] == (64, n)
    mixed = 0b010110  # K, XI and B are the map's own; the input is replaced
    values = {k: own[k] if mixed >> COMPONENTS.index(of[k]) & 1 else replaced[k] for k in own}
    level = proda.example_columns()
    level["litter_input"] = level["litter_input"].copy(data=litter)
    for coalition, given, drivers in (
        (63, own, forcing),
        (mixed, values, proda.Forcing.from_dataset(level)),
    ):
        state = proda.steady_state(model, given, drivers, bounds="physical")
        np.testing.assert_allclose(
            carbon[coalition], state["soil_carbon"].to_numpy() / 1000.0, rtol=1e-10
        )
        np.testing.assert_array_equal(fine[coalition], state["reason"].to_numpy() == 0)


def test_a_component_without_parameters_changes_nothing():
    model = proda.load_model("clm5")
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    own = {k: np.full(len(forcing), v) for k, v in constant_of(model).items()}
    replaced = own | {"q10": 1.1 * own["q10"]}
    carbon, fine = run_coalitions(
        model, ("V", "XI", "B"), {"q10": "XI"}, replaced, own, forcing, None
    )
    assert carbon.shape[0] == fine.shape[0] == 8
    parts = shapley_values(carbon)
    assert (parts[0] == 0).all()
    assert (parts[2] == 0).all()
    assert (parts[1] != 0).any()


def test_input_is_levelled_to_one_total():
    litter = np.array([[1.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    mean = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(levelled(litter, mean), [[2.5, 2.5, 5.0, 0.0], mean])


def test_groups_of_parameters():
    compas, clm5 = proda.load_model("compas"), proda.load_model("clm5")
    groups = published_groups(compas)
    assert groups["tau_assim"] == groups["eta_doc"] == "CUE"
    assert groups["a_soc_mic"] == "transfer"
    assert published_groups(clm5)["fs1s2"] == "CUE"
    assert set(components_of(clm5).values()) == {"CTE", "K", "XI", "V", "B"}
    shared = shared_parameters(clm5, compas)
    assert shared == {"w_scaling": "XI", "q10": "XI", "cryo": "V", "diffus": "V", "b": "B"}


def test_difference_of_maps_is_the_product_of_their_components():
    rng = np.random.default_rng(3)
    names = {"CTE": 0.5, "K": 0.3, "XI": 0.1, "I": 400.0, "residence_time": 40.0,
             "cSoilAbove1m": 8.0}  # fmt: skip
    first, second = (
        {k: v * np.exp(0.1 * rng.standard_normal(30)) for k, v in names.items()} for _ in range(2)
    )
    second["I"] = first["I"]
    stock = product_of(first, second)
    np.testing.assert_allclose(stock[0], first["cSoilAbove1m"])
    np.testing.assert_allclose(stock[-1], second["cSoilAbove1m"])
    area = rng.uniform(1.0, 2.0, 30)
    found = parts_of(CoalitionMaps(stock, area, np.ones(30, bool)))
    change = (second["cSoilAbove1m"] - first["cSoilAbove1m"]) @ area * 1e-6
    np.testing.assert_allclose(found["stock"].sum(), change)
    np.testing.assert_allclose(found["pattern"].sum(), 1.0)
    assert abs(found["stock"][OF_FACTORS.index("I")]) < 1e-15
    back = parts_of(CoalitionMaps(product_of(second, first), area, np.ones(30, bool)))
    np.testing.assert_allclose(back["pattern"], found["pattern"])
    np.testing.assert_allclose(back["stock"], -found["stock"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Maps of two models in which K alone (CLM5) and XI alone (COMPAS) vary."""
    folder = tmp_path_factory.mktemp("attribution")
    grid = small_grid(dask=False)
    # One column everywhere: no climate, no input that varies.
    column = proda.example_columns().isel(site=0)
    usable = grid["status"] == 0
    for name in ("soil_temperature", "w_scalar", "o_scalar", "n_scalar", "sand", "nbedrock",
                 "altmax", "altmax_lastyear", "litter_input"):  # fmt: skip
        value = column[name].reset_coords(drop=True)
        grid[name] = value.broadcast_like(grid[name]).transpose(*grid[name].dims).where(usable)
    files.write_netcdf(grid, folder / "forcing.nc")
    maps = []
    for name, varied in (("clm5", "tau4s2"), ("compas", "q10")):
        model = proda.load_model(name)
        base = constant_of(model)
        place = [row.name for row in model.rows].index(varied)

        def predict(cells, base=base, place=place):
            values = np.tile(np.array(list(base.values())), (1, len(cells), 1))
            values[0, :, place] *= 1.0 + 0.2 * np.sin(np.asarray(cells))
            return values

        write_map(model, grid, predict, folder / f"{name}.nc")
        network = folder / f"{name}_network"
        network.mkdir()
        write_unseen(network, base, [0.5, 0.5, 0.5], {})
        maps.append(AttributedMap(name, folder / f"{name}.nc", constant=network))
    result = attribute_maps(maps, folder / "out", forcing=folder / "forcing.nc")
    return folder, result


def shapley(table, model, measure):
    """Rows of one map's Shapley values of one measure."""
    own = table[(table["model"] == model) & (table["method"] == "shapley")]
    return own[own["measure"] == measure]


def test_the_component_that_varies_alone_has_all(world):
    table = world[1].tables["importance"]
    for model, varied in (("clm5", "K"), ("compas", "XI")):
        for measure in ("stock", "variance", "moved"):
            own = shapley(table, model, measure).set_index("component")["value"]
            # Maps hold single precision.
            assert own.drop(varied).abs().max() < 1e-5 * abs(own[varied]), (model, measure)
    assert table["sd"].isna().all()  # no network, no members


def test_parts_add_up_to_the_map(world):
    folder, result = world
    coalitions = result.tables["coalitions"]
    table = result.tables["importance"]
    with files.open_netcdf(folder / "out" / "attribution.nc") as grid:
        for name in ("clm5", "compas"):
            worth = coalitions[coalitions["model"] == name]
            for measure in ("stock", "variance"):
                own = shapley(table, name, measure)
                change = worth[measure].iloc[-1] - worth[measure].iloc[0]
                np.testing.assert_allclose(own["value"].sum(), change, rtol=1e-9, atol=1e-14)
                np.testing.assert_allclose(own["share"].sum(), 1.0, rtol=1e-6)
            with xr.open_dataset(folder / f"{name}.nc") as made:
                stock = made["cSoilAbove1m"].to_numpy()
            total = grid["shapley"].sel(map=f"{name}, end to end").sum("component", skipna=False)
            here = np.isfinite(total.to_numpy())
            assert here.any()
            # The constant is one column: the map over it is exp of the parts.
            ratio = stock[here] / np.exp(total.to_numpy()[here])
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    zones = result.tables["zones"]
    globe = zones[zones["zone"] == "globe"].groupby("model")["value"].sum()
    rest = zones[zones["zone"] != "globe"].groupby("model")["value"].sum()
    np.testing.assert_allclose(globe, rest)


def test_differences_add_up(world):
    table = world[1].tables["differences"]
    swaps = world[1].tables["swaps"]
    own = table[(table["way"] == "parameters") & (table["measure"] == "stock")]
    change = swaps["stock"].iloc[-1] - swaps["stock"].iloc[0]
    np.testing.assert_allclose(own["value"].sum(), change)
    for _, rows in table[table["measure"] == "pattern"].groupby("way"):
        np.testing.assert_allclose(rows["value"].sum(), 1.0)


def test_responses_add_up(tmp_path):
    model, other = proda.load_model("clm5"), proda.load_model("compas")
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    n, rng = len(forcing), np.random.default_rng(5)
    cells = SimpleNamespace(
        row=np.arange(n), column=np.arange(n), lat=np.linspace(-50.0, 70.0, n),
        lon=np.linspace(0.0, 90.0, n), land_area=rng.uniform(1e5, 2e5, n),
    )  # fmt: skip
    jobs = []
    for each in (model, other):
        own = {k: np.full(n, v) for k, v in constant_of(each).items()}
        opened = SimpleNamespace(
            model=each,
            own=own,
            cells=cells,
            land=np.arange(n),
            files=AttributedMap(each.name, tmp_path),
        )
        jobs.append(MapAttribution(opened, forcing, np.ones(4)))
    table = attribute_response(*jobs, EXPERIMENTS["plus_4K"])
    warmed = changed(forcing, EXPERIMENTS["plus_4K"].end(np.zeros(n), np.zeros(n)))
    stocks = [
        [
            stock_of(
                proda.steady_state(job.model, job.opened.own, drivers, bounds="physical")[
                    "soil_carbon"
                ].to_numpy()
                / 1000.0
            )
            for drivers in (forcing, warmed)
        ]
        for job in jobs
    ]
    changes = [(after - before) @ cells.land_area * 1e-6 for before, after in stocks]
    swapped = table[table["way"] == "parameters"]
    np.testing.assert_allclose(swapped["first_change"], changes[0], rtol=1e-10)
    np.testing.assert_allclose(swapped["second_change"], changes[1], rtol=1e-10)
    parts = swapped[swapped["measure"] == "stock"].set_index("component")["value"]
    assert list(parts.index) == ["w_scaling", "q10", "V", "B", "structure"]
    np.testing.assert_allclose(parts.sum(), changes[1] - changes[0], rtol=1e-9)
    for _, rows in table[table["measure"] == "pattern"].groupby("way"):
        np.testing.assert_allclose(rows["value"].sum(), 1.0)
    logs = table[table["measure"] == "log_change"]["value"].sum()
    share = cells.land_area / cells.land_area.sum()
    ratios = [np.log(after / before) @ share for before, after in stocks]
    np.testing.assert_allclose(logs, ratios[1] - ratios[0], rtol=1e-9)
    # A model beside itself: only the parameters that differ have a part.
    twin = replace(jobs[0], opened=SimpleNamespace(**vars(jobs[0].opened)))
    twin.opened.own = {**twin.opened.own, "q10": 1.2 * twin.opened.own["q10"]}
    alone = attribute_response(jobs[0], twin, EXPERIMENTS["plus_4K"])
    own = alone[(alone["way"] == "parameters") & (alone["measure"] == "stock")]
    own = own.set_index("component")["value"]
    assert own["q10"] < 0.0  # a higher Q10 loses more carbon
    np.testing.assert_allclose(own.drop("q10"), 0.0, atol=1e-12)
    np.testing.assert_allclose(alone["r_first"].dropna(), 1.0)


def test_command_reads_maps_and_names_what_is_missing(world):
    folder = world[0]
    run = CliRunner().invoke
    asked = ["attribute", str(folder / "clm5.nc"), "--forcing", str(folder / "forcing.nc"),
             "-o", str(folder / "again")]  # fmt: skip
    failed = run(cli.app, asked)
    assert "--network" in str(failed.exception)
    shown = run(cli.app, [*asked, "--network", f"clm5={folder / 'clm5_network'}",
                          "--plots", str(folder / "figures")])  # fmt: skip
    assert "not a proda network" in str(shown.exception) or shown.exit_code == 0


def importance(v, b):
    """Table of importance in which V and B move so much carbon (CTE, K and XI: 100)."""
    rows = [
        {"model": m, "route": "end to end", "method": "shapley", "component": c,
         "measure": "moved", "value": {"V": v, "B": b}.get(c, 100.0)}
        for m in ("clm5", "compas") for c in COMPONENTS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_findings_about_components_are_judged(tmp_path):
    assert read_importance(tmp_path) == {}
    with pytest.raises(NotJudged, match="proda attribute"):
        transport_matters_little(Evidence({}))
    for b, verdict in ((20.0, FindingVerdict.AGREES), (120.0, FindingVerdict.DISAGREES)):
        importance(10.0, b).to_csv(tmp_path / "importance.csv", index=False)
        tables = read_importance(tmp_path)
        tables = {k: t.assign(state="after") for k, t in tables.items()}
        assert transport_matters_little(Evidence(tables)).verdict == verdict
