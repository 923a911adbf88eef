"""Projections on a grid, and several beside each other."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import proda
from proda.blocks.cluster_settings import check_cluster, client_from
from proda.blocks.executor import Executor
from proda.comparison.evidence import Evidence
from proda.comparison.finding_rules import FindingVerdict, projections_converge
from proda.comparison.model_files import BEFORE, END_TO_END
from proda.comparison.projections import compare_projections, open_projection
from proda.errors import FileError, ForcingError
from proda.layout import chunks_of
from proda.locks import working_in
from proda.maps.cells import land_cells
from proda.maps.parameter_sources import EnsembleParameters
from proda.plots.projections import projection_figures
from proda.projection import projection_plan
from proda.projection.anomalies import read_experiments, read_fields, read_warming
from proda.projection.experiments import experiments_named
from proda.projection.forward import project_members
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.projection_variables import CHANGE, STOCK
from proda.projection.run_projection import write_projection
from proda.projection.write_projection import sampled_grid
from tests.map_grids import ensemble, small_grid

SETTINGS = ProjectionSettings(
    experiments=("control", "plus_4K", "input_none"), times=(10.0, 20.0), chunk=9
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models in two states on one grid."""
    folder = tmp_path_factory.mktemp("projections")
    cells = land_cells(small_grid())
    found = {}
    for name in ("clm5", "compas"):
        model = proda.load_model(name)
        for state, members in ((BEFORE, 1), (END_TO_END, 3)):
            path = folder / f"{name}_{members}.nc"
            _, predict = ensemble(model, len(cells), members)
            result = write_projection(
                model,
                cells,
                EnsembleParameters(predict),
                read_experiments(SETTINGS),
                SETTINGS,
                path,
            )
            assert result.n_members == members
            assert not result.remark  # no step had to be repeated
            assert "3 time steps" in replace(result, steps_retried=3).remark
            found.setdefault(name, {})[state] = path
    return cells, found, compare_projections(found, folder / "tables"), folder


def test_the_file_says_what_happens_where(made):
    _, found, _, _ = made
    for model in found:
        with open_projection(found[model][END_TO_END]) as opened:
            dataset = opened.load()
        assert dataset["years"].to_numpy().tolist() == [0.0, 10.0, 20.0]
        assert [t.year for t in dataset["time"].to_numpy()] == [2000, 2010, 2020]
        assert dataset[CHANGE + STOCK].dims == ("experiment", "time", "lat", "lon")
        control = dataset[CHANGE + STOCK].sel(experiment="control")
        assert float(abs(control).max()) < 1e-6 * float(dataset[STOCK].max())
        fine = dataset["answered"].where(dataset["answered"] >= 0) > 0
        there = dataset[STOCK].isel(time=-1).notnull()  # noqa: PD004 - xarray's
        np.testing.assert_array_equal(there, fine)  # nothing is missing without a reason
        reason = dataset["reason"].where(dataset["answered"] == 0)
        assert not (reason == 0).any()


def test_an_age_beyond_the_limit_costs_no_other_number(made, tmp_path, monkeypatch):
    """Carbon that hardly moves may be older than a file can store; all else is sound."""
    cells, found, _, _ = made
    with open_projection(found["compas"][END_TO_END]) as opened:
        before = opened.load()

    def with_old_carbon(*given):
        for projected in project_members(*given):
            age, new = projected.age.copy(), projected.steady["mean_age"].copy()
            age[0, ::2] = new[1, ::2] = 1e93
            yield replace(projected, age=age, steady=projected.steady | {"mean_age": new})

    monkeypatch.setattr(projection_plan, "project_members", with_old_carbon)
    _, predict = ensemble(proda.load_model("compas"), len(cells), 3)
    path = tmp_path / "compas.nc"
    source = EnsembleParameters(predict)
    experiments = read_experiments(SETTINGS)
    write_projection(proda.load_model("compas"), cells, source, experiments, SETTINGS, path)
    with open_projection(path) as opened:
        after = opened.load()
    for name in after.data_vars:
        if "mean_age" not in name:
            xr.testing.assert_equal(after[name], before[name])
    for name in ("mean_age", "mean_age_new_steady_state"):
        had, has = (np.isfinite(d[name].to_numpy()) for d in (before, after))
        assert 0 < has.sum() < had.sum()
        assert not (has & ~had).any()


