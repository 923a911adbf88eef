"""Each reader on a small file of its own format: units, joins, what the numbers are."""

import gzip

import pandas as pd
import pyarrow as pa
import pytest

from proda.errors import FileError, ObservationError
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
from proda.observations.readers import (
    CsvSource,
    IsradSource,
    NcscdSource,
    TidySource,
    Wosis2019Source,
    Wosis2023Source,
)
from proda.observations.schema import LAYER_COLUMNS, PROFILE_COLUMNS, read_table

PARTS = ("value", "value_avg", "method", "date", "dataset_id", "profile_code", "licence")


def collect(source):
    """All parts of a source as data frames, by kind."""
    tables = {}
    for part in source.parts():
        tables.setdefault(part.kind, []).append(part.table)
    return {kind: pa.concat_tables(list_).to_pandas() for kind, list_ in tables.items()}


def built(tmp_path, source, **rules):
    """Build with no demands on the number of layers; return profiles and layers."""
    rules = {"min_layers": 1, "min_max_depth": 0, **rules}
    settings = from_mapping(
        {"source": [source.model_dump()], "rules": rules, "pedotransfer": "paper"}, "test"
    )
    summary = build(settings, tmp_path / "out")
    return (
        summary,
        read_table(tmp_path / "out" / "profiles.parquet", PROFILE_COLUMNS),
        read_table(tmp_path / "out" / "layers.parquet", LAYER_COLUMNS),
    )


# --- pooled tables ---------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    pd.DataFrame(
        {
            "source": ["wise31", "febr"],
            "profile_id": ["wise31_A_1", "febr_b"],
            "lat": [10.5, -3.0],
            "lon": [20.0, -60.0],
            "location_error_deg": pd.array([0.5, None], "Float32"),
            "year": pd.array([1990, None], "Int16"),
            "country": ["NA", None],
            "licence": ["x", "y"],
            "treated": pd.array([None, True], "boolean"),
            "depth_bounds": ["as given", "reconstructed from mid-depths"],
        }
    ).to_parquet(folder / "profiles.parquet")
    layers = pd.DataFrame(
        {
            "profile_id": ["wise31_A_1", "wise31_A_1", "febr_b"],
            "upper_depth_cm": [0.0, 15.3, 0.0],
            "lower_depth_cm": [15.3, 60.0, 20.0],
            "soc_g_kg": [12.1, 4.0, 30.0],
            "bulk_density_kg_m3": [1300.0, None, 1100.0],
            "coarse_fragments_pct": [5.0, None, 20.0],
            "clay_pct": [30.0, 31.0, None],
            "silt_pct": [1.0, 2.0, 3.0],
            "sand_pct": [1.0, 2.0, 3.0],
            "ph_h2o": [6.0, 6.5, None],
        }
    )
    for name in ("upper_depth_cm", "lower_depth_cm", "soc_g_kg"):
        layers[name] = layers[name].astype("float32")
    layers.assign(
        soc_basis=[
            "organic C measured",
            "total C minus measured inorganic C",
            "AfSIS sentinel site (x): possibly infrared",
        ]
    ).to_parquet(folder / "layers.parquet")
    organic = layers.iloc[:1].assign(upper_depth_cm=-5.0, lower_depth_cm=0.0, reason="negative")
    organic.to_parquet(folder / "dropped_organic_layers.parquet")
    return folder


