"""Results that were damaged after they were written are refused by name; whole ones are read."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from proda import files
from proda.checksums import ATTRIBUTE, LIST
from proda.cli import app
from proda.drivers.grids import check_axis
from proda.errors import FileError, MapError, printable
from proda.places import check_dataset_sites
from tests.run_folders import made_run

VALUES = np.arange(24.0).reshape(6, 4)
VALUES[2:4] = np.nan  # a chunk of nothing but the fill value


def made() -> xr.Dataset:
    names = np.array([f"s{i}" for i in range(6)], object)
    return xr.Dataset({"x": (("site", "layer"), VALUES)}, {"site": names}, {"model": "clm5"})


@pytest.fixture
def store(tmp_path):
    files.write_zarr(made().chunk(site=2), tmp_path / "x.zarr")
    return tmp_path / "x.zarr"


@pytest.fixture
def file(tmp_path):
    files.write_netcdf(made(), tmp_path / "x.nc")
    return tmp_path / "x.nc"


def read(path):
    with files.open_dataset(path, result=True) as opened:
        return files.load(opened, path)


def same(found) -> bool:
    return found.drop_encoding().identical(made().drop_encoding())


def test_whole_results_are_read_without_a_note(store, file, caplog):
    assert same(read(store))
    assert same(read(file))
    assert ATTRIBUTE not in read(store).attrs
    assert not caplog.records


def test_other_readers_see_the_same_values(store, file):
    with xr.open_zarr(store, consolidated=False) as opened:
        np.testing.assert_array_equal(opened["x"], VALUES)
    with netCDF4.Dataset(file) as opened:
        np.testing.assert_array_equal(opened["x"][:].filled(np.nan), VALUES)


def damaged_at_every_byte(path, whole, step=1):
    content = whole.read_bytes()
    for i in range(0, len(content), step):
        wrong = bytearray(content)
        wrong[i] ^= 1 << (i % 8)
        whole.write_bytes(wrong)
        try:
            found = read(path)
        except FileError:
            continue
        assert same(found), f"{whole.name}, byte {i}"
    whole.write_bytes(content)
    assert same(read(path))


def test_a_changed_bit_of_a_netcdf_file_is_seen(file):
    damaged_at_every_byte(file, file, step=max(1, file.stat().st_size // 400))


def test_a_changed_bit_of_a_store_is_seen(store):
    """Issue: 250 of 250 flips of posterior.zarr passed."""
    for whole in sorted(p for p in store.rglob("*") if p.is_file()):
        damaged_at_every_byte(store, whole, step=max(1, whole.stat().st_size // 25))


@pytest.mark.parametrize("chunk", ["x/c/0/0", "x/c/1/0", "site/c/0"])
def test_a_lost_chunk_is_named_and_never_read_as_nothing(store, chunk):
    if not (store / chunk).is_file():  # Zarr leaves out chunks of the fill value alone
        (store / chunk).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store / "x/c/0/0", store / chunk)
        with pytest.raises(FileError, match=r"x/c/1/0: does not belong to the store"):
            read(store)
        return
    (store / chunk).unlink()
    with pytest.raises(FileError, match=rf"{chunk}: missing"):
        read(store)


def test_exchanged_and_cut_chunks_are_named(store):
    first, last = store / "x/c/0/0", store / "x/c/2/0"
    a, b = first.read_bytes(), last.read_bytes()
    first.write_bytes(b)
    last.write_bytes(a)
    with pytest.raises(FileError, match=r"x/c/0/0: does not match its checksum"):
        files.open_dataset(store)
    first.write_bytes(a[:-3])
    last.write_bytes(b)
    with pytest.raises(FileError, match=r"x/c/0/0: does not match its checksum"):
        files.open_dataset(store)


def test_a_chunk_damaged_inside_is_named_when_it_is_needed(store):
    """Opening looks at sizes and checksums alone, so that a large store opens at once."""
    chunk = store / "x/c/2/0"
    content = bytearray(chunk.read_bytes())
    content[3] ^= 4
    chunk.write_bytes(content)
    opened = files.open_dataset(store)
    np.testing.assert_array_equal(opened["x"].isel(site=[0]), VALUES[:1])
    with pytest.raises(FileError, match=r"x\.zarr: x cannot be read .*copy it again"):
        opened["x"].isel(site=[5]).to_numpy()


def test_edited_metadata_and_lists_are_named(store):
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["model"] = "compas"
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(FileError, match=r"x\.zarr/zarr\.json: does not match its checksum"):
        read(store)
    del root["attributes"][ATTRIBUTE]
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(FileError, match=r"zarr\.json: does not match its checksum"):
        read(store)


def test_a_lost_list_or_array_is_named(store):
    (store / "x" / LIST).unlink()
    with pytest.raises(FileError, match=rf"x/{LIST}: missing"):
        read(store)
    shutil.rmtree(store / "x")
    with pytest.raises(FileError, match="missing"):
        read(store)


def test_files_of_others_and_of_earlier_versions_are_read_with_a_note(tmp_path, caplog):
    made().to_netcdf(tmp_path / "y.nc")
    made().to_zarr(tmp_path / "y.zarr", zarr_format=3, consolidated=False)
    with caplog.at_level(logging.WARNING):
        for name in ("y.nc", "y.zarr"):
            with files.open_dataset(tmp_path / name) as opened:  # a climate of the user's own
                assert same(files.load(opened, name))
            assert not caplog.records
    for name in ("y.nc", "y.zarr"):
        caplog.clear()
        assert same(read(tmp_path / name))
        assert "carries no checksum" in caplog.text


def test_a_file_changed_by_another_program_is_read_with_a_note(file, caplog):
    with netCDF4.Dataset(file, "a") as opened:
        opened.note = "mine"
    assert read(file).attrs["note"] == "mine"
    assert "carries no checksum" in caplog.text


def test_a_store_read_and_written_again_has_checksums_of_its_own(store, tmp_path):
    files.write_zarr(files.open_dataset(store).isel(site=slice(2)), tmp_path / "z.zarr")
    assert read(tmp_path / "z.zarr").sizes["site"] == 2
    files.write_netcdf(read(store), tmp_path / "z.nc")
    assert same(read(tmp_path / "z.nc"))


def test_time_spans_stay_numbers(tmp_path):
    """xarray issue 1621: units of days turned a number into a time span."""
    dataset = xr.Dataset({"age": ("x", [1.5, 2.5], {"units": "days"})})
    for name in ("a.nc", "a.zarr"):
        files.write_dataset(dataset, tmp_path / name)
        assert read(tmp_path / name)["age"].to_numpy().tolist() == [1.5, 2.5]


def test_damaged_draws_end_the_commands_that_read_them(tmp_path):
    """Issue: a flipped bit or a lost chunk of posterior.zarr passed with status 0."""
    folder = made_run(tmp_path / "run")
    chunk = next(p for p in (folder / "posterior.zarr/posterior/c").rglob("*") if p.is_file())
    export = ["export", "posterior", str(folder), "-o", str(tmp_path / "out.nc")]
    content = chunk.read_bytes()
    wrong = bytearray(content)
    wrong[len(wrong) // 2] ^= 16
    chunk.write_bytes(wrong)
    assert isinstance(CliRunner().invoke(app, export).exception, FileError)
    chunk.unlink()
    for arguments in (export, ["diagnose", str(folder)]):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, FileError)
        assert "missing" in str(error)
    assert not (tmp_path / "out.nc").exists()
    chunk.write_bytes(content)
    assert CliRunner().invoke(app, export).exit_code == 0


# ---- one boundary


@pytest.mark.parametrize(
    "reader",
    [
        files.open_dataset,
        files.open_netcdf,
        files.read_parquet,
        files.read_csv,
        files.read_json,
        files.read_toml,
        files.read_npz,
        files.read_text,
    ],
)
def test_every_reader_names_what_is_no_such_file(reader, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x81" * 9)
    (tmp_path / "empty").write_bytes(b"")
    for name in ("absent", "folder", "bytes", "n" * 300, "bytes/below"):
        with pytest.raises(FileError, match=str(tmp_path)):
            reader(tmp_path / name)


@pytest.mark.parametrize("reader", [files.read_json, files.read_toml])
def test_deep_nesting_is_refused(reader, tmp_path):
    path = tmp_path / "deep"
    path.write_text(("x = " if reader is files.read_toml else "") + "[" * 100_000)
    with pytest.raises(FileError, match="nested too deeply"):
        reader(path)


def test_columns_missing_or_twice_are_named_and_right_ones_read(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    files.write_parquet(table, tmp_path / "t.parquet", index=False)
    table.to_csv(tmp_path / "t.csv", index=False)
    for reader, name in ((files.read_parquet, "t.parquet"), (files.read_csv, "t.csv")):
        pd.testing.assert_frame_equal(reader(tmp_path / name, ("a",)), table, check_dtype=False)
        with pytest.raises(FileError, match="lacks the column c; it has a, b"):
            reader(tmp_path / name, ("c",))
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(FileError, match="column a appears twice"):
        files.read_csv(tmp_path / "twice.csv")


def test_a_changed_value_of_our_parquet_is_seen(tmp_path):
    path = tmp_path / "t.parquet"
    files.write_parquet(pd.DataFrame({"a": np.arange(1000.0)}), path, index=False)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="not a readable Parquet table"):
        files.read_parquet(path)


# ---- places, terminals, targets


def test_sites_twice_or_nowhere_are_named():
    site = np.array(["a", "b", "a"], object)
    with pytest.raises(MapError, match=r"k: site a appears 2 times"):
        check_dataset_sites(xr.Dataset(coords={"site": site}), "k", MapError)
    lost = {"site": ["a", "b"], "latitude": ("site", [1.0, np.nan])}
    with pytest.raises(MapError, match="site b has the latitude nan"):
        check_dataset_sites(xr.Dataset(coords=lost), "k", MapError)
    check_dataset_sites(xr.Dataset(coords={"site": ["1", "01"]}), "k", MapError)


@pytest.mark.parametrize(
    ("lat", "words"),
    [
        ([1.0, np.nan], r"lat\[1\] is nan"),
        ([1.0, 1.0], "lat contains 1 twice"),
        ([0.0, 2.0, 1.0], "not monotonic: 2 is followed by 1"),
    ],
)
def test_axes_that_cannot_be_are_named(lat, words):
    with pytest.raises(MapError, match=words):
        check_axis(xr.DataArray(lat, dims="lat"), "lat", "m", MapError)


def test_axes_may_run_either_way():
    for name, values in (("lat", [2.0, 1.0]), ("lon", [0.0, 359.0])):
        found = check_axis(xr.DataArray(values, dims=name), name, "m", MapError)
        np.testing.assert_array_equal(found, values)


def test_text_that_commands_a_terminal_is_not_printed(tmp_path):
    assert printable("a\x1b[2Jb\u202ec\x9bd\n") == "a?[2Jb?c?d\n"
    assert printable("Łódź µg 土 \t") == "Łódź µg 土 \t"
    code = (
        "from proda.cli.console import errors, print_table\n"
        "errors.print('x\\x1b[2Jy', soft_wrap=True)\n"
        "print_table('t\\x1b', ['a\\x9b'], [['b\\x1b]0;title\\x07\\u202e']])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    for text in (done.stdout.decode(), done.stderr.decode()):
        assert not set(text) & set("\x1b\x9b\x07\u202e")


def test_a_name_too_long_or_a_folder_in_the_place_of_a_file_is_said(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        files.write_netcdf(made(), tmp_path / ("n" * 300 + ".nc"))
    (tmp_path / "d.nc").mkdir()
    with pytest.raises(FileError, match=r"d\.nc: a folder with this name"):
        files.write_netcdf(made(), tmp_path / "d.nc")
