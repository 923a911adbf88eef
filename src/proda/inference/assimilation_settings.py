"""The settings of a data assimilation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from proda.settings_table import SettingsTable

Operator = Literal["layer_mean", "mid_depth"]
"""`layer_mean`: mean over the measured interval. `mid_depth`: value at its middle (the study's)."""

SD_LOG = 0.25
"""Standard deviation of a measured layer's error, in natural logarithms, unless estimated."""

MAX_RHAT = 1.02
"""Largest rank-normalised R-hat of a parameter at which a site is done (samplers rto and smc)."""
MIN_ESS = 200.0
"""Smallest effective size (bulk and tail) of a parameter at which it does."""

MAX_EVIDENCE_ERROR = 0.05
"""Largest estimated error of the log-evidence at which it does."""


AUTO = "auto"
"""As a sampler: that which takes the fewest evaluations for what is fitted."""


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
        AUTO,
        description="auto, rto, smc, tempered, adaptive-metropolis, nuts, or published. auto is "
        "rto where carbon alone is fitted with the log-normal error, and smc otherwise.",
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
        description="The samplers smc and rto end a site below this R-hat of the worst parameter.",
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

    @model_validator(mode="before")
    @classmethod
    def _with_sampler(cls, values: Any) -> Any:
        """Choose the sampler if it is to be chosen, so that a run says which one it is."""
        if not isinstance(values, dict) or values.get("sampler", AUTO) != AUTO:
            return values
        other = values.get("streams") or values.get("held_out")
        plain = values.get("likelihood", "log-normal") == "log-normal" and not other
        return values | {"sampler": "rto" if plain else "smc"}

    @model_serializer(mode="wrap")
    def _without_origin(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the place of the model if it is one of ours."""
        from proda.models.outside import CHECKSUM, SOURCE

        values = serialize(self)
        empty = {SOURCE: "", CHECKSUM: "", "streams": {}, "held_out": []}
        return {k: v for k, v in values.items() if k not in empty or v != empty[k]}


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
