"""Tables as other programs and old conventions write them, each with its good twin."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proda.errors import FileError, ObservationError
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
from proda.observations.schema import LAYER_COLUMNS, PROFILE_COLUMNS, REJECTED_COLUMNS, read_table

BOUNDS = ((0, 10), (10, 30), (30, 60), (60, 100))
CARBON = (3.2, 1.9, 0.9, 0.4)
DENSITY = (1.1, 1.3, 1.4, 1.5)
STOCK = 14640.0
HEADER = ["PEDON", "Y", "X", "top", "bottom", "OC", "BD"]
COLUMNS = {
    "profile_id": {"column": "PEDON"},
    "lat": {"column": "Y"},
    "lon": {"column": "X"},
    "upper_depth": {"column": "top", "unit": "cm"},
    "lower_depth": {"column": "bottom", "unit": "cm"},
    "soc": {"column": "OC", "unit": "%"},
    "bulk_density": {"column": "BD", "unit": "g cm-3"},
}


def rows(shift=0):
    """Four layers of P1 and of P2, whose carbon differs."""
    return [
        [
            f"P{p + 1}",
            str(45.5 + p),
            str(11.5 + p),
            str(u + shift),
            str(b + shift),
            f"{c + p / 10:.1f}",
            str(d),
        ]
        for p in range(2)
        for (u, b), c, d in zip(BOUNDS, CARBON, DENSITY, strict=True)
    ]


def text(table=None, header=HEADER, delimiter=",", end="\n"):
    return "".join(delimiter.join(row) + end for row in [header, *(table or rows())])


def settings(tmp_path, content, columns=COLUMNS, rules=None, name="layers.csv", **source):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given = {"reader": "csv", "name": "survey", "layers_file": str(path), "columns": columns}
    return from_mapping(
        {"source": [given | source], "pedotransfer": "paper", "rules": rules or {}}, "test"
    )


def built(tmp_path, *args, **more):
    summary = build(settings(tmp_path, *args, **more), tmp_path / "out")
    return (
        summary,
        read_table(tmp_path / "out" / "profiles.parquet", PROFILE_COLUMNS),
        read_table(tmp_path / "out" / "layers.parquet", LAYER_COLUMNS),
        read_table(tmp_path / "out" / "rejected.parquet", REJECTED_COLUMNS),
    )


def said(summary, words):
    return any(words in note for note in summary.notes)


# --- text as spreadsheets write it -----------------------------------------------------------

SEMICOLON = {"delimiter": ";", "decimal": ","}


def comma(table):
    return [[v.replace(".", ",") for v in row] for row in table]


# International-Soil-Radiocarbon-Database/ISRaD (tables that end lines with CR) and issues of
# readers about "sep=" lines and rows of delimiters that spreadsheets append.
@pytest.mark.parametrize(
    ("content", "options"),
    [
        (text(), {}),
        (text(end="\r"), {}),
        (text(end="\r\n"), {}),
        (text(end="\r\r\n"), {}),
        (text().replace("\n", "\r\n", 3), {}),
        ("\ufeff" + text(), {}),
        (text(header=[f" {h} " for h in HEADER]), {}),
        ("sep=;\r\n" + text(comma(rows()), delimiter=";", end="\r\n"), SEMICOLON),
        ('\ufeff"sep=;"\n' + text(comma(rows()), delimiter=";"), SEMICOLON),
        (text(comma(rows()), delimiter=";") + ";;;;;;\r\n" * 3, SEMICOLON),
        (text().replace("\nP2", "\n,,,,,,\nP2", 1) + '"","",,,,,\n , ,,,,,\n\n', {}),
        (text(delimiter="\t"), {"delimiter": "\t"}),
        (gzip.compress(text().encode()), {}),
        (text(header=[*HEADER, ""], table=[[*r, ""] for r in rows()]), {}),
        (text(header=[*HEADER, "note", "note"], table=[[*r, "a", "b"] for r in rows()]), {}),
        (text(header=[*HEADER, '"two\nlines"'], table=[[*r, '"a\nb"'] for r in rows()]), {}),
    ],
    ids=[
        "lf",
        "cr",
        "crlf",
        "crcrlf",
        "mixed",
        "mark",
        "blanks",
        "sep",
        "sep with mark",
        "blank",
        "blank inside",
        "tab",
        "gzip",
        "trailing",
        "twice but unused",
        "header of two lines",
    ],
)
def test_a_table_however_it_is_written(tmp_path, content, options):
    summary, profiles, layers, _ = built(tmp_path, content, **options)
    assert profiles.profile_id.tolist() == ["survey:P1", "survey:P2"]
    assert profiles.soc_stock[0] == pytest.approx(STOCK)
    assert len(layers) == summary.given["layer"]["survey"] == 8
    assert said(summary, "rows without any value") == (
        b";;;" in as_bytes(content) or b",,," in as_bytes(content)
    )
    assert not said(summary, "no line end")


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode()


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"PK\x03\x04rest", {}, "spreadsheet workbook .* Save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {}, "Excel workbook"),
        (b"\xef\xbb\xbf\n<html><body>", {}, "HTML or XML page"),
        (text().encode("utf-16"), {}, "UTF-16 text"),
        (b"PAR1....", {}, "Parquet"),
        ("\ufeff" + text(), {"encoding": "cp1252"}, "byte order mark of UTF-8"),
        ("sep=;\n" + text(), {}, "line 1: states that the delimiter is ';'"),
        (text(header=HEADER), {"columns": COLUMNS | {"ph": {"column": "pH"}}}, "pH is missing"),
        (text([["", "", "", "cm", "cm", "%", "g cm-3"], *rows()]), {}, "line 2, column 1"),
        (text([["id", "deg", "", "cm", "cm", "%", "g"], *rows()]), {}, "line 2, column 2 .*units"),
        (text([[*r[:3], "٠", *r[4:]] for r in rows()]), {}, "line 2, column 4 .*digits 0-9"),
        (text([[*r[:6], "<0.1"] for r in rows()]), {}, "line 2, column 7 .*limit of detection"),
        (text([[*r, ""] for r in rows()]), {}, "line 2, .*ends with a delimiter"),
        (text(header=[*HEADER[:-1], "OC"]), {}, "OC appears twice"),
        (text().splitlines()[0] + "\n", {}, "contains a header but no rows"),
        (text().splitlines()[0], {}, "contains a header but no rows"),
        (text().replace("\nP1,", "\n,", 1), {}, r"line 2, column 1 \(PEDON\): there is no iden"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, options, words):
    with pytest.raises(FileError, match=rf"layers.csv.*{words}"):
        build(settings(tmp_path, content, **options), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_an_endless_line_does_not_fill_the_memory(tmp_path):
    for line in (text() + "x" * (40 << 20), "x" * (40 << 20)):
        with pytest.raises(FileError, match=r"layers.csv.gz, line \d+: the line is longer than"):
            build(settings(tmp_path, gzip.compress(line.encode(), 1), name="layers.csv.gz"), None)


def test_a_last_line_without_an_end_is_said(tmp_path):
    summary, *_ = built(tmp_path, text()[:-2])
    assert said(
        summary,
        "last line has no line ending. If the file was truncated there, its last value '1.'",
    )


# --- numbers and texts -----------------------------------------------------------------------


@pytest.mark.parametrize("code", ["-9999", "-9999.0", "-999"])
def test_codes_of_missing_values_are_no_data(tmp_path, code):
    table = rows()
    table[0][3] = table[5][6] = code
    summary, _, layers, rejected = built(tmp_path, text(table))
    assert rejected.reason.tolist() == ["depth_missing"]
    assert layers.density_origin.tolist().count("pedotransfer") == 1
    assert said(summary, f"column top: 1 values of {float(code):g} are read as missing")


def test_numbers_beyond_all_measure_have_a_reason(tmp_path):
    table = rows()
    table[0][5] = table[1][6] = "1e308"
    table[4][4] = "1e999"
    *_, rejected = built(tmp_path, text(table), rules={"min_layers": 1})
    assert sorted(rejected.reason) == ["density_impossible", "depth_missing", "soc_impossible"]


def test_years_and_texture_outside_their_range_are_said(tmp_path):
    header = [*HEADER, "YEAR", "clay"]
    columns = COLUMNS | {"year": {"column": "YEAR"}, "clay": {"column": "clay", "unit": "%"}}
    table = [[*r, "1e12" if r[0] == "P1" else "1999", "-99"] for r in rows()]
    summary, profiles, layers, _ = built(tmp_path, text(table, header), columns)
    assert profiles.year.isna().tolist() == [True, False]
    assert layers.clay.isna().all()
    assert said(summary, "values of year are outside 1800 to 2100")
    assert said(summary, "8 values of clay are outside 0 to 100 % (such as -99)")


VOCABULARIES = {
    "bulk_density_basis": ("Whole_Soil", "wholesoil of the plot"),
    "coarse_basis": ("Mass", "by weight"),
    "soc_basis": ("Total Carbon", "LOI"),
    "depth_bounds": ("reconstructed", "guessed"),
    "litter": ("F", "maybe"),
    "treated": ("false", "control"),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_closed_vocabularies(tmp_path, name):
    good, bad = VOCABULARIES[name]
    columns = COLUMNS | {name: {"column": "KIND"}}
    content = text([[*r, good] for r in rows()], [*HEADER, "KIND"])
    summary, *_ = built(tmp_path, content, columns)
    assert summary.total("profile", "kept") == 2
    content = content.replace(good, bad)
    with pytest.raises((FileError, ObservationError), match=rf"layers.csv.*KIND.*'{bad}'"):
        built(tmp_path, content, columns)
    # What the table calls it can be said in the settings.
    known = {
        "bulk_density_basis": "whole soil",
        "coarse_basis": "mass",
        "soc_basis": "total carbon",
        "depth_bounds": "as given",
    }
    meaning = known.get(name, False)
    columns = COLUMNS | {name: {"column": "KIND", "values": {bad: meaning}}}
    summary, *_ = built(tmp_path, content, columns)
    assert summary.total("profile", "kept") == 2


def test_vocabularies_of_settings(tmp_path):
    with pytest.raises(ObservationError, match=r"rules.exclude_soc_basis.0: must be one of .*LOI"):
        settings(tmp_path, text(), rules={"exclude_soc_basis": ["LOI"]})
    columns = COLUMNS | {"litter": {"column": "OC", "values": {"yes": "perhaps"}}}
    with pytest.raises(ObservationError, match=r"values: 'perhaps' is not one of"):
        settings(tmp_path, text(), columns)
    summary, *_ = built(tmp_path, text(), rules={"prefer": ["surveys"]})
    assert said(summary, "rules.prefer names surveys")


# --- identifiers -----------------------------------------------------------------------------


def two_tables(tmp_path, layer_ids, key="PEDON", **mapped):
    sites = tmp_path / "sites.csv"
    sites.write_text(f"\ufeffid,{key},Y,X\n1,P1,45.5,11.5\n2,P2,46.5,12.5\n")
    table = [[layer_ids(r[0]), *r[3:]] for r in rows()]
    columns = COLUMNS | {"profile_id": {"column": "PEDON", **mapped}}
    return settings(
        tmp_path, text(table, [HEADER[0], *HEADER[3:]]), columns, profiles_file=str(sites)
    )


def test_two_tables_that_name_the_identifier_otherwise(tmp_path):
    # ncss-tech/aqp: bergstrom2019 calls it pedon in one table, Pedon in the other.
    with pytest.raises(FileError, match=r"sites.csv.*'pedon' for 'PEDON'.*profiles_column"):
        build(two_tables(tmp_path, str, "pedon"), None)
    summary = build(two_tables(tmp_path, str, "pedon", profiles_column="pedon"), None)
    assert (summary.total("profile", "kept"), summary.total("layer", "kept")) == (2, 8)


@pytest.mark.parametrize("form", ["{}.0", "0{}", "{} "])
def test_identifiers_that_other_programs_rewrote(tmp_path, form):
    sites = tmp_path / "sites.csv"
    sites.write_text("PEDON,Y,X\n1001,45.5,11.5\n1002,46.5,12.5\n")

    def given(form):
        table = [[form.format(r[0].replace("P", "100")), *r[3:]] for r in rows()]
        content = text(table, [HEADER[0], *HEADER[3:]])
        return settings(tmp_path, content, profiles_file=str(sites))

    assert build(given("{}"), None).total("profile", "kept") == 2
    if form == "{} ":
        assert build(given(form), None).total("profile", "kept") == 2
        return
    with pytest.raises(
        ObservationError, match=r"No profile is kept.*'survey:1001' and 'survey:"
    ) as e:
        build(given(form), tmp_path / "out")
    assert form.format("1001") in str(e.value)


# --- where zero is ---------------------------------------------------------------------------

LITTER = COLUMNS | {"litter": {"column": "LIT"}}


def with_litter(above, shift, at=0):
    """The two profiles, `shift` cm deeper, with marked layers put in front of each."""
    table = []
    for p in (0, 1):
        own = [[*r, "false"] for r in rows(shift)[4 * p : 4 * p + 4]]
        marked = [[*own[0][:3], str(u), str(b), "38.0", "0.12", "true"] for u, b in above]
        table += own[:at] + marked + own[at:]
    return text(table, [*HEADER, "LIT"])


def test_depths_from_the_top_of_the_litter(tmp_path):
    summary, profiles, layers, rejected = built(
        tmp_path, with_litter([(0, 8), (8, 14)], 14), LITTER
    )
    assert layers.upper_depth.tolist() == [0, 0.1, 0.3, 0.6] * 2
    assert profiles.top_depth.tolist() == [0, 0]
    assert profiles.soc_stock[0] == pytest.approx(STOCK)
    assert rejected.reason.tolist() == ["litter"] * 4
    assert rejected.upper_depth.tolist() == [-0.14, -0.06] * 2
    assert said(
        summary, "In 2 profiles (such as survey:P1, survey:P2) depths are measured from the top"
    )


def test_litter_that_moves_nothing(tmp_path):
    # Beside a mineral soil that begins at 0, with negative depths, and between mineral layers.
    for content in (with_litter([(0, 8)], 0), with_litter([(-8, 0)], 0)):
        summary, _, layers, _ = built(tmp_path, content, LITTER)
        assert layers.upper_depth.tolist() == [0, 0.1, 0.3, 0.6] * 2
        assert not said(summary, "depths are measured from the top")
    table = [r for r in rows() if r[3] != "30"]
    content = text(
        [[*r, "f"] for r in table] + [[*r, "t"] for r in rows() if r[3] == "30"], [*HEADER, "LIT"]
    )
    _, _, layers, _ = built(tmp_path, content, LITTER)
    assert layers.upper_depth.tolist() == [0, 0.1, 0.6] * 2


def test_organic_horizons_written_upwards(tmp_path):
    table = rows()
    above = [
        [*r[:3], u, b, "40.0", "0.1"]
        for r in (rows()[0], rows()[4])
        for u, b in (("8", "4"), ("4", "0"))
    ]
    _, profiles, _, rejected = built(tmp_path, text([*above, *table]))
    assert rejected.reason.tolist() == ["litter"] * 4
    assert profiles.soc_stock[0] == pytest.approx(STOCK)
    # Exchanged bounds of a mineral layer stay what they are: a mistake.
    table[1][3:5] = ["30", "10"]
    *_, rejected = built(tmp_path, text(table))
    assert rejected.reason.tolist() == ["depth_inverted"]


def test_depths_that_count_down_as_negative_numbers(tmp_path):
    table = [[*r[:3], f"-{r[3]}", f"-{r[4]}", *r[5:]] for r in rows()]
    with pytest.raises(ObservationError, match=r"depth_inverted 8.*give depths as positive"):
        built(tmp_path, text(table))


# --- one layer on several lines --------------------------------------------------------------


def split(densities, carbon=""):
    """Density on lines of its own; `densities` per layer."""
    table = []
    for r in rows():
        table.append([*r[:6], ""])
        table += [[*r[:5], carbon, d or r[6]] for d in densities]
    return text(table)


def test_rows_of_one_layer_are_joined(tmp_path):
    summary, profiles, layers, rejected = built(tmp_path, split([None]))
    assert profiles.soc_stock[0] == pytest.approx(STOCK)
    assert layers.density_origin.tolist() == ["measured"] * 8
    assert rejected.reason.tolist() == ["row_joined"] * 8
    assert summary.given["layer"]["survey"] == 16
    # The same density twice is no contradiction.
    _, profiles, _, _ = built(tmp_path, split([None, None]))
    assert profiles.soc_stock[0] == pytest.approx(STOCK)


def test_rows_that_contradict_each_other_are_not_averaged(tmp_path):
    with pytest.raises(ObservationError, match="values_conflict 24"):
        built(tmp_path, split(["1.1", "1.6"]))
    table = rows()
    table.insert(1, [*table[0][:5], "", "0.6"])
    *_, layers, rejected = built(tmp_path, text(table))
    assert rejected.reason.tolist() == ["values_conflict"] * 2
    assert len(layers) == 7


# --- other readers ---------------------------------------------------------------------------

ISRAD = {
    "site": ["entry_name,site_name,site_lat,site_long", "Doe,S,45.2,-68.7"],
    "profile": [
        "entry_name,site_name,pro_name,pro_lat,pro_long,pro_treatment,pro_country",
        "Doe,S,A,,,control,",
    ],
    "layer": [
        "entry_name,site_name,pro_name,lyr_name,lyr_obs_date_y,lyr_top,lyr_bot,lyr_bd_samp,"
        "lyr_bd_tot,lyr_sand_tot_psa,lyr_silt_tot_psa,lyr_clay_tot_psa,lyr_coarse_tot,"
        "lyr_ph_h2o,lyr_c_inorg,lyr_c_org,lyr_c_tot",
        *(
            f"Doe,S,A,{u},1999,{u},{b},{d},,,,,,,,{c},"
            for (u, b), c, d in zip(BOUNDS, CARBON, DENSITY, strict=True)
        ),
    ],
}
DESCRIBED = {
    "site": ["Entry/Dataset Name,Site Name,Latitude,Longitude", "Author_year,,dec. deg,dec. deg"],
    "profile": [
        "Entry/Dataset Name,Site Name,Profile Name,Latitude,Longitude,Treatment,Country",
        "Author_year,,,dec. deg,dec. deg,(control or treatment),",
    ],
    "layer": [
        "Entry/Dataset Name,Site Name,Profile Name,Layer Name,Year,Top,Bottom" + ",x" * 10,
        "Author_year,,,,yyyy,cm,cm" + "," * 10,
    ],
}


def israd(tmp_path, described=True, end="\n", **changes):
    for name, (header, *data) in ISRAD.items():
        extra = DESCRIBED[name] if described else []
        blank = "," * header.count(",")
        content = end.join([header, *extra, *data, blank, ""])
        for old, new in changes.items():
            content = content.replace(old, new)
        (tmp_path / f"{name}.csv").write_bytes(content.encode())
    source = {"reader": "israd", "name": "israd", "folder": str(tmp_path)}
    return from_mapping({"source": [source], "pedotransfer": "paper"}, "test")


# International-Soil-Radiocarbon-Database/ISRaD: tables exported from the template.
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_israd_template(tmp_path, described, end):
    summary = build(israd(tmp_path, described, end), tmp_path / "out")
    assert (summary.total("profile"), summary.total("layer", "kept")) == (1, 4)
    profiles = read_table(tmp_path / "out" / "profiles.parquet", PROFILE_COLUMNS)
    assert profiles.soc_stock[0] == pytest.approx(STOCK)
    assert profiles.treated.tolist() == [False]


def test_israd_treatments_are_a_closed_vocabulary(tmp_path):
    with pytest.raises(ObservationError, match=r"profile.csv, column pro_treatment: 'warming'"):
        build(israd(tmp_path, described=False, control="warming"), None)


WOSIS = (
    "profile_id\tlayer_id\tupper_depth\tlower_depth\torganic_surface\tvalue_avg\tlongitude\t"
    "latitude\n"
)


@pytest.mark.parametrize("prefix", ["wosis_latest_", "wosis_202312_"])
def test_wosis_latest_and_its_litter(tmp_path, prefix):
    layers = [(0, 6, "t", 420), (6, 16, "f", 31), (16, 40, "f", 15), (40, 80, "f", 6)]
    content = WOSIS + "".join(f"1\t{u}\t{u}\t{b}\t{f}\t{c}\t11\t51\n" for u, b, f, c in layers)
    (tmp_path / f"{prefix}orgc.tsv").write_text(content)
    source = {"reader": "wosis2023", "name": "w", "folder": str(tmp_path)}
    chosen = from_mapping({"source": [source], "pedotransfer": "paper"}, "test")
    summary = build(chosen, tmp_path / "out")
    found = read_table(tmp_path / "out" / "layers.parquet", LAYER_COLUMNS)
    assert found.upper_depth.tolist() == [0, 0.1, 0.34]
    assert found.lower_depth.tolist() == [0.1, 0.34, 0.74]
    assert said(summary, "this is WoSIS latest") == ("latest" in prefix)
    assert said(summary, "6 cm thick")


def pool(tmp_path, change=lambda name, table: table):
    profiles = pd.DataFrame(
        {
            "source": ["a"],
            "profile_id": ["a_1"],
            "lat": [10.0],
            "lon": [20.0],
            "location_error_deg": [0.1],
            "year": [1990],
            "country": ["X"],
            "licence": ["y"],
            "treated": [False],
            "depth_bounds": ["as given"],
        }
    )
    n = len(BOUNDS)
    layers = pd.DataFrame(
        {
            "profile_id": ["a_1"] * n,
            "upper_depth_cm": [float(u) for u, _ in BOUNDS],
            "lower_depth_cm": [float(b) for _, b in BOUNDS],
            "soc_g_kg": [10 * c for c in CARBON],
            "bulk_density_kg_m3": [1000 * d for d in DENSITY],
            "coarse_fragments_pct": [0.0] * n,
            "clay_pct": [np.nan] * n,
            "silt_pct": [np.nan] * n,
            "sand_pct": [np.nan] * n,
            "ph_h2o": [6.0] * n,
            "soc_basis": ["organic C measured"] * n,
        }
    )
    for name, frame in (("profiles", profiles), ("layers", layers)):
        table = change(name, pa.Table.from_pandas(frame, preserve_index=False))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    source = {"reader": "tidy", "name": "tidy", "folder": str(tmp_path)}
    return from_mapping({"source": [source], "pedotransfer": "paper"}, "test")


def replaced(where, column, values):
    def change(name, table):
        if name != where:
            return table
        return table.set_column(table.column_names.index(column), column, values(len(table)))

    return change


def test_a_pool_of_other_fitting_types(tmp_path):
    def change(name, table):
        i = table.column_names.index("profile_id")
        codes = table.column(i).dictionary_encode()
        return table.set_column(i, "profile_id", codes)

    summary = build(pool(tmp_path, change), None)
    assert summary.total("layer", "kept") == 4


@pytest.mark.parametrize(
    ("file", "column", "values", "words"),
    [
        ("layers", "clay_pct", lambda n: pa.array([[]] * n), "contains list"),
        ("layers", "soc_g_kg", lambda n: pa.array(["1"] * n), "contains string; expected numbers"),
        ("profiles", "profile_id", lambda n: pa.array([{"a": 1}] * n), "contains struct"),
        ("profiles", "treated", lambda n: pa.array([1.0] * n), "expected true or false"),
        ("profiles", "depth_bounds", lambda n: pa.array(["guess"] * n), "'guess' is not known"),
        ("layers", "soc_basis", lambda n: pa.array(["LOI"] * n), "'LOI' is not known"),
    ],
)
def test_columns_of_a_pool_that_do_not_fit(tmp_path, file, column, values, words):
    with pytest.raises(FileError, match=rf"{file}.parquet, column {column}.*{words}"):
        build(pool(tmp_path, replaced(file, column, values)), None)


def test_columns_of_a_pool_that_are_there_twice_or_absent(tmp_path):
    def twice(name, table):
        return table.append_column("soc_g_kg", table["soc_g_kg"]) if name == "layers" else table

    with pytest.raises(FileError, match=r"layers.parquet: the column soc_g_kg appears twice"):
        build(pool(tmp_path, twice), None)
    with pytest.raises(FileError, match=r"profiles.parquet: lacks the column lat"):
        build(
            pool(tmp_path, lambda name, t: t.drop_columns("lat") if name == "profiles" else t), None
        )
    with pytest.raises(FileError, match=r"layers.parquet: contains no rows"):
        build(pool(tmp_path, lambda name, t: t.slice(0, 0 if name == "layers" else None)), None)


def test_a_name_that_no_file_can_have(tmp_path):
    source = {"reader": "tidy", "name": "t", "folder": "x" * 5000}
    chosen = from_mapping({"source": [source], "pedotransfer": "paper"}, "test")
    with pytest.raises(FileError, match="name too long"):
        build(chosen, None)
