"""The abstract soil-carbon model: what a new model must define, and what is derived from it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Float, Int

from proda.column.column import Column, lacking
from proda.column.processes import InputAllocation, NoMixing, VerticalMixing
from proda.column.processes import Values as Values
from proda.column.transport import Transport
from proda.errors import ForcingError, ModelError
from proda.forcing import LITTER, Forcing
from proda.models.litter import LITTER_POOLS
from proda.parameters import Parameter, table

CONSERVATION = 1e-9
"""Largest relative difference of losses and input in an accepted steady state."""


class Reason(IntEnum):
    """Why a column has no steady state, for any model; stored as one code per column.

    A model may have further reasons; see :attr:`SoilModel.own_reasons`.
    """

    FEASIBLE = 0
    NO_STEADY_STATE = 1
    """Supply exceeds the maximum rate, or carbon enters where nothing decomposes (the rate is 0, or
    too small for float64)."""
    NOT_FINITE = 2
    """A pool or rate exceeds the range of float64."""
    NOT_CONVERGED = 4
    """The general steady state was not found; it may not exist."""

    @property
    def words(self) -> str:
        """The reason in words."""
        return self.name.lower().replace("_", " ")


class SteadyState(eqx.Module):
    """Steady state of one column.

    If `reason` is not 0 there is no steady state, and pools and respiration are 0; only the
    published variants keep the numbers that their code rejects, so that they can be compared.
    """

    pools: Float[Array, "pool layer"]
    """Carbon, g m-3."""
    soil_carbon: Float[Array, " layer"]
    """Sum of the soil (not litter) pools, which soil profiles measure, g m-3."""
    respiration: Float[Array, ""]
    """Carbon that the whole column loses as CO2, g m-2 yr-1."""
    reason: Int[Array, ""]
    lost: dict[str, Float[Array, ""]] = eqx.field(default_factory=dict)
    """Carbon that the whole column loses otherwise, by the names in `SoilModel.losses`, g m-2 yr-1.
    """


class Transfers(eqx.Module):
    """All processes of one column at one state: the terms of P-Eq 2.

    Tendency, respiration and system-level components of any model follow from these.
    """

    input: Float[Array, "pool layer"]
    """B I: carbon that enters, g m-3 yr-1."""
    decay: Float[Array, "pool layer"]
    """K: baseline decomposition rate at this state, without modifier, yr-1."""
    modifier: Float[Array, "pool layer"]
    """xi: environmental modifier of each pool's decomposition, unitless."""
    fraction: dict[tuple[str, str], Float[Array, "..."]]
    """A: share of what leaves a donor that arrives in a receiver, by (receiver, donor)."""
    transport: Transport
    """V: rates of mixing, for the model's transported pools."""
    climate: Float[Array, " layer"]
    """Modifier by temperature, water and depth alone (P-Eq 13), unitless."""
    input_shares: Float[Array, " layer"]
    """Share of the carbon input that enters each layer."""
    lost: dict[tuple[str, str], Float[Array, "..."]] = eqx.field(default_factory=dict)
    """Share of what leaves a donor that is lost from the column other than as CO2, by (loss,
    donor); the losses are those in `SoilModel.losses`."""
    michaelis: dict[str, Float[Array, " layer"]] = eqx.field(default_factory=dict)
    """Michaelis constant (g m-3, with modifier) of each substrate pool, where there is one."""


