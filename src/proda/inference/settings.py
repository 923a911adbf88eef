"""The settings of a data assimilation, checked."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proda import faults
from proda.errors import AssimilationError
from proda.inference.likelihood import LIKELIHOODS, SD_LOG, Likelihood, LogNormal
from proda.inference.operator import Operator
from proda.inference.samplers.registry import SAMPLERS
from proda.inference.samplers.sampler import Sampler
from proda.inference.sampling import Problem
from proda.models.model import SoilModel
from proda.models.registry import load_model


class Settings(BaseModel):
    """What is fitted and how. Two runs with equal settings and data have equal draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "clm5"
    variant: str = "default"
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

    def build_model(self) -> SoilModel:
        """Return the model."""
        return load_model(self.model, self.variant)

    def build_likelihood(self) -> Likelihood:
        """Return the likelihood."""
        if self.likelihood not in LIKELIHOODS:
            raise AssimilationError(
                f"likelihood = {self.likelihood!r}: unknown likelihood; "
                f"choose one of {', '.join(LIKELIHOODS)}."
            )
        if self.likelihood != LogNormal.name:
            return LIKELIHOODS[self.likelihood]()
        if self.error_sd == "estimate":
            return LogNormal(None)
        if not (math.isfinite(self.error_sd) and self.error_sd > 0.0):
            raise AssimilationError(f"error_sd = {self.error_sd}: expected a value above 0.")
        return LogNormal(float(self.error_sd))

    def build_sampler(self) -> Sampler:
        """Return the sampler."""
        if self.sampler not in SAMPLERS:
            raise AssimilationError(
                f"sampler = {self.sampler!r}: unknown sampler; choose one of {', '.join(SAMPLERS)}."
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

    def build(self) -> Problem:
        """Return the problem that the compiled program solves.

        Raises
        ------
        AssimilationError
            If a name is unknown, or steps and draws do not fit each other.
        """
        sampler = self.build_sampler()
        if sampler.n_kept % self.draws:
            raise AssimilationError(
                f"draws = {self.draws} does not divide the {sampler.n_kept} kept steps; "
                "choose a divisor."
            )
        segment = sampler.n_kept // self.draws
        if sampler.n_warm_up % segment:
            raise AssimilationError(
                f"The {sampler.n_warm_up} warm-up steps are not a multiple of the {segment} "
                f"steps between two kept draws ({sampler.n_kept} / {self.draws}); change one of "
                "them."
            )
        return Problem(self.build_model(), self.build_likelihood(), sampler, segment)


def check(**values: Any) -> Settings:
    """Return checked settings.

    Raises
    ------
    AssimilationError
        Naming each setting that is wrong.
    """
    try:
        settings = Settings(**values)
    except ValidationError as error:
        said = faults.say(error, Settings)
        raise AssimilationError(f"Settings of the assimilation: {said}.") from error
    settings.build()
    return settings
