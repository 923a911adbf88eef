import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proda.drivers import nearest_cells
from proda.drivers.grids import cell_area, to_180
from proda.drivers.site_tables import read_sites
from proda.errors import FileError, ForcingError, SiteError
from proda.places import EARTH_RADIUS_KM

LAT = np.arange(89.0, -90, -2.0)
LON = np.arange(-179.0, 180, 2.0)


def sites(*pairs):
    return pd.DataFrame(
        {
            "site": range(len(pairs)),
            "latitude": [float(p[0]) for p in pairs],
            "longitude": [float(p[1]) for p in pairs],
        }
    )


def haversine(lat1, lon1, lat2, lon2):
    a, b, c, d = map(np.radians, (lat1, lon1, lat2, lon2))
    h = np.sin((c - a) / 2) ** 2 + np.cos(a) * np.cos(c) * np.sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(h))


@settings(max_examples=60)
@given(st.floats(-90, 90), st.floats(-180, 360), st.integers(0, 2**32 - 1))
def test_the_nearest_by_brute_force(latitude, longitude, seed):
    usable = np.random.default_rng(seed).random((len(LAT), len(LON))) < 0.01
    usable[3, 4] = True
    found = nearest_cells.nearest_cells(LAT, LON, usable, sites((latitude, longitude)), 1e5)
    row, column = np.nonzero(usable)
    distance = haversine(latitude, longitude, LAT[row], LON[column])
    assert found.distance_km[0] == pytest.approx(distance.min(), abs=1e-3)
    assert usable[found.row[0], found.column[0]]


def test_across_the_date_line_and_over_the_pole():
    usable = np.zeros((len(LAT), len(LON)), dtype=bool)
    usable[45, 0] = True  # 1 S, 179 W
    found = nearest_cells.nearest_cells(
        LAT, LON, usable, sites((-1, 179.9), (-1, -179), (-1, 181)), 300
    )
    np.testing.assert_allclose(found.distance_km, [122.3, 0, 0], atol=0.1)
    usable[0, 0] = True  # 89 N, 179 W
    over = nearest_cells.nearest_cells(LAT, LON, usable, sites((89, 1)), 300)
    assert over.distance_km[0] == pytest.approx(2 * np.radians(1) * EARTH_RADIUS_KM, rel=1e-6)


def test_longitudes_to_360_are_the_same_places():
    usable = np.ones((len(LAT), len(LON)), dtype=bool)
    a = nearest_cells.nearest_cells(LAT, LON, usable, sites((10.2, -50.3)), 300)
    b = nearest_cells.nearest_cells(LAT, LON % 360, usable, sites((10.2, 309.7)), 300)
    assert LON[a.column[0]] == to_180(LON % 360)[b.column[0]]
    assert a.distance_km == pytest.approx(b.distance_km)


def test_every_site_is_taken_or_left_out_with_a_reason():
    usable = np.zeros((len(LAT), len(LON)), dtype=bool)
    usable[40, 90] = True  # 9 N, 1 E
    table = sites((9, 1), (9, 1.5), (30, 1), (np.nan, 1), (95, 1), (9, 400))
    found = nearest_cells.nearest_cells(LAT, LON, usable, table, 100)
    assert found.counts() == {
        "taken": 2,
        "impossible_coordinates": 2,
        "beyond_distance_limit": 1,
        "no_coordinates": 1,
    }
    assert sum(found.counts().values()) == len(table)
    assert list(found.left_out["site"]) == [2, 3, 4, 5]
    assert found.left_out["distance_km"].iloc[0] == pytest.approx(21 * 111.19, rel=1e-3)
    assert found.left_out["distance_km"].iloc[1:].isna().all()


def test_the_limit_must_be_positive_and_a_cell_usable():
    usable = np.ones((len(LAT), len(LON)), dtype=bool)
    with pytest.raises(ForcingError, match="limit is 0 km"):
        nearest_cells.nearest_cells(LAT, LON, usable, sites((1, 1)), 0)
    with pytest.raises(ForcingError, match="No cell of the grid"):
        nearest_cells.nearest_cells(LAT, LON, ~usable, sites((1, 1)))


def test_cell_areas_cover_the_sphere():
    assert cell_area(LAT, LON).sum() == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=1e-9)


def test_read_sites_understands_profile_tables(tmp_path):
    table = pd.DataFrame(
        {"profile_id": ["NA1", "b"], "lat": ["1.5", "2"], "lon": ["3", "4"], "x": 1}
    )
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        found = read_sites(tmp_path / name)
        assert list(found["site"]) == ["NA1", "b"]
        assert list(found["latitude"]) == [1.5, 2.0]


def test_a_site_may_be_called_na(tmp_path):
    (tmp_path / "a.csv").write_text("id,lat,lon\nNA,1,2\nnull,1,2\n")
    assert list(read_sites(tmp_path / "a.csv")["site"]) == ["NA", "null"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,lat\na,1\n", "no column longitude or lon; it has id, lat"),
        ("id,lat,lon\na,1,2\na,1,2\n", r"site a appears more than once \(1 repeated"),
        ("id,lat,lon\na,1°N,2\n", r"latitude '1°N' of site a \(row 1\) is not a number"),
        ("id,lat,lon\n,1,2\n", "1 rows have no site name"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SiteError, match=message):
        read_sites(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,lat,lon\na,1,2,3\nb,4,5,6\n", "Expected 3 columns, got 4"),
        (b"id,lat,lon\na,1\n", "Expected 3 columns, got 2"),
        (b"id,lat,lon\n\xe9,1,2\n", "a.csv: not a readable table"),
        (b"", "a.csv: not a readable table"),
    ],
)
def test_rows_of_another_length_are_refused(tmp_path, content, message):
    """Pandas would read the first with `a` as an index and 1, 2, 3 as site, latitude, longitude."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_sites(tmp_path / "a.csv")


def test_names_of_sites_stay_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid,note,lat,lon\n007,"a, b",1,2\n1e3,,3,\n')
    found = read_sites(tmp_path / "a.csv")
    assert list(found["site"]) == ["007", "1e3"]
    assert np.isnan(found["longitude"][1])


def test_absent_and_unreadable_tables_are_named(tmp_path):
    with pytest.raises(FileError, match="there is no such file"):
        read_sites(tmp_path / "no.csv")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(FileError, match=r"a\.parquet: not a readable table"):
        read_sites(tmp_path / "a.parquet")
