"""The experiments of a projection: the idealised ones, and the interface of all others."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from proda.errors import ParameterError
from proda.forcing import LITTER, N_MONTHS
from proda.projection.projection_settings import IDEALISED, ProjectionSettings
from proda.projection.steps import TimeSpan, time_steps

RAMP = "_ramp"
"""Ending of the name of an experiment that changes linearly over :data:`RAMP_YEARS`."""
RAMP_YEARS = 100.0


@dataclass(frozen=True, eq=False)
class Change:
    """The change of drivers from the present at some places, for one part of a projection.

    Attributes
    ----------
    warming
        Warming of the soil, K, (site, month); 12 equal numbers are uniform warming over the year.
    carbon_input
        Carbon input to each litter pool as a multiple of the present input, (site, litter).
    water
        Added to the water scalar, (site, month); None: no change.
    """

    warming: Float[np.ndarray, "site month"]
    carbon_input: Float[np.ndarray, "site litter"]
    water: Float[np.ndarray, "site month"] | None = None


class Experiment(abc.ABC):
    """One projection: when its drivers change, and how."""

    name: str
    words: str
    """Description, for captions and files."""

    @abc.abstractmethod
    def steps(self, settings: ProjectionSettings) -> list[TimeSpan]:
        """Return the time steps; drivers are constant in each."""

    @abc.abstractmethod
    def at(
        self,
        span: TimeSpan,
        latitude: Float[np.ndarray, " site"],
        longitude: Float[np.ndarray, " site"],
    ) -> Change:
        """Return the drivers of a time step at some places."""

    @abc.abstractmethod
    def end(
        self, latitude: Float[np.ndarray, " site"], longitude: Float[np.ndarray, " site"]
    ) -> Change:
        """Return the drivers whose steady state is the new one."""

    @abc.abstractmethod
    def same(self, one: TimeSpan, other: TimeSpan) -> bool:
        """Whether the drivers of two time steps are equal, so that they are computed once."""

    def identity(self) -> str:
        """Return values that identify this experiment among others of the same name."""
        return repr(self)


@dataclass(frozen=True)
class Idealised(Experiment):
    """Uniform warming and multiples of the present carbon input, at once or as a ramp.

    Attributes
    ----------
    name, words
        Name in files and words in figures.
    warming
        K, at all depths and in all months.
    carbon_input
        Multiple of the carbon input to all litter pools.
    metabolic
        Additional multiple of the input to metabolic litter.
    ramp
        Years over which the change increases linearly; 0: at once.
    """

    name: str
    words: str
    warming: float = 0.0
    carbon_input: float = 1.0
    metabolic: float = 1.0
    ramp: float = 0.0

    def steps(self, settings: ProjectionSettings) -> list[TimeSpan]:
        """Return steps that are short after a sudden change; one of them ends with the ramp."""
        sudden = self.ramp == 0.0
        first = settings.first_step if sudden else settings.longest_step
        breaks = () if sudden else (self.ramp,)
        return time_steps(settings.times, first, settings.growth, settings.longest_step, breaks)

    def at(
        self,
        span: TimeSpan,
        latitude: Float[np.ndarray, " site"],
        longitude: Float[np.ndarray, " site"],
    ) -> Change:
        """Return the change in the middle of the step."""
        return self._change(self._share(span), len(latitude))

    def end(
        self, latitude: Float[np.ndarray, " site"], longitude: Float[np.ndarray, " site"]
    ) -> Change:
        """Return the full change."""
        return self._change(1.0, len(latitude))

    def same(self, one: TimeSpan, other: TimeSpan) -> bool:
        """Whether both steps have the same share of the change."""
        return self._share(one) == self._share(other)

    def _share(self, span: TimeSpan) -> float:
        return 1.0 if self.ramp == 0.0 else min(span.middle / self.ramp, 1.0)

    def _change(self, share: float, n: int) -> Change:
        factor = np.full((n, len(LITTER)), 1.0 + share * (self.carbon_input - 1.0))
        factor[:, LITTER.index("ML")] *= 1.0 + share * (self.metabolic - 1.0)
        return Change(np.full((n, N_MONTHS), share * self.warming), factor)


_SUDDEN = (
    Idealised("control", "nothing changes"),
    Idealised("plus_2K", "2 K warmer", warming=2.0),
    Idealised("plus_4K", "4 K warmer", warming=4.0),
    Idealised("input_plus_20", "20 % more carbon input", carbon_input=1.2),
    Idealised("input_double", "twice the carbon input", carbon_input=2.0),
    Idealised("input_none", "no carbon input", carbon_input=0.0),
    Idealised(
        "plus_4K_input_plus_20",
        "4 K warmer and 20 % more carbon input",
        warming=4.0,
        carbon_input=1.2,
    ),
    Idealised("priming", "30 % more metabolic litter", metabolic=1.3),
)
assert tuple(e.name for e in _SUDDEN) == IDEALISED

EXPERIMENTS: dict[str, Idealised] = {e.name: e for e in _SUDDEN} | {
    e.name + RAMP: replace(
        e, name=e.name + RAMP, words=f"{e.words}, over {RAMP_YEARS:.0f} years", ramp=RAMP_YEARS
    )
    for e in _SUDDEN[1:]
}
"""The idealised experiments (after Sulman et al. 2018, Biogeochemistry 141, 109-123, extended)."""


def experiments_named(names: Sequence[str]) -> list[Idealised]:
    """Return idealised experiments by name.

    Raises
    ------
    ParameterError
        Naming one that is unknown or appears twice.
    """
    for name in names:
        if name not in EXPERIMENTS:
            raise ParameterError(
                f"Unknown experiment {name!r}; choose from {', '.join(EXPERIMENTS)}."
            )
        if list(names).count(name) > 1:
            raise ParameterError(f"The experiment {name} appears twice.")
    return [EXPERIMENTS[name] for name in names]
