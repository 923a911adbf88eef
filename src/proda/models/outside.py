"""Models from outside the package: classes in files and modules, and where each came from.

A reference is `path/to/file.py:Class` or `module:Class`. The file is read once: the bytes that are
executed are those whose checksum is stored in every output. A process that receives such a model,
or reads a product of one, loads it from the same location and refuses changed content.
"""

from __future__ import annotations

import contextlib
import copyreg
import hashlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from platform import node
from types import ModuleType
from typing import Any

from proda.checksums import file_digest
from proda.errors import ModelError
from proda.models.model import SoilModel

SOURCE, CHECKSUM = "model_source", "model_checksum"
"""Attributes of outputs: where the class of a model from outside is, and its file's SHA-256."""
ORIGIN = (SOURCE, CHECKSUM)

_DECLARED = ("name", "title", "source", "pools", "soil_pools", "transported", "rows")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_SHOWN = 12
"""Characters of a checksum in a message."""


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model from outside the package came from."""

    source: str
    """`/path/to/file.py:Class`, or `module:Class`."""
    file: str
    """The file that contains the class; empty if there is none."""
    checksum: str
    """SHA-256 of the file."""

    def attributes(self) -> dict[str, str]:
        """Return its description in outputs."""
        return {SOURCE: self.source, CHECKSUM: self.checksum}


_origins: dict[type[SoilModel], ModelOrigin] = {}
_loaded: dict[tuple[str, str], type[SoilModel]] = {}
"""By source and checksum."""


def is_reference(name: str) -> bool:
    """Whether a model is named by the location of its class."""
    return ":" in name


def is_file(reference: str) -> bool:
    """Whether a reference names a file, not a module."""
    place = reference.rpartition(":")[0]
    return place.endswith(".py") or "/" in place or os.sep in place


def absolute(reference: str, base: str | os.PathLike[str] = ".") -> str:
    """Return a reference whose file, if it names one, has its full path; relative ones to `base`.

    Parameters
    ----------
    reference
        A reference; any other name of a model is returned unchanged.
    base
        Folder.
    """
    if not (is_reference(reference) and is_file(reference)):
        return reference
    place, _, name = reference.rpartition(":")
    return f"{Path(base, Path(place).expanduser()).resolve()}:{name}"


def load_class(reference: str, checksum: str = "", made: str = "this result") -> type[SoilModel]:
    """Load a model's class from a file or module.

    Parameters
    ----------
    reference
        `path/to/file.py:Class` or `module:Class`. The file, or the module, is run.
    checksum
        SHA-256 that the file must have; empty: any.
    made
        The product of the file with this checksum, for the message.

    Raises
    ------
    ModelError
        If there is no such file, module or class, it cannot be run, is not a soil model, or the
        file has changed.
    """
    place, _, name = reference.rpartition(":")
    if not (place and name.isidentifier()):
        raise ModelError(
            f"{reference!r} is not a model; expected path/to/file.py:Class or module:Class."
        )
    kind = (
        _from_file(Path(place), name, checksum, made)
        if is_file(reference)
        else _from_module(place, name, checksum, made)
    )
    with contextlib.suppress(TypeError):  # a class that is not a model was refused before
        copyreg.pickle(kind, _reduce)
    return kind


def origin_of(model: SoilModel | type[SoilModel]) -> ModelOrigin | None:
    """Return where a model came from; None for those of this package."""
    kind = model if isinstance(model, type) else type(model)
    if kind.__module__.partition(".")[0] == "proda":
        return None
    if kind not in _origins:  # imported by the user: its file, as far as it has one
        module = sys.modules.get(kind.__module__)
        path = getattr(module, "__file__", None)
        if path is None or not Path(path).is_file():
            _origins[kind] = ModelOrigin(f"{kind.__module__}:{kind.__qualname__}", "", "")
        else:
            file = str(Path(path).resolve())
            _origins[kind] = ModelOrigin(f"{file}:{kind.__qualname__}", file, file_digest(file))
    return _origins[kind]


def provenance(model: SoilModel | type[SoilModel]) -> dict[str, str]:
    """Return the attributes of outputs for the provenance of a model; empty for built-in ones."""
    origin = origin_of(model)
    return {} if origin is None else origin.attributes()


def recorded(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Return the provenance of a model for its products; empty for built-in models."""
    return {name: str(attributes[name]) for name in ORIGIN if name in attributes}


