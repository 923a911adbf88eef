"""Files that appear only when whole: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from proda.errors import FileError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` only if the block succeeds.

    The temporary file lies beside the target, so the final rename is atomic; on any error it is
    removed and an older file at `path` stays as it was.

    Raises
    ------
    FileError
        If the folder does not exist, or the disk is full or not writable.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileError(f"{target}: the folder {target.parent} does not exist; create it first.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except OSError as error:
        raise FileError(f"{target}: could not be written ({error}); nothing was kept.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a Dataset as compressed netCDF-4, whole or not at all."""
    encoding = {
        name: {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "fiu" and variable.ndim > 0
    }
    with whole_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)


def open_netcdf(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a netCDF file, or say plainly which file could not be read.

    Raises
    ------
    FileError
        If the file is absent or is not netCDF.
    """
    target = Path(path)
    if not target.is_file():
        raise FileError(f"{target}: there is no such file.")
    try:
        return xr.open_dataset(target, engine="netcdf4")
    except (OSError, ValueError) as error:
        raise FileError(
            f"{target}: not a readable netCDF file ({error}). "
            "Check that it was copied whole; `ncdump -h` shows what it holds."
        ) from error
