"""The settings of a study: one TOML file, checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from proda import faults
from proda.attribution.single import SAMPLE
from proda.blocks.cluster_settings import read_cluster
from proda.drivers.forcing_settings import ClimateSettings, NearestSettings
from proda.errors import ModelError, ProdaError, StudyError
from proda.files import read_toml
from proda.forcing import SITE_PROPERTIES
from proda.inference.assimilation_settings import AssimilationSettings, AssimilationWork
from proda.inference.diagnostics.filter import Filter
from proda.inference.filter_settings import FilterSettings
from proda.inference.problem import checked_settings
from proda.learning.learning_settings import LearningSettings, PresetSettings, preset_of
from proda.maps.map_settings import MapSettings
from proda.models.outside import absolute, is_reference
from proda.models.registry import MODELS, installed, model_class
from proda.observations.profile_settings import ProfileSettings, from_mapping
from proda.projection.experiments import experiments_named
from proda.projection.projection_settings import ProjectionSettings
from proda.settings_table import SettingsTable, without
from proda.study.methods import OWN_COST, Method, with_method
from proda.study.route_settings import EndToEnd, Learning, with_route
from proda.validation_settings import FOLDS, PosteriorValidation

OF_THE_STUDY = ("model", "variant", "seed", "streams")
"""Settings of an assimilation that the study sets for all its stages."""


def _named_by(reference: str) -> str:
    """Return the name of a model; an error names the setting."""
    try:
        return model_class(reference).name
    except ModelError as error:
        raise ValueError(str(error).rstrip(".")) from error


class GeneralSection(SettingsTable):
    """`[study]`."""

    name: str = Field(min_length=1, description="Title of the report.")
    models: tuple[str, ...] = Field(
        ("clm5", "compas"),
        min_length=1,
        description="Models to confront with the profiles: by name, or path/to/file.py:Class.",
    )
    sources: dict[str, str] = Field(
        default_factory=dict,
        description="Where the classes of models from outside the package are, by name; taken from "
        "models.",
    )
    method: Method = Field(
        "ours",
        description="ours; or published: models, costs, sampler, comparison at mid-depth, network "
        "and default map as published, for comparison. It sets all settings that are not given.",
    )
    variant: str = Field("default", description="Variant of the models: default, or published.")
    seed: int = Field(0, ge=0, lt=2**32, description="Root of all random numbers.")
    streams: dict[str, Path] = Field(
        default_factory=dict,
        description="Data beside carbon, for both routes: name of the stream = folder of `proda "
        "streams build` at the profiles of this study.",
    )
    truth: Path | None = Field(
        None,
        description="Folder of a synthetic world, whose truth_MODEL.nc the report compares with: "
        "the data are synthetic.",
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """Replace places of models by their names, and keep the places in sources."""
        models = given.get("models") if isinstance(given, dict) else None
        sources = given.get("sources", {}) if isinstance(given, dict) else None
        if not (isinstance(models, list | tuple) and isinstance(sources, dict)):
            return given
        names, places = [], dict(sources)
        for model in models:
            name = model
            if isinstance(model, str) and is_reference(model):
                name = _named_by(model)
                if places.get(name, model) != model:
                    raise ValueError(f"two models have the name {name}: {places[name]} and {model}")
                if name in names:
                    raise ValueError(f"the model {name} appears twice")
                if name not in MODELS:
                    places[name] = model
            names.append(name)
        return {**given, "models": names, "sources": places}

    @model_validator(mode="after")
    def _known(self) -> GeneralSection:
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model appears twice")
        if odd := [name for name in self.sources if name not in self.models]:
            raise ValueError(f"sources names {', '.join(odd)}, which is not among the models")
        known = [*MODELS, *installed(), *self.sources]
        if unknown := [name for name in self.models if name not in known]:
            raise ValueError(
                f"unknown model {', '.join(unknown)}; choose one of {', '.join(known)}"
            )
        for name in self.models:
            if (own_name := _named_by(self.reference(name))) != name:
                raise ValueError(
                    f"the model {self.reference(name)} is called {own_name}, not {name}"
                )
        return self

    def reference(self, model: str) -> str:
        """Return the argument of `load_model` for a model of the study."""
        return self.sources.get(model, model)


class ForcingFiles(SettingsTable):
    """Where the forcing on the grid comes from."""

    climate: Path | None = Field(
        None, description="Annual climate on lat, lon, from which forcing is estimated."
    )
    file: Path | None = Field(
        None, description="Existing forcing on a grid (`proda forcing`), instead of climate."
    )
    names: dict[str, str] = Field(
        default_factory=dict, description="Names of variables: our name = name in the file."
    )


class ForcingSection(NearestSettings, ClimateSettings, ForcingFiles):
    """`[forcing]`."""

    @model_validator(mode="after")
    def _one(self) -> ForcingSection:
        if self.drainage is not None and self.climate is None:
            raise ValueError("drainage applies only with climate, from which forcing is estimated")
        if (self.climate is None) == (self.file is None):
            raise ValueError("give climate, or file, and not both")
        if self.climate is None and self.rules != type(self).model_fields["rules"].default:
            raise ValueError("rules apply only with climate, from which forcing is estimated")
        return self


class CovariateFiles(SettingsTable):
    """Where the covariates come from."""

    grid: Path = Field(description="Covariates on lat, lon (netCDF or Zarr).")


class CovariatesSection(NearestSettings, CovariateFiles):
    """`[covariates]`."""


_OfModels: Any = without(AssimilationSettings, *OF_THE_STUDY)


class AssimilationSection(AssimilationWork, _OfModels):
    """`[assimilation]`: all settings except those that the study sets for all stages."""

    runs: dict[str, Path] = Field(
        default_factory=dict,
        description="Model = folder of a finished run of `proda assimilate` with the profiles and "
        "the forcing of this study, to use instead of a new assimilation; the run keeps its own "
        "settings.",
    )
    likelihood: str = Field(
        "log-normal",
        description="log-normal, published-clm5, published-compas, or published: each model with "
        "the cost that was published for it.",
    )


_OfNetworks: Any = without(PosteriorValidation, "fold_members", "trees")


class TrainingSection(_OfNetworks, PresetSettings):
    """`[training]`."""

    settings: dict[str, Any] = Field(
        default_factory=dict, description="Changes to the preset; docs/learning.md lists them."
    )
    folds: int = Field(FOLDS, ge=2, description="Folds of the cross-validation.")

    def build(self, seed: int) -> LearningSettings:
        """Return the settings of network and training."""
        return preset_of(self.preset, {"seed": seed, **self.settings})


class MapsSection(MapSettings):
    """`[maps]`."""

    default: Literal["ad_hoc", "registry"] = Field(
        "ad_hoc",
        description="Default maps: ad_hoc (the registry's values of a tuned model; else the "
        "constant calibrated on all profiles, or without end-to-end learning the mean of the "
        "accepted sites, P-section 2.5), or the registry's values of every model.",
    )
    reference: Path | None = Field(
        None, description="Maps of soil carbon to compare with, named as docs/maps.md says."
    )


class ProjectionSection(ProjectionSettings):
    """`[projection]`."""

    run: bool = Field(
        False, description="Project the maps of the study into a changed climate (proda project)."
    )


class AttributionSection(SettingsTable):
    """`[attribution]`."""

    compute: bool = Field(True, description="Attribute each map to the components of the model.")
    sample: int = Field(
        SAMPLE, ge=10, description="Cells on which every member is run for the spread."
    )
    input_variation: float | None = Field(
        None,
        ge=0.0,
        description="Ratio of standard deviation to mean of the carbon input, by which the "
        "published method perturbs it; without it that method excludes the input.",
    )
    responses: tuple[str, ...] = Field(
        (),
        description="Experiments of [projection], such as plus_4K, to which the models' different "
        "responses are attributed.",
    )


class StudySettings(SettingsTable):
    """All settings of `proda run`.

    `assimilation`, `filter` and `training` belong to the route from posteriors.
    """

    study: GeneralSection
    profiles: ProfileSettings
    forcing: ForcingSection
    covariates: CovariatesSection
    learning: Learning = Field(default_factory=lambda: Learning.model_validate({}))
    assimilation: AssimilationSection = Field(
        default_factory=lambda: AssimilationSection.model_validate({})
    )
    filter: FilterSettings = Field(default_factory=lambda: FilterSettings.model_validate({}))
    training: TrainingSection = Field(default_factory=lambda: TrainingSection.model_validate({}))
    maps: MapsSection = Field(default_factory=lambda: MapsSection.model_validate({}))
    projection: ProjectionSection = Field(
        default_factory=lambda: ProjectionSection.model_validate({})
    )
    attribution: AttributionSection = Field(
        default_factory=lambda: AttributionSection.model_validate({})
    )

    def assimilation_of(self, model: str) -> AssimilationSettings:
        """Return the settings of one model's data assimilation.

        Raises
        ------
        AssimilationError
            If a name is unknown, or the numbers of steps and draws are inconsistent.
        """
        shared = {name: getattr(self.study, name) for name in ("variant", "seed", "streams")}
        own = {name: getattr(self.assimilation, name) for name in _OfModels.model_fields}
        if own["likelihood"] == OWN_COST:
            own["likelihood"] = f"{OWN_COST}-{model}"
        return checked_settings(model=self.study.reference(model), **shared, **own)

    def needed_properties(self) -> tuple[str, ...]:
        """Return the properties of the soil that any model of the study needs, in their order."""
        kinds = [model_class(self.study.reference(model)) for model in self.study.models]
        needed = {name for kind in kinds for name in kind.needs}
        return tuple(v.name for v in SITE_PROPERTIES if v.name in needed)

    def check(self) -> None:
        """Check all settings, so that errors are reported before any work.

        Raises
        ------
        ProdaError
            Naming the setting.
        """
        for model in self.study.models:
            self.assimilation_of(model)
        Filter.of(self.filter)
        self.training.build(self.study.seed)
        references = tuple(self.study.reference(model) for model in self.study.models)
        self.learning.end_to_end.check(references, self.study.variant)
        for setting, named in (
            ("assimilation.runs", self.assimilation.runs),
            ("learning.end_to_end.networks", self.learning.end_to_end.networks),
        ):
            if unknown := [name for name in named if name not in self.study.models]:
                raise StudyError(
                    f"{setting} names {', '.join(unknown)}, which is not a model of the study; "
                    f"choose one of {', '.join(self.study.models)}."
                )
        if self.assimilation.cluster is not None:
            read_cluster(self.assimilation.cluster)
        experiments_named(self.projection.experiments)
        experiments_named(self.attribution.responses)
        if self.projection.run and self.study.variant == "published":
            raise StudyError(
                "projection.run: the published variant loses carbon below bedrock and cannot be "
                'projected; set run = false, or variant = "default".'
            )


def parse(values: Mapping[str, Any], where: str, base: Path) -> StudySettings:
    """Check settings; relative paths are relative to `base`.

    Raises
    ------
    StudyError
        Naming each setting that is wrong, and how.
    """
    sections = {
        name: dict(v) if isinstance(v, Mapping) else v
        for name, v in with_route(with_method(values, where)).items()
    }
    try:
        if isinstance(sections.get("profiles"), dict):
            sections["profiles"] = from_mapping(sections["profiles"], f"{where}: profiles", base)
        learning = sections.get("learning")
        if isinstance(learning, dict) and isinstance(learning.get("end_to_end"), Mapping):
            learning["end_to_end"] = dict(learning["end_to_end"])
        for section, kind in (
            (sections.get("study"), GeneralSection),
            (sections.get("forcing"), ForcingSection),
            (sections.get("covariates"), CovariatesSection),
            (sections.get("assimilation"), AssimilationSection),
            (learning.get("end_to_end") if isinstance(learning, dict) else None, EndToEnd),
            (sections.get("maps"), MapsSection),
            (sections.get("projection"), ProjectionSection),
        ):
            _place_paths(section, kind, base)
        if isinstance(sections.get("study"), dict):
            _place_models(sections["study"], base)
        settings = StudySettings.model_validate(sections)
        settings.check()
    except ValidationError as error:
        raise StudyError(f"{where}: {faults.say(error, StudySettings)}.") from error
    except StudyError:
        raise
    except ProdaError as error:
        raise StudyError(str(error) if where in str(error) else f"{where}: {error}") from error
    return settings


def _place_paths(section: Any, kind: type[SettingsTable], base: Path) -> None:
    """Make the paths of a table absolute; what is no table is refused later."""
    if isinstance(section, dict):
        for name, field in kind.model_fields.items():
            if "Path" in str(field.annotation) and name in section:
                section[name] = _resolved(section[name], base)


def _resolved(value: Any, base: Path) -> Any:
    """Return a path, or the paths of a table, as absolute paths."""
    if isinstance(value, str):
        return (base / value).resolve()
    if isinstance(value, list):
        return [_resolved(v, base) for v in value]
    return {k: _resolved(v, base) for k, v in value.items()} if isinstance(value, dict) else value


def _place_models(study: dict[str, Any], base: Path) -> None:
    """Replace the files of models by absolute paths."""
    if isinstance(models := study.get("models"), list | tuple):
        study["models"] = [absolute(m, base) if isinstance(m, str) else m for m in models]
    if isinstance(sources := study.get("sources"), dict):
        study["sources"] = {
            name: absolute(m, base) if isinstance(m, str) else m for name, m in sources.items()
        }


def read_study(path: str | os.PathLike[str]) -> StudySettings:
    """Read a study's TOML file.

    Raises
    ------
    StudyError
        If it is absent, not TOML, or a setting is invalid.
    """
    target = Path(path)
    values = read_toml(target, StudyError)
    return parse(values, str(target), target.parent.resolve())
