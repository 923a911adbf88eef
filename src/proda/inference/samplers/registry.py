"""The samplers by name."""

from __future__ import annotations

from proda.inference.samplers.adaptive_metropolis import AdaptiveMetropolis
from proda.inference.samplers.islands import Islands
from proda.inference.samplers.nuts import NUTS
from proda.inference.samplers.published import Published
from proda.inference.samplers.rto import RTO
from proda.inference.samplers.sampler import Sampler
from proda.inference.samplers.smc import SMC
from proda.inference.samplers.tempered import Tempered

SAMPLERS: dict[str, type[Sampler] | type[Islands]] = {
    sampler.name: sampler for sampler in (SMC, RTO, Tempered, AdaptiveMetropolis, NUTS, Published)
}
