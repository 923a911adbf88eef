"""Models of the study, which also have a variant that reproduces the published code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Array, Float

from proda.column.column import Column
from proda.column.processes import (
    InputAllocation,
    RootProfile,
    SoilTurbation,
    Values,
    VerticalMixing,
)
from proda.column.transport import Transport
from proda.models.litter import LITTER_POOLS
from proda.models.model import SoilModel

PUBLISHED_MIXING, PUBLISHED_ALLOCATION = SoilTurbation(published=True), RootProfile(published=True)


class PublishedModel(SoilModel):
    """A model with a variant `published`, which has the known faults of the published code.

    Its scheme of mixing leaks below bedrock, and the code returns the numbers that it rejects.
    """

    mixes: ClassVar[VerticalMixing] = SoilTurbation()
    allocates: ClassVar[InputAllocation] = RootProfile()
    litter_enters: ClassVar[Mapping[tuple[str, str], float]] = LITTER_POOLS
    variants: ClassVar[tuple[str, ...]] = ("default", "published")

    @property
    def published(self) -> bool:
        """Whether this is the variant of the published code."""
        return self.variant == "published"

    @property
    def conserves(self) -> bool:
        """Whether losses must equal input: not in the published variant."""
        return not self.published

    @property
    def shows_rejected(self) -> bool:
        """Whether to return what the published code rejects; parity tests compare it."""
        return self.published

    def mixing(self, parameters: Values, column: Column) -> Transport:
        """Return the rates of vertical mixing by the variant's scheme, yr-1."""
        mixes = PUBLISHED_MIXING if self.published else self.mixes
        return mixes.rates(parameters, column)

    def input_shares(self, parameters: Values, column: Column) -> Float[Array, " layer"]:
        """Return the share of the carbon input that enters each layer, by the variant's scheme."""
        allocates = PUBLISHED_ALLOCATION if self.published else self.allocates
        return allocates.shares(parameters, column)
