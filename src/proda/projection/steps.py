"""The time steps of a projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TimeSpan(NamedTuple):
    """A part of a projection, in years after its start."""

    start: float
    end: float

    @property
    def years(self) -> float:
        """Length of the step."""
        return self.end - self.start

    @property
    def middle(self) -> float:
        """The time at which the drivers are evaluated: the midpoint rule is of second order."""
        return 0.5 * (self.start + self.end)


def time_steps(
    times: Sequence[float],
    first: float,
    growth: float,
    longest: float,
    breaks: Sequence[float] = (),
) -> list[TimeSpan]:
    """Return time steps that grow from `first` to `longest` and end at each of `times`.

    Parameters
    ----------
    times
        Years at which results are kept, in order; the last one ends the projection.
    first
        Length of the first step; after a sudden change fast pools need a short one.
    growth
        Each step is at most this many times as long as the one before.
    longest
        Maximum length of a step.
    breaks
        Further years at which a step must end, such as the end of a ramp.
    """
    ends = sorted({*times, *(b for b in breaks if 0.0 < b < times[-1])})
    steps, now, length = [], 0.0, min(first, longest)
    for end in ends:
        while end - now > 1e-9 * max(end, 1.0):
            left = end - now
            if left <= length * (1.0 + 1e-9):
                until = end
            elif left < 2.0 * length:  # two equal steps instead of a long and a short one
                until = now + 0.5 * left
            else:
                until = now + length
            steps.append(TimeSpan(now, until))
            now, length = until, min((until - now) * growth, longest)
    return steps
