"""The samplers by name."""

from __future__ import annotations

from proda.inference.samplers.adaptive_metropolis import AdaptiveMetropolis
from proda.inference.samplers.nuts import NUTS
from proda.inference.samplers.published import Published
from proda.inference.samplers.sampler import Sampler
from proda.inference.samplers.tempered import Tempered

SAMPLERS: dict[str, type[Sampler]] = {
    sampler.name: sampler for sampler in (Tempered, AdaptiveMetropolis, NUTS, Published)
}