def test_tidy(pool):
    found = collect(TidySource(name="pool", folder=pool))
    profiles, layers = found["profiles"], found["layers"]
    assert profiles.profile_id.tolist() == ["pool:wise31_A_1", "pool:febr_b"]
    assert profiles.collection.tolist() == ["wise31", "febr"]
    assert profiles.country[0] == "NA"
    assert profiles.treated.tolist() == [None, True]
    assert profiles.depth_bounds.tolist() == ["as given", "reconstructed"]
    # 15.3 cm as float32 is 0.153 m, not 0.15300000190734864 m.
    assert layers.lower_depth.tolist() == [0.153, 0.6, 0.2, 0.0]
    assert layers.soc.tolist() == [12.1, 4.0, 30.0, 12.1]
    assert layers.coarse_basis.tolist() == ["volume", "volume", "mass", "volume"]
    assert layers.soc_basis.tolist()[:3] == [
        "organic carbon",
        "total minus inorganic carbon",
        "spectroscopy",
    ]
    assert layers.litter.tolist() == [False, False, False, True]


def test_tidy_broken_file(pool):
    path = pool / "layers.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FileError, match=r"layers.parquet: not a readable Parquet file"):
        collect(TidySource(name="pool", folder=pool))
    pd.DataFrame({"profile_id": ["a"]}).to_parquet(path)
    with pytest.raises(FileError, match=r"layers.parquet: lacks the column upper_depth_cm"):
        collect(TidySource(name="pool", folder=pool))
    path.unlink()
    with pytest.raises(FileError, match=r"contains no layers.parquet"):
        TidySource(name="pool", folder=pool).files()


# --- WoSIS 2019 ------------------------------------------------------------------------------


def wosis_2019(folder, chemical, physical, profiles=("7\tUS\t0.01\t45.5\t-100.25",)):
    """Rows are (id, upper, lower, values by property)."""
    folder.mkdir(exist_ok=True)
    (folder / "wosis_201909_profiles.tsv").write_text(
        "\n".join(["profile_id\tcountry_id\tgeom_accuracy\tlatitude\tlongitude", *profiles]) + "\n"
    )
    head = ["profile_id", "profile_layer_id", "upper_depth", "lower_depth", "layer_name", "litter"]
    for name, rows in (("chemical", chemical), ("physical", physical)):
        known = sorted({key for *_, values in rows for key in values})
        lines = ["\t".join([*head, *(f"{k}_{p}" for k in known for p in PARTS)])]
        for layer, upper, lower, values in rows:
            cells = ["7", str(layer), str(upper), str(lower), "A", "f"]
            for key in known:
                if values.get(key) is None:
                    cells += [""] * 7
                else:
                    text = '"{1:""wet oxidation, ""\tof C""}"'
                    date = "{1:1987-??-??}"
                    cells += [f"{{1:{values[key]}}}", str(values[key]), text, date, "{X}", "", "CC"]
            lines.append("\t".join(cells))
        (folder / f"wosis_201909_layers_{name}.tsv").write_text("\n".join(lines) + "\n")
    return Wosis2019Source(name="wosis", folder=folder)


CHEMICAL = [
    (1, -4, 0, {"orgc": 300, "phaq": 4.1}),
    (2, 0, 10, {"orgc": 25.5, "phaq": 5}),
    (3, 10, 40, {"orgc": 8}),
    (4, 40, 90, {"orgc": None}),
]


def test_wosis2019_joins_its_files(tmp_path):
    physical = [
        (4, 40, 90, {"bdfiod": 1.5}),
        (3, 10, 40, {"bdws33": 1.6, "cfvo": 10}),
        (2, 0, 10, {"bdfiod": None, "bdfi33": 1.2, "bdws33": 1.4, "cfvo": 5, "clay": 20}),
    ]
    source = wosis_2019(tmp_path / "w", CHEMICAL, physical)
    summary, profiles, layers = built(tmp_path, source)
    assert profiles.profile_id.tolist() == ["wosis:7"]
    assert (profiles.lat[0], profiles.lon[0], profiles.country[0]) == (45.5, -100.25, "US")
    assert profiles.year[0] == 1987
    assert layers.layer_id.tolist() == ["2", "3"]
    assert layers.lower_depth.tolist() == [0.1, 0.4]
    # The fine earth's density is preferred, whatever the order of the columns.
    assert layers.bulk_density.tolist() == [1200.0, 1600.0]
    assert layers.bulk_density_basis.tolist() == ["fine earth", "whole soil"]
    assert layers.coarse.tolist() == [5.0, 10.0]
    assert layers.clay[0] == 20
    assert layers.ph[0] == 5
    # 1600 = 2650 x 0.1 + f x 0.9
    expected = [25.5 * 1200 * 0.95, 8 * (1600 - 265.0)]
    assert layers.soc_stock.tolist() == pytest.approx(expected)
    assert profiles.soc_stock[0] == pytest.approx(expected[0] * 0.1 + expected[1] * 0.3)
    assert summary.total("layer", "litter") == 1
    assert summary.total("layer", "soc_missing") == 1


