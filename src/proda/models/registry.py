"""The models by name. A new model is one file and one line here.

Models from outside the package are named by an entry point (group `proda.models`) of an installed
package, or by the location of their class; see `outside.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from proda.errors import ModelError
from proda.models.clm5 import CLM5
from proda.models.compas import COMPAS
from proda.models.compas_family import COMPASECA, COMPASDensity, COMPASMultiplicative
from proda.models.compas_mixed import COMPASMixed
from proda.models.compas_reverse import COMPASReverse
from proda.models.corpse import CORPSE
from proda.models.millennial import Millennial
from proda.models.mimics import MIMICS
from proda.models.model import SoilModel
from proda.models.outside import CHECKSUM, SOURCE, is_reference, load_class, recorded
from proda.models.rothc import RothC, RothCQ10

MODELS: dict[str, type[SoilModel]] = {
    model.name: model
    for model in (
        CLM5,
        COMPAS,
        COMPASReverse,
        COMPASMultiplicative,
        COMPASECA,
        COMPASDensity,
        COMPASMixed,
        RothC,
        RothCQ10,
        MIMICS,
        CORPSE,
        Millennial,
    )
}


GROUP = "proda.models"
"""Group of the entry points by which installed packages add models."""


def load_model(name: str, variant: str = "default") -> SoilModel:
    """Return a model by name.

    Parameters
    ----------
    name
        `"clm5"`, `"compas"`, `"rothc"`, ...; `proda models` lists them, with those of installed
        packages. A model of your own is named by the location of its class:
        `"path/to/file.py:Class"`, or `"module:Class"` where the module can be imported.
    variant
        `"default"`, or, for the two models of the study, `"published"` to reproduce the published
        code with its known faults (carbon leaks below bedrock and input into bedrock; for COMPAS
        also the product of mean modifiers and a further rule of rejection).

    Raises
    ------
    ModelError
        If the model or variant does not exist, or its file cannot be run.

    Examples
    --------
    >>> import proda
    >>> model = proda.load_model("compas")
    >>> model.parameters.loc["tau_mic", "unit"]
    'yr'
    """
    return model_class(name)(variant=variant)


def model_name(name: str) -> str:
    """Return the name of a model from its name or the location of its class."""
    return model_class(name).name if is_reference(name) else name


def load_recorded(attributes: Mapping[Any, Any], made: str) -> SoilModel:
    """Return the model with which a product was computed.

    Parameters
    ----------
    attributes
        Of the product: `model`, `variant`, and of a model from outside `model_source` and
        `model_checksum`.
    made
        The product, for the message.

    Raises
    ------
    ModelError
        If the model does not exist any more, or its file has changed.
    """
    variant = str(attributes.get("variant", "default"))
    origin = recorded(attributes)
    if SOURCE not in origin:
        return load_model(str(attributes["model"]), variant)
    return model_class(origin[SOURCE], origin.get(CHECKSUM, ""), made)(variant=variant)


def model_class(name: str, checksum: str = "", made: str = "this result") -> type[SoilModel]:
    """Return the class of a model; a file with another checksum is refused."""
    if name in MODELS:
        return MODELS[name]
    if is_reference(name):
        return _not_ours(load_class(name, checksum, made), name)
    points = installed().get(name, ())
    if not points:
        known = ", ".join([*MODELS, *installed()])
        raise ModelError(
            f"Unknown model {name!r}; choose one of {known}. A model of your own is named by "
            "its location: path/to/file.py:Class."
        )
    if len(points) > 1:
        places = " and ".join(f"{_package(entry)} ({entry.value})" for entry in points)
        raise ModelError(
            f"Several installed packages have a model {name!r}: {places}. Uninstall one, or "
            "name the model by module:Class."
        )
    kind = _not_ours(load_class(points[0].value, checksum, made), points[0].value)
    if kind.name != name:
        raise ModelError(
            f"The package {_package(points[0])} calls the model {points[0].value} {name!r}, and "
            f"its class says {kind.name!r}; the two must agree."
        )
    return kind


def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entry points of installed packages by name; more than one is a conflict."""
    entries_by_name: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        # A package that is on the path twice has the same entries twice.
        entries_by_name.setdefault(entry.name, {})[_package(entry), entry.value] = entry
    return {name: tuple(entries.values()) for name, entries in sorted(entries_by_name.items())}


def installed_models() -> tuple[dict[str, type[SoilModel]], list[str]]:
    """Return the models of installed packages by name, and the faults of the others."""
    loaded, faults = {}, []
    for name, entries in installed().items():
        if name in MODELS:
            faults.append(
                f"The package {_package(entries[0])} adds a model {name!r} ({entries[0].value}), "
                f"which is the name of a model of proda; {name} is that of proda."
            )
            continue
        try:
            loaded[name] = model_class(name)
        except ModelError as error:
            faults.append(str(error))
    return loaded, faults


def _package(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else str(entry.dist.name)


def _not_ours(kind: type[SoilModel], reference: str) -> type[SoilModel]:
    """Refuse a model with the name of a built-in one: outputs could not be distinguished."""
    if MODELS.get(kind.name, kind) is not kind:
        raise ModelError(
            f"{reference}: its name {kind.name!r} is already that of a model of proda; choose "
            "another name."
        )
    return kind
