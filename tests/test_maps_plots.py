"""Figures of maps say what they show, and show what has no answer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import proda
from proda.errors import MapError
from proda.maps.cells import land_cells
from proda.maps.run_map import write_map
from proda.maps.totals import by_latitude, ensemble_by_latitude, land_area, open_map, totals
from proda.plots.latitude import latitude_figure
from proda.plots.maps import map_figure
from proda.plots.scatter import density_scatter
from proda.plots.style import save
from tests.map_grids import ensemble, small_grid


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    model, grid = proda.load_model("compas"), small_grid()
    n = len(land_cells(grid))
    _, predict = ensemble(model, n, 3)
    path = tmp_path_factory.mktemp("map") / "map.nc"
    write_map(model, grid, predict, path, outside_training=np.arange(n) % 4 == 0)
    with open_map(path) as opened:
        return opened.load()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(figure):
    return " ".join(t.get_text() for a in figure.axes for t in [a.title, a._left_title])


def test_map_says_total_and_zones(dataset, tmp_path):
    figure = map_figure(dataset)
    table = totals(dataset).xs("cSoilAbove1m", level="stock")["mean"]
    assert f"COMPAS: {table['globe']:,.0f} ± " in texts(figure)
    assert f"{table['tropics'] / table['globe']:.0%} in the tropics" in texts(figure)
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    share = float((dataset["reason"] > 0).sum() / dataset["reason"].notnull().sum())
    assert labels[0] == f"no answer: {share:.1%} of cells"
    assert labels[1].startswith("outside the training range")
    assert "kg m$^{-2}$" in figure.axes[-1].get_ylabel()
    save(figure, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_spread_is_a_second_panel(dataset):
    figure = map_figure(dataset, "K", spread=True)
    titled = [a for a in figure.axes if a._left_title.get_text()]
    assert len(titled) == 2
    assert "3 members differ by" in titled[1]._left_title.get_text()
    assert "K is on average" in titled[0]._left_title.get_text()
    with pytest.raises(MapError, match="no K_sd: its ensemble has one member"):
        map_figure(dataset.drop_vars("K_sd"), "K", spread=True)


@pytest.mark.parametrize(
    ("name", "words"), [("nothing", "no variable nothing"), ("soc", "not on .lat, lon. alone")]
)
def test_what_cannot_be_drawn_is_said(dataset, name, words):
    with pytest.raises(MapError, match=words):
        map_figure(dataset, name)


def test_map_without_any_answer_can_be_drawn(dataset):
    empty = dataset.assign(
        cSoil=dataset["cSoil"] * np.nan,
        reason=dataset["reason"] * 0 + 1,
        member_carbon=dataset["member_carbon"] * 0,
    )
    figure = map_figure(empty, "cSoil", title="")
    assert "no carbon" in texts(figure)
    assert "no answer: 100.0%" in figure.legends[0].get_texts()[0].get_text()


def test_curves_along_latitude(dataset):
    area = land_area(dataset)
    cells = by_latitude(dataset["cSoil"], area, width=20.0)
    figure = latitude_figure({"COMPAS": cells}, {"reference": cells * 2})
    top = float(cells["lat"][int(np.argmax(cells["median"].to_numpy()))])
    assert f"COMPAS highest at {abs(top):.0f}°" in texts(figure)
    assert len(figure.axes[0].lines) == 2
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), cells["median"])
    members = ensemble_by_latitude(dataset, "cSoil", width=20.0)
    figure = latitude_figure({"COMPAS": members})
    assert "members" in figure.legends[0].get_title().get_text()


def test_scatter_gives_r2_bias_and_what_it_leaves_out():
    rng = np.random.default_rng(0)
    observed = np.exp(rng.normal(2, 0.5, 500))
    predicted = 1.2 * observed
    predicted[:3], predicted[3:5] = 0.0, np.nan
    figure = density_scatter(observed, predicted, what="test")
    assert "R$^2$ 1.00 (log)" in texts(figure)
    mean = observed[np.isfinite(predicted)].mean()
    bias = np.nanmean(predicted) - mean
    assert f"bias {bias:+.1f} ({bias / mean:+.0%})" in texts(figure)
    assert "495 pairs" in figure.axes[0].get_xlabel()
    assert "3 more not above 0" in figure.axes[0].get_xlabel()
    with pytest.raises(MapError, match="Only 0 pairs"):
        density_scatter(observed, -observed)


def test_fine_grids_are_thinned(dataset):
    n = 3000
    wide = xr.Dataset(
        {
            name: dataset[name].isel(lon=np.arange(n) % dataset.sizes["lon"])
            for name in ("cSoil", "reason", "land_fraction", "cell_area")
        }
    ).assign_coords(lon=np.linspace(-180, 180, n, endpoint=False))
    wide["member_carbon"], wide["member_area"] = dataset["member_carbon"], dataset["member_area"]
    wide.attrs = dataset.attrs
    figure = map_figure(wide, "cSoil")
    mesh = figure.axes[0].collections[0]
    assert mesh.get_array().size == 1000 * dataset.sizes["lat"]
