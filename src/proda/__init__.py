"""proda: process-guided, data-driven modelling of soil carbon.

The names in `__all__` are the public Python interface; semantic versioning applies to them. All
other modules are internal and may change in any release.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proda.api import Assimilation as Assimilation
    from proda.api import ProfileTables as ProfileTables
    from proda.api import SampledCovariates as SampledCovariates
    from proda.api import SampledForcing as SampledForcing
    from proda.api import assimilate as assimilate
    from proda.api import attribute as attribute
    from proda.api import build_profiles as build_profiles
    from proda.api import compare as compare
    from proda.api import diagnose as diagnose
    from proda.api import estimate_forcing as estimate_forcing
    from proda.api import evaluate as evaluate
    from proda.api import map_carbon as map_carbon
    from proda.api import open_assimilation as open_assimilation
    from proda.api import open_profiles as open_profiles
    from proda.api import predict as predict
    from proda.api import sample_covariates as sample_covariates
    from proda.api import sample_forcing as sample_forcing
    from proda.api import train as train
    from proda.api import train_end_to_end as train_end_to_end
    from proda.attribution.attribute import Attribution as Attribution
    from proda.attribution.attribution_inputs import AttributedMap as AttributedMap
    from proda.attribution.attribution_inputs import SiteFiles as SiteFiles
    from proda.blocks.executor import Stopped as Stopped
    from proda.citations import Citations as Citations
    from proda.citations import cite as cite
    from proda.comparison.compare_models import Comparison as Comparison
    from proda.comparison.model_files import ModelFiles as ModelFiles
    from proda.errors import AssimilationError as AssimilationError
    from proda.errors import ComparisonError as ComparisonError
    from proda.errors import FileError as FileError
    from proda.errors import ForcingError as ForcingError
    from proda.errors import LearningError as LearningError
    from proda.errors import MapError as MapError
    from proda.errors import ModelError as ModelError
    from proda.errors import ObservationError as ObservationError
    from proda.errors import ParameterError as ParameterError
    from proda.errors import ProdaError as ProdaError
    from proda.examples import example_columns as example_columns
    from proda.forcing import Forcing as Forcing
    from proda.inference.assessment import Assessment as Assessment
    from proda.inference.assessment import kept_posterior as kept_posterior
    from proda.inference.assimilation_settings import AssimilationSettings as AssimilationSettings
    from proda.inference.diagnostics.filter import Filter as Filter
    from proda.learning.end_to_end_settings import EndToEndSettings as EndToEndSettings
    from proda.learning.evaluate import Evaluation as Evaluation
    from proda.learning.from_posteriors import TrainingResult as TrainingResult
    from proda.learning.learning_settings import LearningSettings as LearningSettings
    from proda.learning.through_model import ThroughResult as EndToEndResult
    from proda.models.model import Reason as Reason
    from proda.models.model import SoilModel as SoilModel
    from proda.models.registry import load_model as load_model
    from proda.observations.profile_settings import ProfileSettings as ProfileSettings
    from proda.projection.columns import project as project
    from proda.simulate import components as components
    from proda.simulate import default_parameters as default_parameters
    from proda.simulate import integrate as integrate
    from proda.simulate import steady_state as steady_state
    from proda.study.twin import TwinWorld as SyntheticWorld
    from proda.study.twin import make_twin_world as make_synthetic_world

_HOME = {
    "Assessment": "proda.inference.assessment",
    "Assimilation": "proda.api",
    "AssimilationError": "proda.errors",
    "AssimilationSettings": "proda.inference.assimilation_settings",
    "AttributedMap": "proda.attribution.attribution_inputs",
    "Attribution": "proda.attribution.attribute",
    "Citations": "proda.citations",
    "Comparison": "proda.comparison.compare_models",
    "ComparisonError": "proda.errors",
    "EndToEndResult": "proda.learning.through_model:ThroughResult",
    "EndToEndSettings": "proda.learning.end_to_end_settings",
    "Evaluation": "proda.learning.evaluate",
    "FileError": "proda.errors",
    "Filter": "proda.inference.diagnostics.filter",
    "Forcing": "proda.forcing",
    "ForcingError": "proda.errors",
    "LearningError": "proda.errors",
    "LearningSettings": "proda.learning.learning_settings",
    "MapError": "proda.errors",
    "ModelError": "proda.errors",
    "ModelFiles": "proda.comparison.model_files",
    "ObservationError": "proda.errors",
    "ParameterError": "proda.errors",
    "ProdaError": "proda.errors",
    "ProfileSettings": "proda.observations.profile_settings",
    "ProfileTables": "proda.api",
    "Reason": "proda.models.model",
    "SampledCovariates": "proda.api",
    "SampledForcing": "proda.api",
    "SiteFiles": "proda.attribution.attribution_inputs",
    "SoilModel": "proda.models.model",
    "Stopped": "proda.blocks.executor",
    "SyntheticWorld": "proda.study.twin:TwinWorld",
    "TrainingResult": "proda.learning.from_posteriors",
    "assimilate": "proda.api",
    "attribute": "proda.api",
    "build_profiles": "proda.api",
    "cite": "proda.citations",
    "compare": "proda.api",
    "components": "proda.simulate",
    "default_parameters": "proda.simulate",
    "diagnose": "proda.api",
    "estimate_forcing": "proda.api",
    "evaluate": "proda.api",
    "example_columns": "proda.examples",
    "integrate": "proda.simulate",
    "kept_posterior": "proda.inference.assessment",
    "load_model": "proda.models.registry",
    "make_synthetic_world": "proda.study.twin:make_twin_world",
    "map_carbon": "proda.api",
    "open_assimilation": "proda.api",
    "open_profiles": "proda.api",
    "predict": "proda.api",
    "project": "proda.projection.columns",
    "sample_covariates": "proda.api",
    "sample_forcing": "proda.api",
    "steady_state": "proda.simulate",
    "train": "proda.api",
    "train_end_to_end": "proda.api",
}
"""Where each public name is defined (MODULE, or MODULE:NAME where it has another name there).

A module is imported when one of its names is first used: `import proda` imports none of them.
"""

__all__ = [
    "Assessment",
    "Assimilation",
    "AssimilationError",
    "AssimilationSettings",
    "AttributedMap",
    "Attribution",
    "Citations",
    "Comparison",
    "ComparisonError",
    "EndToEndResult",
    "EndToEndSettings",
    "Evaluation",
    "FileError",
    "Filter",
    "Forcing",
    "ForcingError",
    "LearningError",
    "LearningSettings",
    "MapError",
    "ModelError",
    "ModelFiles",
    "ObservationError",
    "ParameterError",
    "ProdaError",
    "ProfileSettings",
    "ProfileTables",
    "Reason",
    "SampledCovariates",
    "SampledForcing",
    "SiteFiles",
    "SoilModel",
    "Stopped",
    "SyntheticWorld",
    "TrainingResult",
    "assimilate",
    "attribute",
    "build_profiles",
    "cite",
    "compare",
    "components",
    "default_parameters",
    "diagnose",
    "estimate_forcing",
    "evaluate",
    "example_columns",
    "integrate",
    "kept_posterior",
    "load_model",
    "make_synthetic_world",
    "map_carbon",
    "open_assimilation",
    "open_profiles",
    "predict",
    "project",
    "sample_covariates",
    "sample_forcing",
    "steady_state",
    "train",
    "train_end_to_end",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'proda' has no attribute {name!r}")
    module, _, own = _HOME[name].partition(":")
    value = getattr(importlib.import_module(module), own or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
