"""proda: process-guided, data-driven modelling of soil carbon."""

import jax

# Pools span twenty orders of magnitude; every number of this package is float64.
jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

from proda.errors import (  # noqa: E402 - float64 first
    FileError,
    ForcingError,
    ModelError,
    ParameterError,
    ProdaError,
)
from proda.examples import example_columns  # noqa: E402
from proda.forcing import Forcing  # noqa: E402
from proda.models.model import Reason, SoilModel  # noqa: E402
from proda.models.registry import load_model  # noqa: E402
from proda.simulate import (  # noqa: E402
    components,
    default_parameters,
    integrate,
    steady_state,
)

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
