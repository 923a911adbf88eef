"""Files appear only when whole."""

from __future__ import annotations

import pytest
import xarray as xr

from proda.errors import FileError
from proda.files import open_netcdf, whole_file, write_netcdf


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_success_replaces_it(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with whole_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(FileError, match=r"x.nc: could not be written .*nothing was kept"):
        with whole_file(tmp_path / "x.nc") as temporary:
            temporary.write_bytes(b"part")
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_met_by_the_netcdf_library_is_named(tmp_path, monkeypatch):
    """The library raises RuntimeError("NetCDF: HDF error"), whatever the cause."""

    def fail(self, path, **_):
        path.write_bytes(b"part")
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(FileError, match=r"HDF error; [\d,]+ MB are free on that disk\); nothing"):
        write_netcdf(xr.Dataset(), tmp_path / "x.nc")
    assert not list(tmp_path.iterdir())


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(FileError, match="create it first"):
        write_netcdf(xr.Dataset(), tmp_path / "no" / "x.nc")
    with pytest.raises(FileError, match="no such file"):
        open_netcdf(tmp_path / "x.nc")


def test_text_is_not_cut_to_the_width_it_was_read_with(tmp_path):
    """xarray hands on the width of the first file that it joins."""
    for name in ("ab", "abcdef"):
        dataset = xr.Dataset({"x": ("site", [1.0])}, {"site": [name]})
        write_netcdf(dataset, tmp_path / f"{name}.nc")
    with (
        xr.open_dataset(tmp_path / "ab.nc") as short,
        xr.open_dataset(tmp_path / "abcdef.nc") as long,
    ):
        joined = xr.concat([short, long], dim="site").load()
    write_netcdf(joined, tmp_path / "joined.nc")
    with open_netcdf(tmp_path / "joined.nc") as read:
        assert read["site"].to_numpy().tolist() == ["ab", "abcdef"]
