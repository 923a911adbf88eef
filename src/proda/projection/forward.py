"""Run members of an ensemble in time at some cells, in blocks of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from proda.column.column import Column, prepare
from proda.errors import ModelError
from proda.forcing import Forcing
from proda.maps.map_variables import STOCKS
from proda.maps.parameter_sources import Member
from proda.models.model import Reason, SoilModel
from proda.models.second_order import second_order_step
from proda.models.transient import advance
from proda.projection.changed_drivers import changed
from proda.projection.experiments import Change, Experiment
from proda.projection.projection_settings import ProjectionSettings
from proda.projection.steps import TimeSpan
from proda.radiocarbon.distribution_of_ages import ages
from proda.simulate import CPU_BLOCK, GPU_BLOCK, block_of
from proda.threads import run_in_threads

LITTER_CARBON = "cLitter"
"""Carbon of all pools that are not soil carbon, including coarse woody debris."""
CARBON = (*(stock.name for stock in STOCKS), LITTER_CARBON)
RESPIRATION, CARBON_INPUT = "rh", "carbon_input"
OTHER_LOSSES = "other_losses"
"""All that a column loses other than as CO2; only models that declare such losses have it."""
RESPIRED, ENTERED, LOST = "respired", "entered", "lost"
SINCE_START = (RESPIRED, ENTERED, LOST)
MEAN_AGE = "mean_age"
RETRIES = 16
"""Columns that are computed again together, with shorter steps."""


@dataclass(eq=False)
class Projected:
    """One experiment at some columns.

    Attributes
    ----------
    kept
        Stocks (kg m-2), respiration, other losses and carbon input (kg m-2 yr-1), and what was
        respired, lost otherwise and entered since the start (kg m-2), (member, cell, time); the
        first time is the start. Other losses are there where the model declares some.
    steady
        The same, without the sums over time, and the mean age (yr), at the new steady state,
        (member, cell).
    series
        Stocks at the end of each time step, the start first, (member, cell, step, stock).
    age
        Mean age of all carbon at the present steady state, years, (member, cell).
    reason, steady_reason
        Reasons why a member has no result, and none at the new steady state, (member, cell). The
        numbers are undefined where a code is not 0.
    pools
        Carbon of each pool at the kept times, g m-3, (member, cell, time, pool, layer), if
        requested.
    retried
        Steps times columns that were computed again with implicit Euler steps.
    """

    kept: dict[str, Float[np.ndarray, "member cell time"]]
    steady: dict[str, Float[np.ndarray, "member cell"]]
    series: Float[np.ndarray, "member cell step stock"]
    age: Float[np.ndarray, "member cell"]
    reason: Int[np.ndarray, "member cell"]
    steady_reason: Int[np.ndarray, "member cell"]
    pools: Float[np.ndarray, "member cell time pool layer"] | None = None
    retried: int = 0


@eqx.filter_jit
def _steady(model: SoilModel, values: dict, columns: Column) -> tuple[Array, Array, dict]:
    """Return pools, reason and results of the steady state of each column."""

    def one(values: dict, column: Column) -> tuple[Array, Array, dict]:
        state = model.steady_state(values, column)
        stocks_and_flows = _measured(model, state.pools, values, column)
        return (
            state.pools,
            state.reason,
            stocks_and_flows | {MEAN_AGE: ages(model, state.pools, values, column)[MEAN_AGE]},
        )

    return jax.vmap(one)(values, columns)


@eqx.filter_jit
def _measure(model: SoilModel, pools: Array, values: dict, columns: Column) -> dict:
    return jax.vmap(lambda x, v, c: _measured(model, x, v, c))(pools, values, columns)


def _measured(model: SoilModel, pools: Array, values: dict, column: Column) -> dict[str, Array]:
    """Return stocks, kg m-2, and current flows, kg m-2 yr-1."""
    t = model.transfers(pools, values, column)
    thickness = column.grid.thickness
    respired = (model.respiration(pools, t) * thickness).sum() / 1000.0
    entering = (t.input * thickness).sum() / 1000.0
    flows = {RESPIRATION: respired, CARBON_INPUT: entering}
    if model.losses:
        lost = sum(model.lost(pools, t).values(), jnp.zeros(()))
        flows[OTHER_LOSSES] = (lost * thickness).sum() / 1000.0
    return _stocks(model, pools, column) | flows


def _stocks(model: SoilModel, pools: Array, column: Column) -> dict[str, Array]:
    grid, carbon = column.grid, model.soil_carbon(pools) / 1000.0
    stocks = {}
    for stock in STOCKS:
        bottom = float(grid.interface[-1]) if stock.lower is None else stock.lower
        stocks[stock.name] = (carbon * grid.thickness_within(0.0, bottom)).sum()
    everything = (pools * grid.thickness).sum() / 1000.0
    stocks[LITTER_CARBON] = everything - (carbon * grid.thickness).sum()
    return stocks


@eqx.filter_jit
def _step(
    model: SoilModel, pools: Array, values: dict, columns: Column, years: Array
) -> tuple[Array, ...]:
    """Advance a block, and return the stocks of the new state for the time series."""

    def one(x: Array, v: dict, c: Column) -> tuple[Array, ...]:
        done = second_order_step(model, x, v, c, years)
        stocks = _stocks(model, done.pools, c)
        return (
            done.pools,
            done.respired,
            done.entered,
            sum(done.lost.values(), jnp.zeros(())),
            done.converged,
            jnp.stack([stocks[name] for name in CARBON]),
        )

    return jax.vmap(one)(pools, values, columns)


@eqx.filter_jit
def _halved_steps(
    model: SoilModel, pools: Array, values: dict, columns: Column, years: Array
) -> tuple[Array, ...]:
    def one(x: Array, v: dict, c: Column) -> tuple[Array, ...]:
        done = advance(model, x, v, c, years)
        good = done.converged & (done.pools >= 0.0).all()
        lost = sum(done.lost.values(), jnp.zeros(()))
        return done.pools, done.respired, done.entered, lost, good

    return jax.vmap(one)(pools, values, columns)


@dataclass(eq=False)
class _State:
    """The state of one member's columns of a block in an experiment."""

    values: dict[str, Array]
    pools: Array
    respired: np.ndarray
    entered: np.ndarray
    lost: np.ndarray
    reason: np.ndarray
    kept: list[dict[str, np.ndarray]] = field(default_factory=list)
    series: list[np.ndarray] = field(default_factory=list)
    saved: list[np.ndarray] = field(default_factory=list)
    retried: int = 0

    def advance(self, model: SoilModel, columns: Column, years: float) -> None:
        """Take one step; columns in which it fails repeat it in shorter steps."""
        length = jnp.asarray(years)
        before = self.pools
        pools, *flows, fine, carbon_stocks = _step(model, before, self.values, columns, length)
        respired, entered, elsewhere, stocks = (np.array(a) for a in (*flows, carbon_stocks))
        bad = np.flatnonzero(~np.asarray(fine) & (self.reason == 0))
        for start in range(0, len(bad), RETRIES):
            some = bad[start : start + RETRIES]
            padded = np.resize(some, RETRIES)
            start_of, values, some_columns = _at(padded, (before, self.values, columns))
            again = _halved_steps(model, start_of, values, some_columns, length)
            new, given_off, gained, leached, good = (np.asarray(a)[: len(some)] for a in again)
            pools = pools.at[some].set(new)
            respired[some], entered[some], elsewhere[some] = given_off, gained, leached
            stocks[some] = _block_stocks(model, pools[some], columns.grid)
            self.reason[some[~good]] = Reason.NOT_CONVERGED
            self.retried += len(some)
        self.pools = pools
        self.respired = self.respired + respired / 1000.0
        self.entered = self.entered + entered / 1000.0
        self.lost = self.lost + elsewhere / 1000.0
        self.series.append(stocks)

    def keep(self, model: SoilModel, columns: Column, keep_pools: bool) -> None:
        """Store the current state."""
        stocks_and_flows = _measure(model, self.pools, self.values, columns)
        sums = {RESPIRED: self.respired, ENTERED: self.entered}
        if model.losses:
            sums[LOST] = self.lost
        self.kept.append({name: np.asarray(v) for name, v in stocks_and_flows.items()} | sums)
        if keep_pools:
            self.saved.append(np.asarray(self.pools))


