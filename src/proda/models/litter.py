"""Litter of CLM5: coarse woody debris, metabolic, cellulose and lignin litter.

Woody debris does not mix; the other three mix vertically. No carbon flows from soil to litter, so
litter is solved first.
"""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Bool, Float

from proda.column.column import Column
from proda.column.environment import Environment
from proda.column.ratio import ratio
from proda.column.transport import Transport
from proda.column.tridiagonal import ChainRates, Scalar, solve_chains
from proda.forcing import LITTER

LITTER_POOLS = {(kind, kind): 1.0 for kind in LITTER}
"""`SoilModel.litter_enters` of models in which each kind of litter enters a pool of its own."""


def all_litter_into(pool: str) -> dict[tuple[str, str], float]:
    """Return `SoilModel.litter_enters` of a model whose litter all enters one pool."""
    return {(pool, kind): 1.0 for kind in LITTER}


class Litter(eqx.Module):
    """Litter of one column at steady state.

    The unknown is q = stock / turnover time, the carbon that would leave a layer at a modifier of
    1 (g m-2 yr-1): unlike the rate, it stays finite as a turnover time approaches 0.
    """

    cwd: Float[Array, " layer"]
    metabolic: Float[Array, " layer"]
    cellulose: Float[Array, " layer"]
    lignin: Float[Array, " layer"]
    stuck: Bool[Array, ""]
    """Whether litter enters where nothing decomposes: there is no steady state."""

    def pools(
        self, cwd: Scalar, metabolic: Scalar, cellulose_lignin: Scalar, column: Column
    ) -> tuple[Float[Array, " layer"], ...]:
        """Return the four pools in the order of `LITTER`, g m-3, by their turnover times, yr."""
        thickness = column.grid.thickness
        return (
            cwd * self.cwd / thickness,
            metabolic * self.metabolic / thickness,
            cellulose_lignin * self.cellulose / thickness,
            cellulose_lignin * self.lignin / thickness,
        )


def litter_steady_state(
    turnover_metabolic: Scalar,
    turnover_cellulose_lignin: Scalar,
    cwd_to_cellulose: Scalar,
    shares: Float[Array, " layer"],
    environment: Environment,
    transport: Transport,
    column: Column,
) -> Litter:
    """Solve the four litter pools (docs/theory.md#the-balance-of-carbon).

    Parameters
    ----------
    turnover_metabolic, turnover_cellulose_lignin
        Turnover times, yr; cellulose and lignin share one.
    cwd_to_cellulose
        Share of decomposed woody debris that becomes cellulose litter; the rest becomes lignin.
    shares
        Share of the input that enters each layer.
    environment, transport, column
        Of this column.
    """
    cwd, metabolic, cellulose, lignin = column.litter_input
    # Both chains per unit of input: cellulose and lignin differ in their input only.
    turnover = (turnover_metabolic, turnover_cellulose_lignin)
    layers = {
        "share": shares,
        "xi": environment.litter,
        "up": transport.up,
        "down_above": transport.down_above,
        "leak": transport.leak,
    }

    def rates(at: dict[str, Scalar]) -> ChainRates:
        return ChainRates(
            loss=[at["xi"] + at["leak"] * tau for tau in turnover],
            up=[at["up"] * tau for tau in turnover],
            down_above=[at["down_above"] * tau for tau in turnover],
            source=[at["share"] for _ in turnover],
        )

    (fast, slow), closed = solve_chains(layers, rates)
    fallen = cwd * shares
    return Litter(
        cwd=ratio(fallen, environment.soil),
        metabolic=metabolic * fast,
        cellulose=(cellulose + cwd_to_cellulose * cwd) * slow,
        lignin=(lignin + (1.0 - cwd_to_cellulose) * cwd) * slow,
        stuck=(closed & (column.litter_input.sum() > 0.0))
        | ((fallen > 0.0) & (environment.soil == 0.0)).any(),
    )