def test_wosis2019_counts_what_it_cannot_use(tmp_path):
    source = wosis_2019(tmp_path / "w", CHEMICAL[1:3], [(99, 0, 10, {"bdfiod": 1.2})])
    summary, _, layers = built(tmp_path, source)
    assert layers.density_origin.tolist() == ["pedotransfer", "pedotransfer"]
    assert any(note.startswith("1 values of layer properties") for note in summary.notes)


def test_wosis2019_needs_a_density(tmp_path):
    source = wosis_2019(tmp_path / "w", CHEMICAL, [(2, 0, 10, {"clay": 20})])
    with pytest.raises(FileError, match=r"layers_physical.tsv, line 1: contains no bulk density"):
        collect(source)


def test_wosis2019_cut_file(tmp_path):
    source = wosis_2019(tmp_path / "w", CHEMICAL, [(2, 0, 10, {"bdfiod": 1.2})])
    path = source.folder / "wosis_201909_layers_chemical.tsv"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        FileError, match=r"layers_chemical.tsv, line 5, column \d+ \(\w+\): .*truncated"
    ):
        collect(source)


# --- WoSIS 2023 ------------------------------------------------------------------------------


def wosis_2023(folder, name, rows):
    folder.mkdir(exist_ok=True)
    head = "profile_id\tlayer_id\tupper_depth\tlower_depth\tvalue_avg\tlongitude\tlatitude\tlicence"
    text = "\n".join([head, *("\t".join(map(str, row)) for row in rows)]) + "\n"
    with gzip.open(folder / f"wosis_202312_{name}.tsv.gz", "wt") as file:
        file.write(text)


def test_wosis2023_joins_properties(tmp_path):
    place = (-100.25, 45.5, "CC-BY")
    folder = tmp_path / "w"
    wosis_2023(
        folder,
        "orgc",
        [(7, 1, 0, 10, 25.5, *place), (7, 2, 10, 40, 8, *place), (8, 3, 0, 30, 5, 2.5, 3.5, "CC0")],
    )
    wosis_2023(folder, "bdws33", [(7, 2, 10, 40, 1.6, *place), (7, 1, 0, 10, 1.4, *place)])
    wosis_2023(folder, "bdfiod", [(7, 1, 0, 10, 1.2, *place), (7, 77, 0, 10, 1.2, *place)])
    wosis_2023(folder, "cfvo", [(7, 1, 0, 10, 5, *place), (7, 2, 10, 40, 10, *place)])
    summary, profiles, layers = built(tmp_path, Wosis2023Source(name="w", folder=folder))
    layers = layers.set_index("layer_id").sort_index()
    assert profiles.set_index("profile_id").licence.to_dict() == {"w:7": "CC-BY", "w:8": "CC0"}
    assert layers.bulk_density.tolist()[:2] == [1200.0, 1600.0]
    assert layers.bulk_density_basis.tolist()[:2] == ["fine earth", "whole soil"]
    assert layers.density_origin.tolist() == ["measured", "measured", "pedotransfer"]
    assert summary.given == {"layer": {"w": 3}, "profile": {"w": 2}}
    assert any(note.startswith("1 values") for note in summary.notes)


# --- ISRaD -----------------------------------------------------------------------------------