def _at(index: np.ndarray, tree: Any) -> Any:
    """Return some columns of all arrays."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def losses_of(kept: dict[str, np.ndarray]) -> np.ndarray:
    """Return all that columns lose, CO2 and otherwise, kg m-2 yr-1."""
    other = kept.get(OTHER_LOSSES)
    return kept[RESPIRATION] if other is None else kept[RESPIRATION] + other


def _block_stocks(model: SoilModel, pools: Any, grid: Any) -> np.ndarray:
    """Return the stocks of a few columns, (cell, stock), kg m-2."""
    pools = np.asarray(pools)
    carbon = np.stack([np.asarray(model.soil_carbon(x)) for x in pools]) / 1000.0
    bottoms = [float(grid.interface[-1]) if s.lower is None else s.lower for s in STOCKS]
    stocks = [(carbon * grid.thickness_within(0.0, b)).sum(axis=1) for b in bottoms]
    litter = (pools * grid.thickness).sum(axis=(1, 2)) / 1000.0 - stocks[-1]
    return np.stack([*stocks, litter], axis=1)


def project_members(
    model: SoilModel,
    members: Sequence[Member],
    forcing: Forcing,
    experiments: Sequence[Experiment],
    settings: ProjectionSettings,
    latitude: Float[np.ndarray, " cell"],
    longitude: Float[np.ndarray, " cell"],
    thawed_water: Float[np.ndarray, " cell"] | None = None,
    initial: Float[np.ndarray, "member cell pool layer"] | None = None,
    keep_pools: bool = False,
) -> list[Projected]:
    """Run every experiment for every member at every column.

    Columns run in blocks of one size (the last repeats its last column), on as many threads as
    there are cores; a column's numbers do not depend on how the columns are divided up. Drivers
    are computed once for all members.

    Parameters
    ----------
    model, members, forcing
        As for :func:`proda.maps.run_members.run_members`.
    experiments
        The experiments.
    settings
        Times and time steps.
    latitude, longitude
        Coordinates of the columns, degrees, for anomalies.
    thawed_water
        See :func:`proda.projection.changed_drivers.changed`.
    initial
        State at the start, g m-3; None is each member's steady state.
    keep_pools
        Whether to keep the pools of all layers, which need most of the memory.

    Raises
    ------
    ModelError
        If the model is a published variant, which loses carbon below bedrock.
    """
    if not model.conserves:
        raise ModelError(
            f"{model.name} (published) loses carbon below bedrock and cannot be projected; use "
            "the variant default."
        )
    n = len(forcing)
    on_cpu = jax.default_backend() == "cpu"
    size = min(CPU_BLOCK if on_cpu else GPU_BLOCK, 1 << (n - 1).bit_length())

    def block(start: int) -> list[Projected]:
        index = block_of(start, size, n)
        keep = min(size, n - start)
        part = _Block(
            model,
            [{name: jnp.asarray(v[index]) for name, v in member.items()} for member in members],
            forcing.select(index),
            latitude[index],
            longitude[index],
            None if thawed_water is None else thawed_water[index],
            None if initial is None else initial[:, index],
            settings,
            keep_pools,
        )
        return [_cut(part.run(experiment), keep) for experiment in experiments]

    blocks = run_in_threads(block, range(0, n, size))
    return [_joined([b[i] for b in blocks]) for i in range(len(experiments))]


class _Block:
    """Columns that are run together through all experiments, with their start."""

    def __init__(
        self,
        model: SoilModel,
        members: list[dict[str, Array]],
        forcing: Forcing,
        latitude: np.ndarray,
        longitude: np.ndarray,
        thawed_water: np.ndarray | None,
        initial: np.ndarray | None,
        settings: ProjectionSettings,
        keep_pools: bool,
    ) -> None:
        self.model, self.members, self.forcing = model, members, forcing
        self.latitude, self.longitude, self.thawed_water = latitude, longitude, thawed_water
        self.settings, self.keep_pools = settings, keep_pools
        self.columns = prepare(forcing)
        self.start: list[tuple[Array, np.ndarray]] = []
        self.ages: list[np.ndarray] = []
        for i, values in enumerate(members):
            pools, reason, results = _steady(model, values, self.columns)
            self.ages.append(np.asarray(results[MEAN_AGE]))
            if initial is not None:
                pools, reason = jnp.asarray(initial[i]), jnp.zeros_like(reason)
            self.start.append((pools, np.array(reason)))

    def run(self, experiment: Experiment) -> Projected:
        """Run one experiment for all members together, so that drivers are computed once."""
        model, nothing = self.model, np.zeros(len(self.forcing))
        states = [
            _State(values, pools, nothing, nothing, nothing, reason.copy())
            for values, (pools, reason) in zip(self.members, self.start, strict=True)
        ]
        for state in states:
            state.keep(model, self.columns, self.keep_pools)
            state.series.append(np.stack([state.kept[0][name] for name in CARBON], axis=-1))
        columns, before = self.columns, None
        for span in experiment.steps(self.settings):
            if before is None or not experiment.same(before, span):
                columns = self._columns(experiment.at(span, self.latitude, self.longitude))
            before = span
            for state in states:
                state.advance(model, columns, span.years)
                if _kept(span, self.settings.times):
                    state.keep(model, columns, self.keep_pools)
        return self._result(states, self._columns(experiment.end(self.latitude, self.longitude)))

    def _columns(self, change: Change) -> Column:
        return prepare(changed(self.forcing, change, self.thawed_water))

    def _result(self, states: list[_State], end: Column) -> Projected:
        ends = [_steady(self.model, state.values, end) for state in states]
        kept = {
            name: np.stack([np.stack([moment[name] for moment in s.kept], axis=1) for s in states])
            for name in states[0].kept[0]
        }
        return Projected(
            kept=kept,
            steady={
                name: np.stack([np.asarray(results[name]) for *_, results in ends])
                for name in ends[0][2]
            },
            series=np.stack([np.stack(s.series, axis=1) for s in states]),
            age=np.stack(self.ages),
            reason=np.stack([s.reason for s in states]),
            steady_reason=np.stack([np.asarray(reason) for _, reason, _ in ends]),
            pools=np.stack([np.stack(s.saved, axis=1) for s in states])
            if self.keep_pools
            else None,
            retried=sum(s.retried for s in states),
        )


def _kept(span: TimeSpan, times: Sequence[float]) -> bool:
    return any(abs(span.end - time) < 1e-6 for time in times)


def _cut(part: Projected, keep: int) -> Projected:
    """Remove the columns that only pad a block."""
    return Projected(
        {name: v[:, :keep] for name, v in part.kept.items()},
        {name: v[:, :keep] for name, v in part.steady.items()},
        part.series[:, :keep],
        part.age[:, :keep],
        part.reason[:, :keep],
        part.steady_reason[:, :keep],
        None if part.pools is None else part.pools[:, :keep],
        part.retried,
    )


def _joined(parts: list[Projected]) -> Projected:
    def all_of(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays, axis=1)

    return Projected(
        {name: all_of([p.kept[name] for p in parts]) for name in parts[0].kept},
        {name: all_of([p.steady[name] for p in parts]) for name in parts[0].steady},
        all_of([p.series for p in parts]),
        all_of([p.age for p in parts]),
        all_of([p.reason for p in parts]),
        all_of([p.steady_reason for p in parts]),
        None if parts[0].pools is None else all_of([p.pools for p in parts]),  # type: ignore[misc]
        sum(p.retried for p in parts),
    )
