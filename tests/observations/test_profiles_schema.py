import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proda.errors import FileError, ObservationError
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    REJECTED_COLUMNS,
    conform,
    factor,
    parquet_writer,
    read_columns,
    read_table,
    write_frame,
)


@pytest.mark.parametrize("columns", [PROFILE_COLUMNS, LAYER_COLUMNS, REJECTED_COLUMNS])
def test_registry_rows_are_whole(columns):
    assert len({c.name for c in columns}) == len(columns)
    for column in columns:
        assert column.meaning
        # Every number has a unit; texts and truth values have none.
        number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        assert bool(column.unit) == number, column.name
        if column.accepted:
            assert column.accepted[column.unit] == 1.0


def test_units_stand_in_the_file(tmp_path):
    path = tmp_path / "layers.parquet"
    with parquet_writer(path, LAYER_COLUMNS) as writer:
        write_frame(writer, pd.DataFrame({"profile_id": ["a"], "soc": [1.5]}), LAYER_COLUMNS)
    schema = pq.read_schema(path)
    assert schema.field("soc").metadata[b"unit"] == b"g kg-1"
    assert schema.field("soc_stock").metadata[b"unit"] == b"g m-3"
    assert schema.field("upper_depth").metadata[b"range"] == b"0 to 10"
    found = read_table(path, LAYER_COLUMNS)
    assert found.soc.tolist() == [1.5]
    assert found.bulk_density.isna().all()


def test_unknown_column_is_named():
    with pytest.raises(ObservationError, match="sok"):
        conform(pa.table({"sok": [1.0]}), LAYER_COLUMNS)


def test_unknown_unit_is_named():
    soc = read_columns(LAYER_COLUMNS)["soc"]
    assert factor(soc, "%") == 10.0
    with pytest.raises(
        ObservationError, match=r"soc: unit 'g/l' is not known; use one of 'g kg-1'"
    ):
        factor(soc, "g/l")


def test_foreign_and_broken_tables_are_refused(tmp_path):
    path = tmp_path / "layers.parquet"
    with pytest.raises(FileError, match="no such file"):
        read_table(path, LAYER_COLUMNS)
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(FileError, match="not a readable Parquet file"):
        read_table(path, LAYER_COLUMNS)
    pd.DataFrame({"profile_id": ["a"]}).to_parquet(path)
    with pytest.raises(FileError, match="lacks layer_id"):
        read_table(path, LAYER_COLUMNS)
