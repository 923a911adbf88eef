"""The settings of a data assimilation, checked."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from proda import faults
from proda.errors import AssimilationError
from proda.inference.likelihood import LIKELIHOODS, SD_LOG, Likelihood, LogNormal
from proda.inference.operator import Operator
from proda.inference.samplers.registry import SAMPLERS
from proda.inference.samplers.sampler import Sampler
from proda.inference.sampling import Problem
from proda.models.model import SoilModel
from proda.models.outside import CHECKSUM, SOURCE, provenance
from proda.models.registry import MODELS, load_model, load_recorded


class Settings(BaseModel):
    """What is fitted and how. Two runs with equal settings and data have equal draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "clm5"
    variant: str = "default"
    model_source: str = ""
    """Where the class of a model from outside the package is; empty for ours."""
    model_checksum: str = ""
    """SHA-256 of its file."""
    likelihood: str = LogNormal.name
    error_sd: float | Literal["estimate"] = SD_LOG
    """Standard deviation of a layer's error in natural logarithms; `estimate` samples it."""
    operator: Operator = "layer_mean"
    sampler: str = "tempered"
    options: dict[str, int | bool] = Field(default_factory=dict)
    """Options of the sampler: numbers of steps and the like; its defaults otherwise."""
    chains: int = Field(3, ge=1)
    draws: int = Field(400, ge=4)
    """Draws kept of each chain; the steps between two are the thinning."""
    seed: int = Field(0, ge=0, lt=2**32)

    @model_serializer(mode="wrap")
    def _without_origin(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out where a model came from if it is one of ours."""
        values = serialize(self)
        return {k: v for k, v in values.items() if v != "" or k not in (SOURCE, CHECKSUM)}

    def build_model(self, made: str = "the assimilation") -> SoilModel:
        """Return the model.

        Raises
        ------
        ModelError
            If there is none, or its file is another one than when `made` was made.
        """
        return load_recorded(self.model_dump(), made)

    def build_likelihood(self) -> Likelihood:
        """Return the likelihood."""
        if self.likelihood not in LIKELIHOODS:
            raise AssimilationError(
                f"likelihood = {self.likelihood!r}: there is no such likelihood; "
                f"there are {', '.join(LIKELIHOODS)}."
            )
        if self.likelihood != LogNormal.name:
            return LIKELIHOODS[self.likelihood]()
        if self.error_sd == "estimate":
            return LogNormal(None)
        if not (math.isfinite(self.error_sd) and self.error_sd > 0.0):
            raise AssimilationError(f"error_sd = {self.error_sd}: expected more than 0.")
        return LogNormal(float(self.error_sd))

    def build_sampler(self) -> Sampler:
        """Return the sampler."""
        if self.sampler not in SAMPLERS:
            raise AssimilationError(
                f"sampler = {self.sampler!r}: there is no such sampler; "
                f"there are {', '.join(SAMPLERS)}."
            )
        kind = SAMPLERS[self.sampler]
        known = {f.name: f.type for f in fields(kind)}
        for name, value in self.options.items():
            if name not in known:
                raise AssimilationError(
                    f"options: {self.sampler} has no option {name!r}; it has {', '.join(known)}."
                )
            if isinstance(value, bool) != (known[name] == "bool"):
                raise AssimilationError(f"options: {name} = {value!r}; expected {known[name]}.")
            if not isinstance(value, bool) and value < (2 if name == "replicas" else 1):
                raise AssimilationError(f"options: {name} = {value} is too small.")
        return kind(**self.options)

    def build(self, made: str = "the assimilation") -> Problem:
        """Return the problem that the compiled program solves.

        Parameters
        ----------
        made
            What has these settings, for the message if the file of a model has changed.

        Raises
        ------
        AssimilationError
            If a name is unknown, or steps and draws do not fit each other.
        """
        sampler = self.build_sampler()
        if sampler.n_kept % self.draws:
            raise AssimilationError(
                f"draws = {self.draws} does not divide the {sampler.n_kept} steps that are kept; "
                "choose a number that does."
            )
        segment = sampler.n_kept // self.draws
        if sampler.n_warm_up % segment:
            raise AssimilationError(
                f"The {sampler.n_warm_up} steps of the warm-up are no multiple of the {segment} "
                f"between two kept draws ({sampler.n_kept} / {self.draws}); change one of them."
            )
        return Problem(self.build_model(made), self.build_likelihood(), sampler, segment)


def check(**values: Any) -> Settings:
    """Return checked settings.

    Raises
    ------
    AssimilationError
        Naming each setting that is wrong.
    ModelError
        If there is no such model.
    """
    given = str(values.get("model", "clm5"))
    if given not in MODELS and SOURCE not in values:
        model = load_model(given, str(values.get("variant", "default")))
        values |= {"model": model.name, **provenance(model)}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        said = faults.say(error, Settings)
        raise AssimilationError(f"Settings of the assimilation: {said}.") from error
    settings.build()
    return settings
