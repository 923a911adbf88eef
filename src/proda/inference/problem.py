"""The problem that the settings of a data assimilation stand for: model, likelihood and sampler."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from proda import faults
from proda.errors import AssimilationError
from proda.inference.assimilation_settings import AUTO, AssimilationSettings
from proda.inference.likelihood import LIKELIHOODS, Likelihood, LogNormal
from proda.inference.samplers.islands import Islands
from proda.inference.samplers.registry import SAMPLERS
from proda.inference.samplers.rto import RTO
from proda.inference.samplers.sampler import Sampler
from proda.inference.samplers.smc import SMC
from proda.inference.sampling import Limits, SamplingProblem
from proda.models.model import SoilModel
from proda.models.outside import SOURCE, provenance
from proda.models.registry import MODELS, load_model, load_recorded
from proda.streams.stream import CARBON, Stream
from proda.streams.table import read_all

WITHOUT_RESTARTS = "smc without restarts"
MEAN_OVER_TYPICAL = {
    WITHOUT_RESTARTS: {"clm5": 1.0, "compas": 2.8},
    "smc": {"clm5": 1.9, "compas": 6.3},
    "rto": {"clm5": 1.85, "compas": 5.1},
}
"""Mean model evaluations at real sites over those of a typical site: some sites need many times as
many (benchmarks/results: without restarts samplers.md, `smc` site_posteriors_smc.md, `rto`
site_posteriors_all.md). Other models are counted as the dearest of these."""

LEAST = {"replicas": 2, "descents": 0, "restarts": 0}
"""Least value of options; of the others it is 1."""


def checked_settings(**values: Any) -> AssimilationSettings:
    """Return settings from which the problem can be built.

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
        message = faults.say(error, AssimilationSettings)
        raise AssimilationError(f"Settings of the assimilation: {message}.") from error
    build_problem(settings)
    return settings


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the place of a model by its name, and record the place and the file's checksum."""
    given = str(values.get("model", "clm5"))
    if given in MODELS or values.get(SOURCE):
        return values
    model = load_model(given, str(values.get("variant", "default")))
    return values | {"model": model.name, **provenance(model)}


def build_problem(
    settings: AssimilationSettings, made: str = "the assimilation"
) -> SamplingProblem:
    """Return the problem that the compiled program solves.

    Parameters
    ----------
    settings
        The settings.
    made
        Name of the result with these settings, for the message if the file of a model has
        changed.

    Raises
    ------
    AssimilationError
        If a name is unknown, or the numbers of steps and draws are inconsistent.
    ModelError
        If the model does not exist, or its file has changed since `made` was computed.
    ObservationError, FileError
        If the table of a stream cannot be read (:func:`proda.streams.table.read_all`).
    """
    sampler = build_sampler(settings)
    if isinstance(sampler, Islands):
        segment = _draws_per_walker(sampler, settings.draws)
    else:
        segment = _steps_between(sampler, settings.draws)
    model, likelihood = build_model(settings, made), build_likelihood(settings)
    if settings.streams and not likelihood.density:
        raise AssimilationError(
            f"streams: the cost {settings.likelihood!r} is no probability density, so data beside "
            "carbon cannot be weighed against it; use log-normal."
        )
    answered = tuple(s for s in _streams(settings).values() if not s.lacking(model))
    _check_held_out(settings, [stream.name for stream in answered])
    if isinstance(sampler, RTO):
        _check_residuals(settings)
    limits = Limits(settings.max_rhat, settings.min_ess, settings.max_evidence_error)
    held_out = tuple(sorted(set(settings.held_out)))
    return SamplingProblem(model, likelihood, sampler, segment, answered, limits, held_out)


def build_model(settings: AssimilationSettings, made: str = "the assimilation") -> SoilModel:
    """Return the model.

    Raises
    ------
    ModelError
        If there is none, or its file has changed since `made` was computed.
    """
    return load_recorded(settings.model_dump(), made)


def build_likelihood(settings: AssimilationSettings) -> Likelihood:
    """Return the likelihood.

    Raises
    ------
    AssimilationError
        If there is none, or its error is not positive.
    """
    if settings.likelihood not in LIKELIHOODS:
        raise AssimilationError(
            f"likelihood = {settings.likelihood!r}: unknown likelihood; "
            f"choose one of {', '.join(LIKELIHOODS)}."
        )
    if settings.likelihood != LogNormal.name:
        return LIKELIHOODS[settings.likelihood]()
    if settings.error_sd == "estimate":
        return LogNormal(None)
    if not (math.isfinite(settings.error_sd) and settings.error_sd > 0.0):
        raise AssimilationError(f"error_sd = {settings.error_sd}: expected a value above 0.")
    return LogNormal(float(settings.error_sd))


