"""proda: process-guided, data-driven modelling of soil carbon."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proda.errors import FileError, ForcingError, ModelError, ParameterError, ProdaError
    from proda.examples import example_columns
    from proda.forcing import Forcing
    from proda.models.model import Reason, SoilModel
    from proda.models.registry import load_model
    from proda.simulate import components, default_parameters, integrate, steady_state

_HOME = {
    "FileError": "proda.errors",
    "Forcing": "proda.forcing",
    "ForcingError": "proda.errors",
    "ModelError": "proda.errors",
    "ParameterError": "proda.errors",
    "ProdaError": "proda.errors",
    "Reason": "proda.models.model",
    "SoilModel": "proda.models.model",
    "components": "proda.simulate",
    "default_parameters": "proda.simulate",
    "example_columns": "proda.examples",
    "integrate": "proda.simulate",
    "load_model": "proda.models.registry",
    "steady_state": "proda.simulate",
}
"""Where each public name lives; it is imported when first used, so that `proda --help` is quick."""

__all__ = [
    "FileError",
    "Forcing",
    "ForcingError",
    "ModelError",
    "ParameterError",
    "ProdaError",
    "Reason",
    "SoilModel",
    "components",
    "default_parameters",
    "example_columns",
    "integrate",
    "load_model",
    "steady_state",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proda' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