def test_series_are_the_sums_of_the_members(made):
    _, found, _, _ = made
    with open_projection(found["clm5"][BEFORE]) as opened:
        dataset = opened.load()
    stock = dataset["stock"].to_numpy().tolist().index(STOCK)
    series = dataset["series_carbon"].isel(stock=stock, realization=0).sum("region")
    area = dataset["cell_area"] * dataset["land_fraction"]
    maps = (dataset[STOCK] * area).sum(("lat", "lon")) * 1e-6
    np.testing.assert_allclose(series.isel(step=0), maps.isel(time=0), rtol=1e-5)
    last = dataset["series_years"].to_numpy().argmax(axis=1)
    ends = [series.to_numpy()[i, k] for i, k in enumerate(last)]
    np.testing.assert_allclose(ends, maps.isel(time=-1), rtol=1e-5)


def test_an_interrupted_projection_continues_and_ends_in_the_same_numbers(made, monkeypatch):
    cells, found, _, folder = made
    model = proda.load_model("clm5")
    experiments = experiments_named(SETTINGS.experiments)
    path = folder / "again.nc"
    calls = []

    def predict(positions):
        calls.append(len(positions))
        if len(calls) == 3:  # the first call tells the run from others
            raise RuntimeError("interrupted")
        return values[:, positions]

    values, _ = ensemble(model, len(cells), 1)
    with pytest.raises(RuntimeError, match="interrupted"):
        write_projection(model, cells, EnsembleParameters(predict), experiments, SETTINGS, path)
    result = write_projection(
        model, cells, EnsembleParameters(predict), experiments, SETTINGS, path
    )
    assert result.chunks_reused == 1
    with xr.open_dataset(path) as one, xr.open_dataset(found["clm5"][BEFORE]) as other:
        np.testing.assert_array_equal(one[CHANGE + STOCK], other[CHANGE + STOCK])
    with pytest.raises(FileError, match="does not exist"):
        write_projection(
            model, cells, EnsembleParameters(predict), experiments, SETTINGS, folder / "no" / "x.nc"
        )


def test_a_second_process_is_refused_while_one_writes(made, tmp_path):
    """Two models written to one file would otherwise read each other's chunks."""
    cells = made[0]
    model = proda.load_model("clm5")
    _, predict = ensemble(model, len(cells), 1)
    path = tmp_path / "busy.nc"
    source, experiments = EnsembleParameters(predict), experiments_named(["control"])
    with (
        working_in(chunks_of(path), "projection"),
        pytest.raises(FileError, match="another process is working on this projection"),
    ):
        write_projection(model, cells, source, experiments, SETTINGS, path)
    assert not any(tmp_path.iterdir())


@dataclass(frozen=True)
class Given:
    """Predicted parameters that can be sent to a worker."""

    values: np.ndarray

    def __call__(self, positions):
        return self.values[:, positions]


@contextmanager
def executor_on(kind):
    if kind == "processes":
        yield Executor(workers=2)
        return
    with client_from(check_cluster({"local": {"workers": 2}})) as client:
        client.wait_for_workers(2, 120)
        yield Executor(client=client)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_workers_compute_the_same_numbers(made, tmp_path, kind):
    cells, found, _, _ = made
    model = proda.load_model("compas")
    values, _ = ensemble(model, len(cells), 3)
    path = tmp_path / "workers.nc"
    with executor_on(kind) as executor:
        write_projection(
            model,
            cells,
            EnsembleParameters(Given(values)),
            read_experiments(SETTINGS),
            SETTINGS,
            path,
            executor=executor,
        )
    with xr.open_dataset(path) as one, xr.open_dataset(found["compas"][END_TO_END]) as other:
        xr.testing.assert_equal(one.load(), other.load())