def _from_file(path: Path, name: str, checksum: str, made: str) -> type[SoilModel]:
    target = path.expanduser().resolve()
    try:
        content = target.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{target}: there is no such file{_here()}; it should contain the model {name}."
        ) from error
    except OSError as error:
        raise ModelError(f"{target}: cannot be read{_here()} ({error}).") from error
    digest = hashlib.sha256(content).hexdigest()
    _check(str(target), checksum, digest, made)
    source = f"{target}:{name}"
    if (source, digest) not in _loaded:
        kind = _class(_run(target, content, digest), name, str(target))
        _origins[kind] = ModelOrigin(source, str(target), digest)
        _loaded[source, digest] = kind
    return _loaded[source, digest]


def _from_module(place: str, name: str, checksum: str, made: str) -> type[SoilModel]:
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise ModelError(
                f"{place}: the module cannot be found{_here()}. Install its package, add "
                "its folder to PYTHONPATH, or name the file: path/to/file.py:Class."
            ) from error
        raise ModelError(_fault(place, error)) from error
    except (Exception, SystemExit) as error:
        raise ModelError(_fault(place, error)) from error
    kind = _class(module, name, place)
    if kind.__module__.partition(".")[0] == "proda":
        return kind
    path = inspect.getsourcefile(kind) or getattr(module, "__file__", None) or ""
    if kind not in _origins:
        digest = file_digest(path) if path and Path(path).is_file() else ""
        _origins[kind] = ModelOrigin(f"{place}:{name}", path, digest)
    _check(path or place, checksum, _origins[kind].checksum, made)
    return kind


def _check(file: str, expected: str, digest: str, made: str) -> None:
    if expected and expected != digest:
        raise ModelError(
            f"{file}{_here()}: this file of a model was changed after {made} was made "
            f"(SHA-256 {expected[:_SHOWN]}... then, {digest[:_SHOWN]}... now). Put the earlier "
            "file back, or compute it again with the present file."
        )


_worker = ""


def _here() -> str:
    """Return the host of a process that received a model, for its messages."""
    return f" on {_worker}" if _worker else ""


def _run(path: Path, content: bytes, checksum: str) -> ModuleType:
    """Run a file as a separate module; neither the file nor its folder is on Python's path."""
    module = ModuleType(f"proda_outside_{path.stem}_{checksum[:_SHOWN]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names of annotations
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise ModelError(_fault(str(path), error)) from error
    return module


def _fault(place: str, error: BaseException) -> str:
    """Describe the line at which a file fails, and the error."""
    line: int | None = None
    if isinstance(error, SyntaxError):
        line = error.lineno
        message = error.msg
    else:
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == place]
        line = own[-1].lineno if own else None
        message = f"{type(error).__name__}: {error}"
    where = f", line {line}" if line else ""
    return f"{place}{where}: the file of the model cannot be run ({message})."


def _class(module: ModuleType, name: str, place: str) -> type[SoilModel]:
    kind = getattr(module, name, None)
    if kind is None:
        there = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, SoilModel)
            and value.__module__ == module.__name__
        ]
        hint = f"its models are {', '.join(there)}" if there else "it defines no model"
        raise ModelError(f"{place}: contains no class {name}; {hint}.")
    if not (inspect.isclass(kind) and issubclass(kind, SoilModel)):
        raise ModelError(f"{place}: {name} is not a soil model; derive it from proda.SoilModel.")
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise ModelError(f"{place}: {name} does not define {missing}; see docs/own_model.md.")
    if missing := ", ".join(n for n in _DECLARED if not hasattr(kind, n)):
        raise ModelError(f"{place}: {name} does not declare {missing}; see docs/own_model.md.")
    if not (isinstance(kind.name, str) and _NAME.fullmatch(kind.name)):
        raise ModelError(
            f"{place}: {name} has the name {kind.name!r}; a name, which folders also have, begins "
            "with a letter and contains only letters, digits, _ and -."
        )
    return kind


def _reduce(model: SoilModel) -> tuple[Any, ...]:
    """Send a model to another process as its location and checksum."""
    origin = origin_of(model)
    assert origin is not None
    values = {f.name: getattr(model, f.name) for f in fields(model)}
    return _rebuild, (origin.source, origin.checksum, values)


def _rebuild(source: str, checksum: str, values: dict[str, Any]) -> SoilModel:
    """Load the model that another process sent.

    Raises
    ------
    ModelError
        If its file does not exist here, or differs.
    """
    global _worker
    before, _worker = _worker, node()
    try:
        return load_class(source, checksum, "the model that was sent here")(**values)
    finally:
        _worker = before