class SoilModel(eqx.Module):
    """One soil-carbon model; its methods see ONE column and are pure (vmap them over sites).

    A model declares its pools and parameters, its steady state and its transfers. Everything else
    follows: transient runs, conservation checks, components, sampling, mapping, plots. How carbon
    mixes and where it enters are processes that the model names, and its litter enters by a matrix.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    pools: ClassVar[tuple[str, ...]]
    soil_pools: ClassVar[tuple[str, ...]]
    """Pools that a measured soil profile contains."""
    microbial_pools: ClassVar[tuple[str, ...]] = ()
    """Soil pools that are living microbes, whose share of soil carbon can be measured."""
    first_order: ClassVar[bool] = False
    """Whether rates and shares depend on no pool, so that the model is linear in its carbon. It
    need not be declared; transient runs of a model that declares it are cheaper."""
    transported: ClassVar[tuple[str, ...]] = ()
    """Pools that mix vertically."""
    mixes: ClassVar[VerticalMixing] = NoMixing()
    """How they mix; a model without vertical transport need not state it."""
    allocates: ClassVar[InputAllocation]
    """How carbon input is distributed over the layers."""
    litter_enters: ClassVar[Mapping[tuple[str, str], float]]
    """Share of each kind of litter of the forcing (`CWD`, `ML`, `CL`, `LL`) that enters a pool, by
    (pool, litter). The shares of each kind add up to 1."""
    losses: ClassVar[tuple[str, ...]] = ()
    """Ways other than CO2 by which carbon leaves the column, such as `leaching`."""
    own_reasons: ClassVar[Mapping[int, str]] = {}
    """Names of the model's own reason codes, which are 20 to 99 (3: the published COMPAS)."""
    fed_by_plants: ClassVar[tuple[str, ...]] = ()
    """Pools whose carbon comes from plants and from each other alone and whose decay depends on no
    pool: the general steady state solves them in one linear system. It is optional."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Properties of the soil that the model requires; see `forcing.SITE_PROPERTIES`."""
    rows: ClassVar[tuple[Parameter, ...]]
    """The parameter registry."""
    shares: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Parameters that divide up one flow, and so must not add up to more than 1."""
    variants: ClassVar[tuple[str, ...]] = ("default",)
    tuned: ClassVar[bool] = False
    """Whether the registry's defaults are a tuned global parameterisation; else a study's default
    map takes the mean of the accepted sites (P-section 2.5)."""

    variant: str = eqx.field(static=True, default="default")

    def __check_init__(self) -> None:
        if self.variant not in self.variants:
            raise ModelError(
                f"{self.name} has no variant {self.variant!r}; it has {', '.join(self.variants)}."
            )
        if self.transported and self._inherits("mixing") and isinstance(self.mixes, NoMixing):
            raise ModelError(
                f"{self.name} declares pools that mix ({', '.join(self.transported)}) but not how. "
                "Add `mixes = SoilTurbation()` (from proda.column.processes) to the class."
            )
        if self._inherits("input_shares") and not hasattr(self, "allocates"):
            raise ModelError(
                f"{self.name} does not declare where the carbon of plants enters. Add "
                "`allocates = RootProfile()` (from proda.column.processes) to the class."
            )

    def _inherits(self, method: str) -> bool:
        return getattr(type(self), method) is getattr(SoilModel, method)

    @abc.abstractmethod
    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Return the pools at which gains equal losses (P-Eq 2 with dX/dt = 0)."""

    @abc.abstractmethod
    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return all rates of one column at a given state."""

    def default_values(self, column: Column) -> dict[str, Float[Array, "..."]]:
        """Return the ad hoc parameterisation of one column (P-section 2.5).

        Models whose defaults depend on the site override this.
        """
        return {row.name: jnp.asarray(row.default) for row in self.rows}

    def check_forcing(self, forcing: Forcing) -> None:
        """Refuse forcing that lacks a property of the soil which the model needs.

        Raises
        ------
        ForcingError
            Naming what is missing and how to add it.
        """
        if missing := [name for name in self.needs if name not in forcing.properties]:
            raise ForcingError(lacking(missing, self.name))

    @property
    def conserves(self) -> bool:
        """Whether losses must equal input: not where a published scheme leaks below bedrock."""
        return True

    @property
    def shows_rejected(self) -> bool:
        """Whether to return the numbers of a column that has no steady state, for comparison."""
        return False

    @classmethod
    def reasons(cls) -> dict[int, str]:
        """Return the names of all reason codes that the model can give."""
        return dict(sorted([*((int(r), r.name.lower()) for r in Reason), *cls.own_reasons.items()]))

    @property
    def parameters(self) -> pd.DataFrame:
        """The parameter table: name, symbol, unit, lower, upper, default, component, meaning."""
        return table(self.rows)

    def mixing(self, parameters: Values, column: Column) -> Transport:
        """Return the rates of vertical mixing, yr-1."""
        return self.mixes.rates(parameters, column)

    def input_shares(self, parameters: Values, column: Column) -> Float[Array, " layer"]:
        """Return the share of the carbon input that enters each layer."""
        return self.allocates.shares(parameters, column)

    def entering(
        self, parameters: Values, column: Column
    ) -> Mapping[tuple[str, str], Float[Array, "..."] | float]:
        """Return `litter_enters`; a model whose shares are parameters overrides this."""
        if not hasattr(self, "litter_enters"):
            raise ModelError(
                f"{self.name} does not declare which pools litter enters. Add `litter_enters` to "
                "the class, such as `all_litter_into(POOL)` (from proda.models.litter)."
            )
        return self.litter_enters

    def litter_input(self, parameters: Values, column: Column) -> Float[Array, "pool layer"]:
        """Return B I: the carbon input to each pool, g m-3 yr-1."""
        shares = self.input_shares(parameters, column)
        entering = column.litter_input[:, None] * shares / column.grid.thickness
        matrix = self.entering(parameters, column)
        if (
            matrix is LITTER_POOLS and self.pools[: len(LITTER)] == LITTER
        ):  # each kind has its own pool
            return jnp.pad(entering, ((0, len(self.pools) - len(LITTER)), (0, 0)))
        into = {pool: jnp.zeros(len(column.grid)) for pool in self.pools}
        for (pool, litter), share in matrix.items():
            into[pool] = into[pool] + share * entering[LITTER.index(litter)]
        return jnp.stack(list(into.values()))

    def outflow(
        self, pools: Float[Array, "pool layer"], transfers: Transfers
    ) -> Float[Array, "pool layer"]:
        """Return the decomposition of each pool, xi K X, g m-3 yr-1."""
        return transfers.modifier * transfers.decay * pools

    def respiration(
        self, pools: Float[Array, "pool layer"], transfers: Transfers
    ) -> Float[Array, " layer"]:
        """Return the CO2 that leaves each layer, g m-3 yr-1.

        It is the decomposed carbon that is neither transferred to another pool nor lost otherwise.
        """
        out = self.outflow(pools, transfers)
        respired = out.sum(axis=0)
        for (_, donor), share in (*transfers.fraction.items(), *transfers.lost.items()):
            respired = respired - share * out[self.pools.index(donor)]
        return respired

    def lost(
        self, pools: Float[Array, "pool layer"], transfers: Transfers
    ) -> dict[str, Float[Array, " layer"]]:
        """Return the losses of each layer other than CO2, by the names in `losses`, g m-3 yr-1."""
        out = self.outflow(pools, transfers)
        losses = {name: jnp.zeros_like(out[0]) for name in self.losses}
        for (name, donor), share in transfers.lost.items():
            losses[name] = losses[name] + share * out[self.pools.index(donor)]
        return losses

    def tendency(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Float[Array, "pool layer"]:
        """Return dX/dt of P-Eq 2, g m-3 yr-1."""
        t = self.transfers(pools, parameters, column)
        return self.exchanged(pools, t) + self.mixed(pools, t.transport, column)

    def exchanged(
        self, pools: Float[Array, "pool layer"], transfers: Transfers
    ) -> Float[Array, "pool layer"]:
        """Return B I + A xi K X, the change by processes inside a layer, g m-3 yr-1."""
        out = self.outflow(pools, transfers)
        change = transfers.input - out
        for (receiver, donor), share in transfers.fraction.items():
            change = change.at[self.pools.index(receiver)].add(share * out[self.pools.index(donor)])
        return change

    def mixed(
        self, pools: Float[Array, "pool layer"], transport: Transport, column: Column
    ) -> Float[Array, "pool layer"]:
        """Return V X, the net gain of each layer by mixing, g m-3 yr-1."""
        moving = jnp.array([pool in self.transported for pool in self.pools])[:, None]
        stock = jnp.where(moving, pools * column.grid.thickness, 0.0)
        zero = jnp.zeros_like(stock[:, :1])
        down, up = transport.down * stock, transport.up * stock
        gain = jnp.concatenate([zero, down[:, :-1]], axis=1) + jnp.concatenate(
            [up[:, 1:], zero], axis=1
        )
        return (gain - down - up - transport.leak * stock) / column.grid.thickness

    def soil_carbon(self, pools: Float[Array, "pool layer"]) -> Float[Array, " layer"]:
        """Return the sum of the soil pools, which a soil profile measures, g m-3."""
        total = jnp.zeros_like(pools[0])
        for pool in self.soil_pools:
            total = total + pools[self.pools.index(pool)]
        return total

    def finish(
        self,
        pools: Float[Array, "pool layer"],
        respired: Float[Array, " layer"],
        feasible: Any,
        column: Column,
        extra: Int[Array, ""] | None = None,
        lost: Mapping[str, Float[Array, " layer"]] | None = None,
    ) -> SteadyState:
        """Check a candidate steady state and set its reason code.

        Parameters
        ----------
        pools
            Candidate pools, g m-3.
        respired
            CO2 by layer, g m-2 yr-1, from the pools' own rates.
        feasible
            Whether the model's own conditions hold.
        column
            The column.
        extra
            A further reason of the model, 0 if none.
        lost
            Losses of each layer other than CO2, g m-2 yr-1, by the names in `losses`; not needed
            for a model without such losses.
        """
        carbon_input = column.litter_input.sum()
        respiration = respired.sum()
        other = {name: (lost or {})[name].sum() for name in self.losses}
        losses = sum(other.values(), respiration)
        # Pool by pool: a sampler needs their sum alone, and does not stack them then.
        finite = jnp.isfinite(losses)
        for pool in pools:
            finite = finite & jnp.isfinite(pool).all()
        balanced = (not self.conserves) | (
            jnp.abs(losses - carbon_input) <= CONSERVATION * carbon_input
        )
        reason = jnp.asarray(Reason.FEASIBLE if extra is None else extra)
        reason = jnp.where(feasible & balanced, reason, Reason.NO_STEADY_STATE)
        if extra is not None:  # a state at which Newton's method did not converge is not balanced
            reason = jnp.where(extra == Reason.NOT_CONVERGED, extra, reason)
        reason = jnp.where(finite, reason, Reason.NOT_FINITE).astype(jnp.int8)
        keep = (reason == Reason.FEASIBLE) | (self.shows_rejected & finite)
        return SteadyState(
            pools=jnp.where(keep, pools, 0.0),
            soil_carbon=jnp.where(keep, self.soil_carbon(pools), 0.0),
            respiration=jnp.where(keep, respiration, 0.0),
            reason=reason,
            lost={name: jnp.where(keep, flux, 0.0) for name, flux in other.items()},
        )