def test_comparison_judges_and_draws(made):
    _, _, result, folder = made
    table = result.tables["agreement"]
    assert set(table["state"]) == {BEFORE, END_TO_END}
    assert set(table["experiment"]) == {"plus_4K", "input_none"}
    assert table["same_sign"].between(0, 1).all()
    assert (table.loc[table["state"] == END_TO_END, "within"] > 0).all()
    totals = result.tables["totals"]
    none = totals[(totals["experiment"] == "input_none") & (totals["region"] == "globe")]
    assert (none["change"] < 0).all()
    for name in result.tables:
        assert (folder / "tables" / f"{name}.csv").is_file()
    judged = table.assign(state=table["state"].replace({END_TO_END: "after"}))
    found = projections_converge("plus_4K")(Evidence({"projections": judged}))
    assert found.verdict in set(FindingVerdict)
    assert "20 years" in found.says
    stems = [stem for stem, _, _ in projection_figures(result)]
    assert stems == ["series", "maps", "agreement"]
    plt.close("all")


def test_figures_of_many_models_stay_legible(made, tmp_path):
    """Four models in two states: their findings are one line each, and maps stand in rows."""
    _, found, _, _ = made
    files = {}
    for name, source in zip(
        ("clm5", "compas", "rothc", "mimics"), [*found.values()] * 2, strict=True
    ):
        files[name] = {state: tmp_path / f"{name} {state}.nc" for state in source}
        for state, path in source.items():
            shutil.copy(path, files[name][state])
    result = compare_projections(files, tmp_path / "tables")
    assert len(result.tables["agreement"].groupby(["first", "second"])) == 6
    drawn = {stem: figure for stem, _, figure in projection_figures(result)}
    for figure in drawn.values():
        assert len(figure.get_suptitle().splitlines()) == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a layout that does not fit
            figure.canvas.draw()
    assert "means of 6 pairs" in drawn["agreement"].get_suptitle()
    panels = [axis.get_title(loc="left") for axis in drawn["maps"].axes[:2]]
    assert panels == ["CLM5, default parameters", "CLM5, trained end to end"]
    plt.close("all")


def test_anomalies_of_the_user(tmp_path):
    lat, lon = np.array([60.0, 0.0, -60.0]), np.arange(0.0, 360.0, 90.0)
    shape = (2, 12, 3, 4)
    warming = np.broadcast_to(np.arange(1.0, 3.0)[:, None, None, None], shape)
    times = pd.date_range("2020-01-01", periods=24, freq="MS")
    dataset = xr.Dataset(
        {"tas": (("time", "lat", "lon"), warming.reshape(24, 3, 4), {"units": "K"})},
        {"lat": lat, "lon": lon, "time": times},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    fields = read_fields(tmp_path / "a.nc")
    settings = ProjectionSettings(times=(2.0,))
    first, second = fields.steps(settings)
    here = np.array([10.0, -80.0]), np.array([-170.0, 44.0])
    np.testing.assert_allclose(fields.at(first, *here).warming, 1.0)
    np.testing.assert_allclose(fields.at(second, *here).warming, 2.0)
    assert not fields.same(first, second)
    with pytest.raises(ForcingError, match="has 2 years; results are requested for year 10"):
        fields.steps(ProjectionSettings(times=(10.0,)))

    pattern = xr.Dataset(
        {"warming_pattern": (("lat", "lon"), np.repeat([[2.0], [1.0], [0.5]], 4, axis=1))},
        {"lat": lat, "lon": lon},
    )
    pattern.to_netcdf(tmp_path / "p.nc")
    pd.DataFrame({"year": [2020, 2021], "warming": [1.0, 3.0]}).to_csv(tmp_path / "g.csv")
    scaled = read_warming(tmp_path / "g.csv", tmp_path / "p.nc")
    north = np.array([30.0]), np.array([10.0])
    np.testing.assert_allclose(scaled.at(second, *north).warming, 4.5)  # between 2 and 1, x 3
    pattern.rename(warming_pattern="other").to_netcdf(tmp_path / "o.nc")
    with pytest.raises(ForcingError, match="has no variable warming_pattern"):
        read_warming(tmp_path / "g.csv", tmp_path / "o.nc")


def test_a_sample_stands_for_all_land():
    cells = land_cells(small_grid(shape=(8, 12)))
    from proda.maps.refit_maps import every_nth

    some = every_nth(cells, 2)
    grid = sampled_grid(some, 2)
    assert len(grid.lat) == 4
    assert grid.row.max() < 4
    np.testing.assert_allclose(grid.land_area.sum(), cells.land_area.sum(), rtol=1e-6)
