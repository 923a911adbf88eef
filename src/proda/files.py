"""Files that appear only when whole: written under a temporary name, synced, then renamed."""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import logging
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import xarray as xr

from proda.checksums import ATTRIBUTE, check_seal, check_store, seal, seal_store
from proda.errors import FileError, ProdaError, printable
from proda.label import LABEL_COLUMN, label, label_attributes
from proda.lazy import open_lazily
from proda.netcdf3 import missing_bytes
from proda.termination import appearing, begin_file, unfinished

if TYPE_CHECKING:
    import pandas as pd

_notes = logging.getLogger(__name__)


def _writer() -> str:
    """Name this process, apart from those of other machines that share the folder."""
    return f"{node()}.{os.getpid()}"


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str],
    what: str = "file",
    kind: type[ProdaError] = FileError,
    advice: str = "Check that it was copied whole.",
) -> Iterator[None]:
    """Turn whatever a library raises while it reads `path` into one error that names the file.

    Libraries raise many kinds of exception on damaged input (Arrow, HDF5, KeyError, OverflowError,
    RecursionError), which no list of ours follows. Put only the library's own calls into the
    block, never code of this project, whose faults must stay visible.

    Parameters
    ----------
    path
        What is being read.
    what
        What the file should be, for the message: "Parquet table", "netCDF file".
    kind
        The error to raise.
    advice
        What the user can do; one sentence.

    Raises
    ------
    kind
        In place of any exception but those of this project.
    """
    try:
        yield
    except ProdaError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise kind(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise kind(f"{path}: this is a folder; expected a {what}.") from error
    except PermissionError as error:
        raise kind(f"{path}: permission denied. Check the permissions of the file.") from error
    except RecursionError as error:
        raise kind(f"{path}: nested too deeply to be read as a {what}.") from error
    except Exception as error:
        raise kind(f"{path}: not a readable {what} ({_words(error)}). {advice}") from error


def _words(error: BaseException) -> str:
    """Describe an exception in one printable line that starts with its type."""
    text = printable(" ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
    _check_target(target)
    if target.is_dir():
        raise FileError(f"{target}: a folder with this name exists; choose another name.")
    temporary = target.with_name(f".{target.name}.{_writer()}.part")
    begin_file(temporary)
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
        unfinished.discard(temporary)


def remove_abandoned(target: Path) -> None:
    """Remove what :func:`whole_file` left for a target in processes of this machine that are gone.

    Another process may be writing the same file: a worker that a cluster took to be lost.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.{glob.escape(node())}.*.part"):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def read_text(
    path: str | os.PathLike[str], what: str = "text file", kind: type[ProdaError] = FileError
) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises
    ------
    kind
        If it is absent, is a folder, may not be read, or holds other bytes.
    """
    with reading(path, what, kind, "It must be text in UTF-8."):
        return Path(path).read_text(encoding="utf-8-sig")


def read_toml(path: str | os.PathLike[str], kind: type[ProdaError] = FileError) -> dict[str, Any]:
    """Read a TOML file; a byte order mark of UTF-8, which some editors write, is left out.

    Raises
    ------
    kind
        If it cannot be read, is not TOML, is nested too deeply, or holds a Windows path in double
        quotes, in which TOML takes a backslash and a letter for another character.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise kind(f"{path}: cannot be read as settings ({error}).") from error
    return parse_toml(content, str(path), kind)


def parse_toml(content: bytes, path: str, kind: type[ProdaError] = FileError) -> dict[str, Any]:
    """Return what the bytes of a TOML file say; `path` is its name for errors.

    Raises
    ------
    kind
        As `read_toml`.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise kind(f"{path}: is UTF-16 text; save it as UTF-8.")
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        advice = _BACKSLASH if "\\" in str(error) or "hex value" in str(error) else ""
        raise kind(f"{path}: cannot be read as settings ({error}).{advice}") from error
    except UnicodeDecodeError as error:
        raise kind(
            f"{path}: cannot be read as settings: byte 0x{content[error.start]:02x} in line "
            f"{content[: error.start].count(10) + 1} is not UTF-8; save it as UTF-8."
        ) from error
    except RecursionError as error:
        raise kind(f"{path}: nested too deeply to be settings.") from error
    except ValueError as error:  # numbers and dates beyond what Python holds
        raise kind(f"{path}: cannot be read as settings ({error}).") from error
    for name, value in _texts(values):
        if _MANGLED.match(value):
            raise kind(f"{path}: {name} = {value!r} holds control characters.{_BACKSLASH}")
    return values


_MANGLED = re.compile(r"[A-Za-z]:(?:[\\/][^\n]*)?[\t\n\r\f\x08\x1b\0]\S")
_BACKSLASH = (
    " In double quotes a backslash starts an escape sequence; write a Windows path in "
    "single quotes, or with /: 'C:\\data\\new' or \"C:/data/new\"."
)


def _texts(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of nested settings with its place."""
    if isinstance(values, str):
        yield name, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _texts(value, f"{name}.{key}".lstrip("."))
    elif isinstance(values, list):
        for i, value in enumerate(values):
            yield from _texts(value, f"{name}[{i}]")


def read_json(
    path: str | os.PathLike[str],
    what: str = "JSON file",
    kind: type[ProdaError] = FileError,
    advice: str = "Check that it was copied whole.",
) -> Any:
    """Read a JSON file.

    Raises
    ------
    kind
        If it cannot be read, or is not JSON.
    """
    text = read_text(path, what, kind)
    with reading(path, what, kind, advice):
        return json.loads(text)


def read_npz(path: str | os.PathLike[str], what: str = "NumPy archive") -> dict[str, np.ndarray]:
    """Read all arrays of a .npz file; objects, which could run code, are refused.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    with (
        reading(path, what),
        Path(path).open("rb") as stream,
        np.load(stream, allow_pickle=False) as data,
    ):
        return {name: data[name] for name in data.files}


def read_csv(
    path: str | os.PathLike[str],
    needed: Sequence[str] = (),
    what: str = "CSV table",
    kind: type[ProdaError] = FileError,
    **options: Any,
) -> pd.DataFrame:
    """Read a table of comma-separated values.

    Parameters
    ----------
    path
        In UTF-8.
    needed
        Columns that it must have.
    what, kind
        As for :func:`reading`.
    options
        Of :func:`pandas.read_csv`.

    Raises
    ------
    kind
        If it cannot be read, lacks a column, or holds one twice.
    """
    import pandas as pd

    with reading(path, what, kind):
        # The names as they are written: pandas calls the second of two alike NAME.1.
        names = pd.read_csv(
            path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
        table = pd.read_csv(path, encoding="utf-8-sig", **options)
    _check_columns(path, [str(n) for n in names.iloc[0]], needed, kind)
    return table


def read_parquet(
    path: str | os.PathLike[str],
    needed: Sequence[str] = (),
    kind: type[ProdaError] = FileError,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read a Parquet table; pages that carry a checksum are compared with it.

    Parameters
    ----------
    path
        The file.
    needed
        Columns that it must have.
    kind
        The error to raise.
    columns
        Read these alone; None: all.

    Raises
    ------
    kind
        If it cannot be read, lacks a column, or holds one twice.
    """
    import pyarrow.parquet as pq

    with reading(path, "Parquet table", kind):
        if Path(path).is_dir():
            raise IsADirectoryError(path)
        names = pq.ParquetFile(path).schema_arrow.names
    _check_columns(path, names, (*needed, *(columns or ())), kind)
    with reading(path, "Parquet table", kind):
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        return table.to_pandas()


def write_parquet(
    table: pd.DataFrame, path: str | os.PathLike[str], index: bool | None = None
) -> None:
    """Write a Parquet table whose pages carry checksums, completely or not at all.

    Raises
    ------
    FileError
        If the folder does not exist, or the disk is full or not writable.
    """
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=index, engine="pyarrow", write_page_checksum=True)


def write_tables(
    tables: Mapping[str, pd.DataFrame],
    folder: str | os.PathLike[str],
    kind: type[ProdaError] = FileError,
) -> None:
    """Write each table as a CSV of its name into a folder, created if absent.

    Raises
    ------
    ProdaError
        Of this kind, if the folder cannot be made.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise kind(f"{target}: cannot be made ({error}).") from error
    for name, table in tables.items():
        write_csv(table, target / f"{name}.csv")


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table of results; a column says so where the method is not ours."""
    with whole_file(path) as temporary:
        (table.assign(**{LABEL_COLUMN: label()}) if label() else table).to_csv(
            temporary, index=False
        )


def _check_columns(
    path: str | os.PathLike[str],
    names: Sequence[str],
    needed: Sequence[str],
    kind: type[ProdaError],
) -> None:
    if missing := [n for n in dict.fromkeys(needed) if n not in names]:
        raise kind(
            f"{path}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{', '.join(names[:20]) or 'none'}."
        )
    if twice := [n for n in dict.fromkeys(names) if names.count(n) > 1]:
        raise kind(f"{path}: the column {twice[0]} appears twice.")


def write_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a Dataset as compressed netCDF-4, completely or not at all.

    Raises
    ------
    FileError
        If the folder does not exist, or the disk is full or not writable.
    """
    encoding = {
        name: {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "fiu" and variable.ndim > 0
    }
    dataset = dataset.copy().assign_attrs(label_attributes())
    for variable in dataset.variables.values():
        # The width of text as some file held it: xarray would cut longer names to it.
        if variable.dtype.kind in "UT":
            variable.encoding.pop("dtype", None)
    with whole_netcdf(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)


@contextlib.contextmanager
def whole_netcdf(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path for a netCDF-4 file that becomes `path`, with its checksum.

    Raises
    ------
    FileError
        If the folder does not exist, or the disk is full or not writable.
    """
    with whole_file(path) as temporary:
        try:
            yield temporary
        except RuntimeError as error:  # the library does not say why: most often the disk is full
            free = shutil.disk_usage(temporary.parent).free
            raise OSError(f"{error}; {free / 1e6:,.0f} MB are free on that disk") from error
        seal(temporary)


def check_whole(path: str | os.PathLike[str]) -> None:
    """Refuse a classic netCDF file that was cut short; the library would read zeros instead.

    Raises
    ------
    FileError
        Naming the file and how much is missing.
    """
    if short := missing_bytes(path):
        raise FileError(
            f"{path}: not a readable netCDF file: cut short or damaged, at least {short:,} bytes "
            "are missing. Copy it again."
        )


def open_netcdf(path: str | os.PathLike[str], result: bool = False) -> xr.Dataset:
    """Open a netCDF file, or say plainly which file could not be read.

    A file that carries a checksum is compared with it. Variables are read when they are needed; if
    one cannot be, the error names it and the file.

    Parameters
    ----------
    path
        The file.
    result
        Whether it should be a result of proda: a note says so if it carries no checksum.

    Raises
    ------
    FileError
        If the file is absent, damaged, or is not netCDF.
    """
    target = Path(path)
    with reading(target, "netCDF file"):
        if target.is_dir():
            raise IsADirectoryError(target)
        sealed = check_seal(target)
        check_whole(target)
    advice = "Check that it was copied whole; `ncdump -h` shows what it holds."
    with reading(target, "netCDF file", advice=advice):
        dataset = open_lazily(target, "netcdf4", functools.partial(_variable, target))
    if result and not sealed:
        _note_unsealed(target)
    return dataset


@contextlib.contextmanager
def _variable(path: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Name file and variable if the values of one cannot be read."""
    try:
        yield
    except ProdaError:
        raise
    except Exception as error:
        raise FileError(
            f"{path}: {name} cannot be read ({_words(error)}); the file is damaged, copy it again "
            "or make it again."
        ) from error


def _note_unsealed(path: Path) -> None:
    _notes.warning(
        "%s carries no checksum: an earlier version of proda or another program wrote it, and "
        "damage to its values would not be noticed.",
        printable(str(path)),
    )


@contextlib.contextmanager
def whole_folder(
    path: str | os.PathLike[str], marker: str = "zarr.json", kind: str = "Zarr store"
) -> Iterator[Path]:
    """Yield a temporary folder name that becomes `path` only if the block succeeds.

    An older folder of the same kind is replaced at the end and stays as it was on any error.

    Parameters
    ----------
    path
        The folder to be.
    marker, kind
        The file that tells such a folder from any other, and what the folder is called.

    Raises
    ------
    FileError
        If something of another kind already lies at `path`, the folder above it does not exist,
        or the disk is full or not writable.
    """
    target = Path(path)
    _check_target(target)
    if target.exists() and not (target / marker).is_file():
        raise FileError(
            f"{target} exists and is not a {kind}; it was not changed. Choose another name."
        )
    temporary = target.with_name(f".{target.name}.{_writer()}.part")
    retired = target.with_name(f".{target.name}.{_writer()}.old")
    begin_file(temporary)
    try:
        yield temporary
        _sync(temporary)
        with appearing:
            if target.exists():  # two renames: for a moment there is none, but never a mixture
                target.rename(retired)
            temporary.rename(target)
    except OSError as error:
        if retired.exists() and not target.exists():
            retired.rename(target)
        raise FileError(f"{target}: could not be written ({error}); nothing was kept.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        unfinished.discard(temporary)
        if target.exists():
            shutil.rmtree(retired, ignore_errors=True)


def _check_target(target: Path) -> None:
    """Say early that there is no place for a file: the folder is not there, the name is too long.

    Raises
    ------
    FileError
        Naming the folder or the path.
    """
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise FileError(f"{target}: cannot be written ({error.strerror}).") from error
    if not target.parent.is_dir():
        raise FileError(f"{target}: the folder {target.parent} does not exist; create it first.")


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def write_zarr(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a Dataset as a Zarr (version 3) store, completely or not at all, block by Dask block.

    Parameters
    ----------
    dataset
        In memory or lazy; a lazy one is computed block by block, so that only a few blocks are in
        memory at a time. Chunks on disk are the Dask chunks.
    path
        Folder of the store; an older store there is replaced.
    on_progress
        Called with (tasks done, tasks in all) while a lazy Dataset is computed in this process.
    """
    from dask.callbacks import Callback
    from zarr.codecs import Crc32cCodec, ZstdCodec

    done = [0, 0]

    def start(graph: Any) -> None:
        done[:] = [0, len(graph)]

    def after(*_: Any) -> None:
        done[0] += 1
        if on_progress is not None:
            on_progress(done[0], done[1])

    # Zarr 3 specifies variable-length strings but not the fixed-length ones that NumPy makes.
    # In memory, because xarray warns of lazy objects.
    text = {
        n: xr.Variable(
            v.dims,
            v.to_numpy().astype(object),
            v.attrs,
            {key: x for key, x in v.encoding.items() if key != "dtype"},
        )
        for n, v in dataset.variables.items()
        if v.dtype.kind in "UTO"
    }
    dataset = dataset.assign({n: v for n, v in text.items() if n in dataset.data_vars})
    dataset = dataset.assign_coords({n: v for n, v in text.items() if n in dataset.coords})
    for variable in dataset.variables.values():  # chunks of the file that the data came from
        for key in ("chunks", "preferred_chunks", "compressors", "filters", "shards", "serializer"):
            variable.encoding.pop(key, None)
    encoding = {name: {"compressors": (ZstdCodec(), Crc32cCodec())} for name in dataset.variables}
    with whole_folder(path) as temporary, Callback(start=start, posttask=after):  # type: ignore[no-untyped-call]
        dataset.to_zarr(temporary, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
        seal_store(temporary)
        if on_progress is not None:  # what the graph holds as plain data is never a task
            on_progress(done[1], done[1])


def open_dataset(path: str | os.PathLike[str], result: bool = False) -> xr.Dataset:
    """Open a netCDF file or a Zarr store (lazily, with its chunks), whichever `path` is.

    A file or store that carries checksums is compared with them: a netCDF file whole, of a store
    the metadata and which chunks there are; the bytes of a chunk when it is read.

    Parameters
    ----------
    path
        File or folder.
    result
        Whether it should be a result of proda: a note says so if it carries no checksum.

    Raises
    ------
    FileError
        If there is nothing at `path`, it is neither, or is damaged.
    """
    target = Path(path)
    with reading(target):
        is_folder = target.is_dir()
    if not is_folder:
        return open_netcdf(target, result)
    with reading(target, "Zarr store"):
        has_metadata = (target / "zarr.json").is_file()
    if not has_metadata:
        raise FileError(f"{target}: a folder, but not a Zarr store (it holds no zarr.json).")
    with reading(target, "Zarr store"):
        sealed = check_store(target)
        dataset = open_lazily(
            target, "zarr", functools.partial(_variable, target), chunked=True, consolidated=False
        )
        dataset.attrs.pop(ATTRIBUTE, None)
        text = {n: v for n, v in dataset.coords.items() if v.dtype.kind == "T"}
        dataset = dataset.assign_coords(
            {
                n: (
                    v.dims,
                    np.array([str(x) for x in v.to_numpy().ravel()], object).reshape(v.shape),
                    v.attrs,
                )
                for n, v in text.items()
            }
        )
    if result and not sealed:
        _note_unsealed(target)
    return dataset


def load(dataset: xr.Dataset, where: str | os.PathLike[str]) -> xr.Dataset:
    """Read all variables into memory, or name the one whose bytes are damaged.

    A damaged header is met when a file is opened, damaged values only here.

    Raises
    ------
    FileError
        Naming `where` and the variable.
    """
    for name in dataset.variables:
        with _variable(where, str(name)):
            dataset.variables[name].load()  # a DataArray would gather its coordinates as well
    return dataset


def write_dataset(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write netCDF-4 or Zarr by the ending of `path` (.nc or .zarr), completely or not at all.

    Raises
    ------
    FileError
        If the ending is another one.
    """
    ending = Path(path).suffix.lower()
    if ending == ".zarr":
        write_zarr(dataset, path)
    elif ending in (".nc", ".nc4"):
        write_netcdf(dataset, path)
    else:
        raise FileError(f"{path}: cannot write a {ending or 'file without ending'}; use .nc, .zarr")