def test_israd(tmp_path):
    (tmp_path / "site.csv").write_text("entry_name,site_name,site_lat,site_long\nE,S,60,30\n")
    (tmp_path / "profile.csv").write_text(
        "entry_name,site_name,pro_name,pro_lat,pro_long,pro_treatment,pro_country,pro_note\n"
        'E,S,P,,,treatment,Finland,"a note\nof two lines"\nE,S,Q,61,31,control,,\n'
    )
    names = (
        "lyr_name",
        "lyr_obs_date_y",
        "lyr_top",
        "lyr_bot",
        "lyr_c_org",
        "lyr_c_tot",
        "lyr_c_inorg",
        "lyr_bd_samp",
        "lyr_bd_tot",
        "lyr_coarse_tot",
        "lyr_ph_h2o",
        "lyr_clay_tot_psa",
        "lyr_silt_tot_psa",
        "lyr_sand_tot_psa",
    )
    rows = [
        "l1,1998,0,10,2,9,9,1.2,1.3,10,,,,",
        "l2,1990,10,20,,3,0.5,,1.3,,,,,",
        "l3,,20,Inf,,4,,,,,7,,,",
    ]
    (tmp_path / "layer.csv").write_text(
        "entry_name,site_name,pro_name,"
        + ",".join(names)
        + "\n"
        + "".join(f"E,S,Q,{row}\n" for row in rows)
    )
    found = collect(IsradSource(name="i", folder=tmp_path))
    profiles, layers = found["profiles"], found["layers"]
    assert profiles.profile_id.tolist() == ["i:E/S/P", "i:E/S/Q"]
    assert profiles.lat.tolist() == [60, 61]
    assert profiles.treated.tolist() == [True, False]
    assert profiles.country[0] == "Finland"
    assert pd.isna(profiles.country[1])
    assert layers.soc.tolist() == [20.0, 25.0, 40.0]
    assert layers.soc_basis.tolist() == [
        "organic carbon",
        "total minus inorganic carbon",
        "total carbon",
    ]
    assert layers.bulk_density.tolist()[:2] == [1200.0, 1300.0]
    assert layers.bulk_density_basis.tolist()[:2] == ["fine earth", "whole soil"]
    assert layers.year.dropna().tolist() == [1998, 1990]
    assert set(layers.coarse_basis) == {"mass"}
    assert layers.lower_depth[2] == float("inf")


# --- NCSCD -----------------------------------------------------------------------------------


