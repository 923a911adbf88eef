"""The settings of a data assimilation."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from proda.errors import AssimilationError
from proda.settings_table import SettingsTable

if TYPE_CHECKING:
    from proda.inference.likelihood import Likelihood
    from proda.inference.samplers.sampler import Sampler
    from proda.inference.samplers.smc import SMC
    from proda.inference.sampling import SamplingProblem
    from proda.models.model import SoilModel
    from proda.streams.table import StreamTable

Operator = Literal["layer_mean", "mid_depth"]
"""`layer_mean`: mean over the measured interval. `mid_depth`: value at its middle (the study's)."""

SD_LOG = 0.25
"""Standard deviation of a measured layer's error, in natural logarithms, unless estimated."""


MAX_RHAT = 1.02
"""Largest rank-normalised R-hat of a parameter at which the sampler `smc` takes a site for done."""
MIN_ESS = 200.0
"""Smallest effective size (bulk and tail) of a parameter at which it does."""

MAX_EVIDENCE_ERROR = 0.05
"""Largest estimated error of the log-evidence at which it does."""

MEAN_OVER_TYPICAL = {"clm5": 1.1, "compas": 2.5}
"""Mean model evaluations of `smc` at real sites over those of a typical site: some sites need many
times as many (benchmarks/results/samplers.md). Other models are counted as the dearest of these."""


class AssimilationSettings(SettingsTable):
    """What is fitted and how. Two runs with equal settings and data have equal draws."""

    model: str = Field("clm5", description="Model by name (see `proda models`), or FILE.py:Class.")
    variant: str = Field("default", description="Variant of the model: default, or published.")
    model_source: str = Field(
        "",
        description="Place of the class of a model from outside the package; empty for our models.",
    )
    model_checksum: str = Field("", description="SHA-256 of its file.")
    likelihood: str = Field(
        "log-normal", description="log-normal, published-clm5, or published-compas."
    )
    error_sd: float | Literal["estimate"] = Field(
        SD_LOG, description="Error of a layer in natural logarithms, or 'estimate'."
    )
    operator: Operator = Field(
        "layer_mean", description="Modelled value compared with a layer: layer_mean, or mid_depth."
    )
    sampler: str = Field(
        "tempered", description="tempered, smc, adaptive-metropolis, nuts, or published."
    )
    options: dict[str, int | bool] = Field(
        default_factory=dict, description="Options of the sampler; without them its own defaults."
    )
    chains: int = Field(3, ge=1, description="Chains per site.")
    draws: int = Field(400, ge=4, description="Draws kept per chain.")
    seed: int = Field(0, ge=0, lt=2**32, description="Root of all random numbers.")
    max_rhat: float = Field(
        MAX_RHAT,
        gt=1.0,
        description="The sampler smc ends a site below this R-hat of the worst parameter.",
    )
    min_ess: float = Field(
        MIN_ESS,
        ge=1.0,
        description="And at this effective size (bulk and tail) of the worst parameter.",
    )
    max_evidence_error: float = Field(
        MAX_EVIDENCE_ERROR,
        gt=0.0,
        description="And with at most this estimated error of the log-evidence.",
    )
    streams: dict[str, Path] = Field(
        default_factory=dict,
        description="Data beside carbon: folder of `proda streams build` by name of the stream.",
    )
    held_out: list[str] = Field(
        default_factory=list,
        description="Data that are predicted but not fitted: names of streams, or carbon.",
    )

    @model_serializer(mode="wrap")
    def _without_origin(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the place of the model if it is one of ours."""
        from proda.models.outside import CHECKSUM, SOURCE

        values = serialize(self)
        empty = {SOURCE: "", CHECKSUM: "", "streams": {}, "held_out": []}
        return {k: v for k, v in values.items() if k not in empty or v != empty[k]}

    def build_model(self, made: str = "the assimilation") -> SoilModel:
        """Return the model.

        Raises
        ------
        ModelError
            If there is none, or its file has changed since `made` was computed.
        """
        from proda.models.registry import load_recorded

        return load_recorded(self.model_dump(), made)

    def build_likelihood(self) -> Likelihood:
        """Return the likelihood."""
        from proda.inference.likelihood import LIKELIHOODS, LogNormal

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

    def stream_tables(self) -> dict[str, StreamTable]:
        """Return the tables of the streams, opened, by name.

        Raises
        ------
        ObservationError, FileError
            As :func:`proda.streams.table.read_all`.
        """
        from proda.streams.table import read_all

        return read_all(self.streams)

    def unanswered(self) -> dict[str, str]:
        """Return why the model cannot answer some of the streams, by name."""
        model = self.build_model()
        reasons = {name: t.stream.lacking(model) for name, t in self.stream_tables().items()}
        return {name: why for name, why in reasons.items() if why}

    def build_sampler(self) -> Sampler | SMC:
        """Return the sampler."""
        from proda.inference.samplers.registry import SAMPLERS

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
            if not isinstance(value, bool) and value < {"replicas": 2, "descents": 0}.get(name, 1):
                raise AssimilationError(f"options: {name} = {value} is too small.")
        return kind(**self.options)

    def evaluations(self) -> int:
        """Return how many times the model is expected to be solved for one site, on average."""
        from proda.inference.samplers.smc import SMC

        sampler = self.build_sampler()
        typical = sampler.evaluations(self.chains)
        if not isinstance(sampler, SMC):
            return typical
        dearest = max(MEAN_OVER_TYPICAL.values())
        return round(MEAN_OVER_TYPICAL.get(self.model, dearest) * typical)

    def build(self, made: str = "the assimilation") -> SamplingProblem:
        """Return the problem that the compiled program solves.

        Parameters
        ----------
        made
            Name of the result with these settings, for the message if the file of a model has
            changed.

        Raises
        ------
        AssimilationError
            If a name is unknown, or the numbers of steps and draws are inconsistent.
        """
        from proda.inference.samplers.smc import SMC
        from proda.inference.sampling import Limits, SamplingProblem

        sampler = self.build_sampler()
        if isinstance(sampler, SMC):
            segment = sampler.draws_per_walker(self.draws)
            if segment * sampler.walkers % self.draws:
                raise AssimilationError(
                    f"draws = {self.draws} does not divide the {segment * sampler.walkers} draws "
                    f"of {sampler.walkers} walkers; choose a divisor, or other walkers."
                )
        else:
            segment = self._steps_between(sampler)
        model, likelihood = self.build_model(made), self.build_likelihood()
        if self.streams and not likelihood.density:
            raise AssimilationError(
                f"streams: the cost {self.likelihood!r} is no probability density, so data beside "
                "carbon cannot be weighed against it; use log-normal."
            )
        streams = [table.stream for table in self.stream_tables().values()]
        answered = tuple(stream for stream in streams if not stream.lacking(model))
        self._check_held_out([stream.name for stream in answered])
        limits = Limits(self.max_rhat, self.min_ess, self.max_evidence_error)
        held_out = tuple(sorted(set(self.held_out)))
        return SamplingProblem(model, likelihood, sampler, segment, answered, limits, held_out)

    def _check_held_out(self, answered: list[str]) -> None:
        """Refuse to hold out what the run does not have, or all that it has."""
        from proda.streams.stream import CARBON

        there = [CARBON, *self.streams]
        if unknown := [name for name in self.held_out if name not in there]:
            raise AssimilationError(
                f"held_out: {unknown[0]!r} is not among the data of this run: {', '.join(there)}."
            )
        if set(self.held_out) >= {CARBON, *answered}:
            raise AssimilationError(
                f"held_out: {', '.join(self.held_out)} leaves no data that {self.model} could be "
                "fitted to."
            )

    def _steps_between(self, sampler: Sampler) -> int:
        """Return the steps between two kept draws of a chain."""
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
        return segment


class AssimilationWork(SettingsTable):
    """Number of sites, and where they are computed; draws of a site do not depend on it."""

    sites: int | None = Field(
        None,
        ge=1,
        description="Use at most this many sites, spread over latitudes; without it all.",
    )
    workers: int | None = Field(
        None, ge=1, description="Processes on this machine; without it one per core."
    )
    cluster: Path | None = Field(
        None, description="TOML file: workers, GPUs, a Dask scheduler or a queue; see the docs."
    )


def check(**values: Any) -> AssimilationSettings:
    """Return checked settings.

    Raises
    ------
    AssimilationError
        Naming each setting that is wrong.
    ModelError
        If the model does not exist.
    """
    values = _named(values)
    try:
        settings = AssimilationSettings(**values)
    except ValidationError as error:
        from proda import faults

        message = faults.say(error, AssimilationSettings)
        raise AssimilationError(f"Settings of the assimilation: {message}.") from error
    settings.build()
    return settings


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the place of a model by its name, and record the place and the file's checksum."""
    from proda.models.outside import SOURCE, provenance
    from proda.models.registry import MODELS, load_model

    given = str(values.get("model", "clm5"))
    if given in MODELS or values.get(SOURCE):
        return values
    model = load_model(given, str(values.get("variant", "default")))
    return values | {"model": model.name, **provenance(model)}
