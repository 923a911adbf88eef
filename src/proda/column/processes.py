"""Processes that a model is composed of: how carbon mixes with depth, where plant carbon enters.

A model names one of each (`mixes`, `allocates`); each reads parameters of the model by name, and
lists them in `parameters`. A model with a process of its own derives one from the abstract class.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.allocation import input_shares, input_shares_published
from proda.column.column import Column
from proda.column.transport import Transport, exchange, transport
from proda.column.transport_published import transport_published

Values = Mapping[str, Float[Array, ""] | Float[Array, " layer"]]
"""Parameter values of one column, by name, in the registry's units."""


class VerticalMixing(abc.ABC):
    """How carbon moves between the layers of a column."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that it reads."""
        return ()

    @abc.abstractmethod
    def rates(self, parameters: Values, column: Column) -> Transport:
        """Return the rates at which carbon leaves each layer for its neighbours, yr-1."""


class NoMixing(VerticalMixing):
    """Carbon stays in the layer where it enters."""

    def rates(self, parameters: Values, column: Column) -> Transport:
        """Return 0 everywhere."""
        zero = jnp.zeros(len(column.grid))
        return Transport(down=zero, up=zero, leak=zero)


@dataclass(frozen=True)
class SoilTurbation(VerticalMixing):
    """Frost mixes freezing soil, animals mix other soil (docs/theory.md#vertical-transport).

    Parameters
    ----------
    cryo, diffus
        Names of the model's parameters for cryoturbation and bioturbation, m2 yr-1.
    published
        Whether to use the published scheme, which leaks below bedrock.
    """

    cryo: str = "cryo"
    diffus: str = "diffus"
    published: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that it reads."""
        return (self.cryo, self.diffus)

    def rates(self, parameters: Values, column: Column) -> Transport:
        """Return the rates of mixing, yr-1."""
        g = exchange(
            parameters[self.cryo],
            parameters[self.diffus],
            column.exchange_cryo,
            column.exchange_diffus,
        )
        scheme = transport_published if self.published else transport
        return scheme(g, column.nbedrock, column.grid)


class InputAllocation(abc.ABC):
    """The share of carbon input that enters each layer."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that it reads."""
        return ()

    @abc.abstractmethod
    def shares(self, parameters: Values, column: Column) -> Float[Array, " layer"]:
        """Return the shares, which add up to 1."""


class SurfaceInput(InputAllocation):
    """All carbon enters the first layer."""

    def shares(self, parameters: Values, column: Column) -> Float[Array, " layer"]:
        """Return 1 for the first layer and 0 below."""
        return jnp.zeros(len(column.grid)).at[0].set(1.0)


@dataclass(frozen=True)
class RootProfile(InputAllocation):
    """Carbon enters as roots are distributed (docs/theory.md#allocation-of-the-input).

    Parameters
    ----------
    b
        Name of the model's parameter for the depth profile.
    published
        Whether layers in bedrock receive carbon, too, as in the published code.
    """

    b: str = "b"
    published: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the model that it reads."""
        return (self.b,)

    def shares(self, parameters: Values, column: Column) -> Float[Array, " layer"]:
        """Return the share of each layer by Jackson et al. (1996)."""
        allocate = input_shares_published if self.published else input_shares
        return allocate(parameters[self.b], column)
