import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proda.errors import FileError
from proda.observations.delimited import read_delimited
from proda.observations.text import Dialect

COLUMNS = {"id": pa.string(), "depth": pa.float64(), "litter": pa.bool_()}
TSV = Dialect(delimiter="\t", ends_with_newline=True)
GOOD = "id\tdepth\tnote\tlitter\n" + "".join(f"p{i}\t{i}.5\tnone\tf\n" for i in range(50))


def read(path, dialect=TSV, columns=COLUMNS, **options):
    return pa.Table.from_batches(read_delimited(path, columns, dialect, **options))


def write(tmp_path, content, name="layers.tsv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def line(number, text):
    """The good table with one line replaced (the header is line 1)."""
    lines = GOOD.splitlines(keepends=True)
    lines[number - 1] = text
    return "".join(lines)


def test_only_wanted_columns_with_types(tmp_path):
    table = read(write(tmp_path, GOOD))
    assert table.column_names == ["id", "depth", "litter"]
    assert table["depth"].to_pylist() == [i + 0.5 for i in range(50)]
    assert table["litter"].to_pylist() == [False] * 50


def test_missing_values_infinity_and_namibia(tmp_path):
    text = "id\tdepth\tnote\tlitter\nNA\tNA\t\tt\nb\t\t\t\nc\t-Inf\t\tTRUE\nd\tNaN\t\tF\n"
    table = read(write(tmp_path, text))
    assert table["id"].to_pylist() == ["NA", "b", "c", "d"]
    assert table["depth"].to_pylist() == [None, None, -np.inf, None]
    assert table["litter"].to_pylist() == [True, None, True, False]


FAULTS = [
    ("number", line(8, "p6\tdeep\tnone\tf\n"), r"line 8, column 2 \(depth\): 'deep' is no"),
    ("comma", line(8, "p6\t6,5\tnone\tf\n"), r"line 8, column 2 .*decimal comma"),
    ("truth", line(8, "p6\t6.5\tnone\tmaybe\n"), r"line 8, column 4 \(litter\): .* truth value"),
    ("short", line(8, "p6\t6.5\n"), r"line 8, column 2 \(depth\): the line has 2 columns .* has 4"),
    ("long", line(8, "p6\t6.5\tnone\tf\tf\n"), r"line 8, column 4 .*the line has 5 columns"),
    ("quote", line(8, 'p6\t"6.5\tnone\tf\n'), r"line 8, column 2 \(depth\): .* has 2 columns"),
    (
        "latin",
        line(8, "p6\t6.5\tcafé\tf\n").encode("latin-1"),
        r"line 8, column 3 \(note\): byte 0xe9 is not utf-8",
    ),
    ("zero", line(8, "p6\t6.5\tno\0ne\tf\n"), r"line 8, column 3 \(note\): contains a zero byte"),
    ("cut", GOOD[: GOOD.index("p40") + 6], r"line 42, column 2 \(depth\): the file ends inside"),
    ("cut in the last value", GOOD[:-1], r"line 51, column 4 \(litter\): the file ends inside"),
    ("utf-16", GOOD.encode("utf-16"), r"this is UTF-16 text .*Save it as CSV UTF-8"),
    ("delimiter", GOOD.replace("\t", ";"), r"line 1: .*no tab but 3 times semicolon: the"),
    ("column", GOOD.replace("depth", "depht"), r"line 1: the column depth is missing. It has: id"),
    ("twice", GOOD.replace("note", "depth", 1), r"line 1: the column depth appears twice"),
    ("empty", "", r"line 1: the file is empty"),
    ("zeros", b"id\t" + bytes(1000), r"line 1, column 2: contains a zero byte"),
]


@pytest.mark.parametrize(
    ("content", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_faults_are_located(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(FileError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_absent_file(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "none.tsv")


def test_cut_and_damaged_gzip(tmp_path):
    rng = np.random.default_rng(1)
    text = "id\tdepth\tnote\tlitter\n" + "".join(
        f"p{i}\t{x:.6f}\tx\tf\n" for i, x in enumerate(rng.random(5000))
    )
    whole = gzip.compress(text.encode())
    assert len(read(write(tmp_path, whole, "whole.tsv.gz"))) == 5000
    with pytest.raises(
        FileError, match=r"cut.tsv.gz, line \d+, column 1 \(id\): .*truncated or damaged"
    ):
        read(write(tmp_path, whole[: len(whole) // 2], "cut.tsv.gz"))
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    with pytest.raises(FileError, match=r"bad.tsv.gz"):
        read(write(tmp_path, bytes(broken), "bad.tsv.gz"))
    with pytest.raises(FileError, match="cannot be read"):
        read(write(tmp_path, b"no gzip at all", "not.tsv.gz"))


def test_quoted_line_breaks_count_as_lines(tmp_path):
    dialect = Dialect(multiline=True)
    text = 'id,depth,litter\na,1,f\n"b\nb",2,f\nc,x,f\n'
    with pytest.raises(FileError, match=r"line 5, column 2 \(depth\): 'x'"):
        read(write(tmp_path, text), dialect)
    table = read(write(tmp_path, text.replace("x", "3")), dialect)
    assert table["id"].to_pylist() == ["a", "b\nb", "c"]


def test_other_dialects(tmp_path):
    dialect = Dialect(";", ",", "latin-1", missing=("-999",))
    path = write(tmp_path, "id;depth;litter\né;1,5;0\nb;-999;1".encode("latin-1"))
    table = read(path, dialect)
    assert table["depth"].to_pylist() == [1.5, None]
    assert table["id"].to_pylist() == ["é", "b"]


def test_byte_order_mark_is_no_part_of_the_name(tmp_path):
    assert len(read(write(tmp_path, "\ufeff" + GOOD))) == 50


def test_optional_columns_may_be_absent(tmp_path):
    path = write(tmp_path, GOOD)
    table = read(path, columns=COLUMNS | {"ph": pa.float64()}, optional=["ph"])
    assert table.column_names == list(COLUMNS)


def test_progress_counts_every_byte(tmp_path):
    path, seen = write(tmp_path, GOOD), []
    read(path, on_bytes=seen.append)
    assert sum(seen) == path.stat().st_size


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(st.floats(-900, allow_nan=False, width=64), min_size=1, max_size=60),
    block=st.integers(400, 2000),
)
def test_any_block_size_reads_the_same(tmp_path, values, block):
    path = write(tmp_path, "id\tdepth\n" + "".join(f"p\t{v!r}\n" for v in values))
    columns = {"id": pa.string(), "depth": pa.float64()}
    table = read(path, Dialect("\t", block_size=block), columns)
    assert table["depth"].to_pylist() == values


@pytest.mark.parametrize("encoding", ["utf-16", "klingon"])
def test_encodings_that_cannot_be_read(tmp_path, encoding):
    with pytest.raises(FileError, match=rf"{encoding}( is not supported; convert|')"):
        read(write(tmp_path, GOOD), Dialect("\t", encoding=encoding))


def test_unclosed_quote_is_found_where_it_opens(tmp_path):
    text = "id,depth,litter\n" + "".join(f"p{i},{i},f\n" for i in range(3000))
    path = write(tmp_path, text.replace("p10,10,", 'p10,"10,'))
    with pytest.raises(FileError, match=r"line 12, column 2 \(depth\): the line has 2 columns"):
        read(path, Dialect(multiline=True))