def build_sampler(settings: AssimilationSettings) -> Sampler | Islands:
    """Return the sampler with its options.

    Raises
    ------
    AssimilationError
        If there is none, or it does not have an option or its value.
    """
    name = settings.sampler
    if name not in SAMPLERS:
        raise AssimilationError(
            f"sampler = {name!r}: unknown sampler; choose one of {', '.join([AUTO, *SAMPLERS])}."
        )
    kind = SAMPLERS[name]
    known = {f.name: f.type for f in fields(kind)}
    for option, value in settings.options.items():
        if option not in known:
            raise AssimilationError(
                f"options: {name} has no option {option!r}; it has {', '.join(known)}."
            )
        if isinstance(value, bool) != (known[option] == "bool"):
            raise AssimilationError(f"options: {option} = {value!r}; expected {known[option]}.")
        if not isinstance(value, bool) and value < LEAST.get(option, 1):
            raise AssimilationError(f"options: {option} = {value} is too small.")
    return kind(**settings.options)


def unanswered(settings: AssimilationSettings) -> dict[str, str]:
    """Return why the model cannot answer some of the streams, by name."""
    model = build_model(settings)
    reasons = {name: stream.lacking(model) for name, stream in _streams(settings).items()}
    return {name: why for name, why in reasons.items() if why}


def expected_evaluations(settings: AssimilationSettings) -> int:
    """Return how many times the model is expected to be solved for one site, on average."""
    sampler = build_sampler(settings)
    if not isinstance(sampler, Islands):
        return sampler.evaluations(settings.chains)
    per_walker = _draws_per_walker(sampler, settings.draws)
    typical = sampler.evaluations(settings.chains, per_walker)
    without = isinstance(sampler, SMC) and not sampler.restarts
    mean = MEAN_OVER_TYPICAL[WITHOUT_RESTARTS if without else sampler.name]
    return round(mean.get(settings.model, max(mean.values())) * typical)


def _streams(settings: AssimilationSettings) -> dict[str, Stream]:
    """Return the kinds of data beside carbon, by name."""
    return {name: table.stream for name, table in read_all(settings.streams).items()}


def _check_held_out(settings: AssimilationSettings, answered: list[str]) -> None:
    """Refuse to hold out what the run does not have, or all that it has."""
    there = [CARBON, *settings.streams]
    if unknown := [name for name in settings.held_out if name not in there]:
        raise AssimilationError(
            f"held_out: {unknown[0]!r} is not among the data of this run: {', '.join(there)}."
        )
    if set(settings.held_out) >= {CARBON, *answered}:
        raise AssimilationError(
            f"held_out: {', '.join(settings.held_out)} leaves no data that {settings.model} could "
            "be fitted to."
        )


def _check_residuals(settings: AssimilationSettings) -> None:
    """Refuse the sampler rto where the misfit of carbon is no sum of squares."""
    if settings.likelihood != LogNormal.name or CARBON in settings.held_out:
        raise AssimilationError(
            f"sampler = {settings.sampler!r} solves for draws that fit carbon: it needs likelihood "
            "= 'log-normal', and carbon that is not held out; choose another sampler."
        )


def _draws_per_walker(sampler: Islands, draws: int) -> int:
    """Return how many draws of each walker are made."""
    try:
        return sampler.draws_per_walker(draws)
    except ValueError:
        nearest = max(1, round(draws / sampler.walkers)) * sampler.walkers
        raise AssimilationError(
            f"draws = {draws} cannot be taken evenly from {sampler.walkers} walkers; choose "
            f"{nearest}, or another number of walkers (option walkers)."
        ) from None


def _steps_between(sampler: Sampler, draws: int) -> int:
    """Return the steps between two kept draws of a chain."""
    if sampler.n_kept % draws:
        raise AssimilationError(
            f"draws = {draws} does not divide the {sampler.n_kept} kept steps; choose a divisor."
        )
    segment = sampler.n_kept // draws
    if sampler.n_warm_up % segment:
        raise AssimilationError(
            f"The {sampler.n_warm_up} warm-up steps are not a multiple of the {segment} "
            f"steps between two kept draws ({sampler.n_kept} / {draws}); change one of "
            "them."
        )
    return segment