def test_ncscd_long(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text(
        "profile_id,latitude,longitude,upper_depth,lower_depth,soc_stock\n"
        "a,70,30,0,30,9\na,70,30,30,100,14\n"
    )
    layers = collect(NcscdSource(name="n", file=path, unit="kg m-2"))["layers"]
    assert layers.stock_given.tolist() == pytest.approx([30_000.0, 20_000.0])
    layers = collect(NcscdSource(name="n", file=path, unit="g m-3"))["layers"]
    assert layers.stock_given.tolist() == [9.0, 14.0]


@pytest.mark.parametrize(("unit", "deep"), [("kg m-2", 14 / 0.7), ("kg m-3", (23 - 9 * 0.3) / 0.7)])
def test_ncscd_wide_takes_no_carbon_twice(tmp_path, unit, deep):
    path = tmp_path / "n.csv"
    path.write_text("profile_id,latitude,longitude,SOCC_30,SOCC_100,SOCC_200\na,70,30,9,23,5\n")
    intervals = [
        {"column": "SOCC_100", "upper_cm": 0, "lower_cm": 100},
        {"column": "SOCC_200", "upper_cm": 100, "lower_cm": 200},
        {"column": "SOCC_30", "upper_cm": 0, "lower_cm": 30},
    ]
    source = NcscdSource(name="n", file=path, unit=unit, intervals=intervals)
    layers = collect(source)["layers"]
    assert layers.upper_depth.tolist() == [0.0, 0.3, 1.0]
    assert layers.lower_depth.tolist() == [0.3, 1.0, 2.0]
    first = 9 / 0.3 if unit == "kg m-2" else 9
    assert layers.stock_given.tolist() == pytest.approx([first * 1e3, deep * 1e3, 5e3])
    if unit == "kg m-2":
        _, profiles, _ = built(tmp_path, source)
        assert profiles.soc_stock[0] == pytest.approx(28_000.0)


def test_ncscd_overlapping_columns_are_refused(tmp_path):
    intervals = [
        {"column": "a", "upper_cm": 0, "lower_cm": 50},
        {"column": "b", "upper_cm": 30, "lower_cm": 100},
    ]
    with pytest.raises(ObservationError, match="overlap between 30 and 50 cm"):
        from_mapping(
            {
                "source": [
                    {
                        "reader": "ncscd",
                        "name": "n",
                        "file": "x.csv",
                        "unit": "kg m-2",
                        "intervals": intervals,
                    }
                ]
            },
            "test",
        )


# --- any CSV ---------------------------------------------------------------------------------


def csv_source(path, columns, **options):
    base = {
        "profile_id": {"column": "p"},
        "lat": {"column": "y"},
        "lon": {"column": "x"},
        "upper_depth": {"column": "t", "unit": "m"},
        "lower_depth": {"column": "b", "unit": "m"},
    }
    return {
        "reader": "csv",
        "name": "c",
        "layers_file": str(path),
        "columns": base | columns,
        **options,
    }


def test_csv_converts_units(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("p;y;x;t;b;C;d;s\n1;5,5;6;0;0,1;2,5;1,3;-99\n")
    columns = {
        "soc": {"column": "C", "unit": "%"},
        "bulk_density": {"column": "d", "unit": "g cm-3"},
        "coarse": {"column": "s", "unit": "%"},
    }
    source = csv_source(
        path, columns, delimiter=";", decimal=",", missing=["-99"], coarse_basis="mass"
    )
    settings = from_mapping({"source": [source]}, "test")
    found = collect(settings.source[0])
    assert isinstance(settings.source[0], CsvSource)
    assert found["profiles"].lat.tolist() == [5.5]
    row = found["layers"].iloc[0]
    assert (row.soc, row.bulk_density, row.lower_depth) == (25.0, 1300.0, 0.1)
    assert pd.isna(row.coarse)
    assert row.coarse_basis == "mass"


def test_csv_with_a_table_of_profiles(tmp_path):
    (tmp_path / "sites.csv").write_text("p,y,x,year,new\n1,5,6,1999,f\n2,7,8,,t\n")
    (tmp_path / "layers.csv").write_text("p,t,b,C\n1,0,0.2,9\n")
    columns = {
        "soc": {"column": "C", "unit": "g kg-1"},
        "year": {"column": "year"},
        "treated": {"column": "new"},
    }
    source = csv_source(tmp_path / "layers.csv", columns, profiles_file=str(tmp_path / "sites.csv"))
    found = collect(from_mapping({"source": [source]}, "test").source[0])
    assert found["profiles"].year.tolist()[0] == 1999
    assert found["profiles"].treated.tolist() == [False, True]
    assert found["layers"].profile_id.tolist() == ["c:1"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"soc": {"column": "C"}}, r"columns.soc: state the unit, one of g kg-1, g/kg, %"),
        ({"soc": {"column": "C", "unit": "g/l"}}, r"soc: unit 'g/l' is not known"),
        ({"sok": {"column": "C", "unit": "%"}}, r"columns.sok: not in the schema"),
        ({}, r"soc or stock_given must be mapped"),
    ],
)
def test_csv_mapping_must_make_sense(columns, message):
    with pytest.raises(ObservationError, match=message):
        from_mapping({"source": [csv_source("c.csv", columns)]}, "test")
