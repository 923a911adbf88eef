import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

mpl.use("Agg")
from matplotlib import pyplot as plt

from proda.errors import ObservationError
from proda.latitude import belts
from proda.observations import pedotransfer, zones
from proda.observations.build_summary import Fit
from proda.plots.profiles import carbon_with_depth, pedotransfer_fit, site_map


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_map_counts_profiles_and_cells():
    sites = pd.DataFrame(
        {
            "lat": [10.1, 10.2, 50.0, -40.0],
            "lon": [0.1, 0.2, 5.0, 100.0],
            "group": ["a", "a", "b", "c"],
        }
    )
    land = (np.array([-45.0, 45.0]), np.array([-90.0, 90.0]), np.eye(2, dtype=bool))
    ax = site_map(sites, land).axes[0]
    assert (
        ax.get_title(loc="left")
        == "4 usable profiles in 3 half-degree cells; 50% lie in the tropics"
    )
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a (2)", "b (1)", "c (1)"]
    assert "°" in ax.get_xlabel()


def test_more_sources_than_colours():
    sites = pd.DataFrame({"lat": 1.0, "lon": 1.0, "group": [f"s{i}" for i in range(12)]})
    texts = [t.get_text() for t in site_map(sites).axes[0].get_legend().get_texts()]
    assert texts[-1] == "others (4)"


def test_depth_medians_per_zone():
    ids = [f"p{i}" for i in range(50)]
    layers = pd.DataFrame(
        {
            "profile_id": np.repeat(ids, 2),
            "upper_depth": [0.0, 0.5] * 50,
            "lower_depth": [0.5, 1.0] * 50,
            "soc_stock": np.tile([20e3, 5e3], 50),
        }
    )
    layers.loc[layers.profile_id.isin(ids[25:]), "soc_stock"] *= 2
    zone = pd.Series(["warm"] * 25 + ["cold"] * 25, index=ids)
    figure = carbon_with_depth(layers, zone, "test")
    cold, warm = figure.axes
    assert cold.get_title(loc="left") == "cold\n25 profiles"
    line = warm.lines[-1]
    assert line.get_xdata().tolist() == [20.0] * 5 + [5.0] * 3
    assert cold.lines[-1].get_xdata()[0] == 40.0
    assert "4.0-fold" in figure.get_suptitle()
    assert "kg m" in figure.get_supxlabel()
    with pytest.raises(ObservationError, match="nothing to draw"):
        carbon_with_depth(layers.iloc[:4], zone, "test")


def test_pedotransfer_figure_shows_all_curves():
    rng = np.random.default_rng(0)
    soc = rng.uniform(1, 500, 400)
    density = pedotransfer.PAPER.density(soc)
    table = pedotransfer.compare(
        [pedotransfer.PAPER, pedotransfer.PAPER.per_cent_reading()], soc, density
    )
    fits = [Fit(**row) for row in table.to_dict("records")]
    ax = pedotransfer_fit(soc, density, fits).axes[0]
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts[1] == "paper: R$^2$ 1.00"
    assert texts[0].startswith("paper, OM in %: R$^2$ -")
    assert ax.get_title(loc="left").startswith("Organic matter explains 100%")


def test_belts_of_latitude():
    assert belts(np.array([0.0, -23.5, 30.0, -60.0, 89.0])).tolist() == [
        "within 23.5°",
        "within 23.5°",
        "23.5° to 45°",
        "45° to 60°",
        "beyond 60°",
    ]


def test_koeppen_zones(tmp_path):
    path = tmp_path / "k.nc"
    classes = xr.DataArray(
        np.array([[1, 2], [3, 0]], dtype="int8"),
        dims=("lat", "lon"),
        coords={"lat": [45.0, -45.0], "lon": [-90.0, 90.0]},
        attrs={"flag_values": np.array([1, 2, 3], dtype="int8"), "flag_meanings": "Af BSh Dfc"},
    )
    classes.to_dataset(name="koppen_class").to_netcdf(path)
    found = zones.koeppen(
        np.array([40.0, 40.0, -40.0, -40.0]), np.array([-80, 80, -80, 80.0]), path
    )
    assert found.tolist() == ["A tropical", "B arid", "D cold", "unknown"]
    with pytest.raises(ObservationError, match="contains no other"):
        zones.koeppen(np.zeros(1), np.zeros(1), path, "other")
