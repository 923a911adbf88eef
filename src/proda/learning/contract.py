"""Requirements of every model, ours and a user's: each check reports what it found and requires.

The checks run on the six example columns at the model's defaults, and on synthetic columns that are
more extreme than real ones, with parameters from the whole prior.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from proda import simulate
from proda.column.column import Column, prepare
from proda.column.processes import SurfaceInput
from proda.errors import ForcingError
from proda.forcing import LITTER, SITE_PROPERTIES, Forcing
from proda.grid import CLM5_GRID
from proda.learning.contract_calibration import calibrate
from proda.learning.contract_columns import (
    example_forcing,
    rough_forcing,
    rough_parameters,
    with_properties,
)
from proda.models.model import Reason, SoilModel, SteadyState
from proda.models.second_order import flow_rates, second_order_step
from proda.models.transient import advance

COLUMNS = 64
SEED = 7
B = 0.95
"""Depth profile of carbon input where the model has no default."""
PUBLISHED_REASONS = (3,)
"""Codes that models of the study have had from the first; others of a model are 20 to 99."""
SOLVABLE = 0.3
"""Minimum share of extreme columns with a steady state; with fewer the check would be
meaningless."""
BALANCE, TENDENCY, GRADIENT, TRANSIENT = 1e-10, 1e-8, 1e-6, 1e-6
TOP = 9
"""Layers of the top metre."""


@dataclass(frozen=True)
class Check:
    """The result of one check of a model."""

    name: str
    holds: bool
    result: str
    needed: str


def run_checks(model: SoilModel, calibration: bool = True) -> Iterator[Check]:
    """Yield the checks of a model, one after the other.

    Parameters
    ----------
    model
        Of `proda.load_model`.
    calibration
        Whether to check a short calibration of the sampler too, which takes most of the time.
    """
    checks: list[tuple[str, Callable[[SoilModel], list[Check]]]] = [
        ("parameter table", check_rows),
        ("properties of the soil", check_properties),
        ("steady state at the defaults", check_defaults),
        ("steady state over the prior", check_prior),
        ("gradient", check_gradient),
        ("first order", check_first_order),
        ("transient run", check_transient),
        ("components", check_components),
    ]
    if calibration:
        checks.append(("calibration", check_calibration))
    for name, check in checks:
        try:
            yield from check(model)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            yield Check(name, False, message, "no error")


def check_rows(model: SoilModel) -> list[Check]:
    """Check that the table of parameters is complete and the pools are declared."""
    names = [row.name for row in model.rows]
    wrong = [f"{name} appears twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    for row in model.rows:
        lacks = [n for n in ("unit", "source", "meaning", "symbol") if not getattr(row, n)]
        wrong += [f"{row.name} has no {', '.join(lacks)}"] if lacks else []
        wrong += [] if row.lower < row.upper else [f"{row.name} has an empty prior range"]
        outside = row.default < row.physical_lower or row.default > row.physical_upper
        if outside:
            wrong.append(f"the default of {row.name} lies outside the physically meaningful range")
    for process in (model.mixes, getattr(model, "allocates", None)):
        read = () if process is None else process.parameters
        lacking = [name for name in read if name not in names]
        wrong += [f"{name} is read by {type(process).__name__} and has no row" for name in lacking]
    pools = [
        name
        for kind in ("soil_pools", "transported", "fed_by_plants")
        for name in getattr(model, kind)
        if name not in model.pools
    ]
    return [
        _listed("parameter table is complete", wrong, f"{len(names)} rows"),
        _listed(
            "pools are declared",
            [*(f"{n} is not a pool" for n in pools), *_wrong_declarations(model)],
            ", ".join(model.pools),
        ),
    ]


def _wrong_declarations(model: SoilModel) -> list[str]:
    """Return what is wrong with the declared litter, losses and reason codes."""
    enters = getattr(model, "litter_enters", {})
    wrong = [f"{pool} is not a pool" for pool, _ in enters if pool not in model.pools]
    wrong += [f"{kind} is not a kind of litter" for _, kind in enters if kind not in LITTER]
    wrong += [f"the loss {n} has the name of a pool" for n in model.losses if n in model.pools]
    wrong += [
        f"the reason code {code} is not the model's"
        for code in model.own_reasons
        if code in set(Reason) or not (code in PUBLISHED_REASONS or 20 <= code <= 99)
    ]
    return wrong


def check_properties(model: SoilModel) -> list[Check]:
    """Check that the model uses only the properties of the soil that it declares."""
    known = [v.name for v in SITE_PROPERTIES]
    wrong = [f"{name} is unknown" for name in model.needs if name not in known]
    forcing = example_forcing()
    kept = {n: v for n, v in forcing.properties.items() if n in model.needs}
    declared = dataclasses.replace(forcing, properties=kept)
    try:
        _traced(model, declared)
    except ForcingError as error:
        wrong.append(f"it uses a property that it does not declare ({error})")
    for name in model.needs:
        rest = {n: v for n, v in kept.items() if n != name}
        try:
            model.check_forcing(dataclasses.replace(forcing, properties=rest))
        except ForcingError:
            continue
        wrong.append(f"forcing without {name} is accepted")
    return [_listed("properties of the soil", wrong, ", ".join(model.needs) or "needs none")]


def _traced(model: SoilModel, forcing: Forcing) -> None:
    """Trace the model's code without computing anything."""
    column = _first(prepare(forcing))
    values = {row.name: jnp.asarray(row.middle) for row in model.rows}

    def both(p: dict, column: Column) -> object:
        state = model.steady_state(p, column)
        return state, model.transfers(state.pools, p, column), model.default_values(column)

    jax.eval_shape(both, values, column)


def check_defaults(model: SoilModel) -> list[Check]:
    """Check conservation and signs in the example columns at the model's defaults."""
    forcing = example_forcing()
    index = np.arange(COLUMNS) % len(
        forcing
    )  # as many as below, so that one compiled program serves both
    values = _arrays(_defaults(model, forcing).isel(site=index))
    return _steady(model, forcing.select(index), values, "defaults", 1.0)


def check_prior(model: SoilModel) -> list[Check]:
    """Check conservation and signs in extreme columns with parameters from the whole prior."""
    forcing = with_properties(rough_forcing(SEED, COLUMNS), SEED)
    values = rough_parameters(model, SEED, COLUMNS)
    return _steady(model, forcing, _arrays(values), "prior", SOLVABLE)


@eqx.filter_jit
def _all_of_it(
    model: SoilModel, values: dict[str, Array], columns: Column
) -> tuple[SteadyState, Array, Array, Array, Array]:
    """Return the steady state and the fluxes there."""

    def one(p: dict[str, Array], column: Column) -> tuple[SteadyState, Array, Array, Array, Array]:
        state = model.steady_state(p, column)
        t = model.transfers(state.pools, p, column)
        through = model.outflow(state.pools, t) + (t.transport.up + t.transport.down) * state.pools
        lost = [model.respiration(state.pools, t), *model.lost(state.pools, t).values()]
        losses = (jnp.stack(lost).sum(axis=0) * column.grid.thickness).sum()
        entered = (t.input * column.grid.thickness).sum()
        return state, model.tendency(state.pools, p, column), through, losses, entered

    return jax.vmap(one)(values, columns)


def _steady(
    model: SoilModel, forcing: Forcing, values: dict[str, Array], where: str, needed: float
) -> list[Check]:
    state, tendency, through, losses, entered = jax.tree.map(
        np.asarray, _all_of_it(model, values, prepare(forcing))
    )
    exists = state.reason == Reason.FEASIBLE
    given = forcing.litter_input.sum(axis=1)
    gone = sum(state.lost.values(), state.respiration)
    conserved = _relative(gone[exists], given[exists])
    decayed = _relative(losses[exists], given[exists])
    change = np.abs(tendency)[exists] / np.maximum(through[exists], 1e-190)
    below = np.arange(len(forcing.grid)) >= forcing.nbedrock[:, None]
    deep = np.abs(state.pools[np.broadcast_to(below[:, None, :], state.pools.shape)])
    empty = np.abs(state.pools[~exists])
    finite, least = np.isfinite(state.pools).all(), float(state.pools.min())
    share = float(exists.mean())
    out, verb = ("losses", "lose") if model.losses else ("respiration", "respire")
    return [
        Check(
            f"steady states, {where}",
            share >= needed and share > 0.0,
            f"{int(exists.sum())} of {len(exists)} columns",
            f"at least {needed:.0%}",
        ),
        _within(f"carbon is conserved, {where}", conserved, BALANCE, f"{out} against input"),
        _within(
            f"transfers {verb} the input, {where}",
            decayed,
            TENDENCY,
            f"{out} by the transfers against input",
        ),
        _within(
            f"nothing changes at the steady state, {where}",
            change,
            TENDENCY,
            "change of a pool against its flux",
        ),
        _within(
            f"plants' carbon enters, {where}",
            _relative(entered, given),
            1e-12,
            "input by the transfers against forcing",
        ),
        Check(
            f"no pool is negative, {where}",
            bool(finite and least >= 0.0),
            f"smallest pool {least:.3g} g m-3" if finite else "a pool is not finite",
            ">= 0",
        ),
        _within(
            f"no carbon in bedrock or without a steady state, {where}",
            np.concatenate([deep.ravel(), empty.ravel()]),
            0.0,
            "g m-3",
        ),
    ]


def check_gradient(model: SoilModel) -> list[Check]:
    """Check derivatives of carbon in the top metre against central differences of fourth order."""
    within = jnp.asarray(CLM5_GRID.thickness_within(0.0, 1.0))

    def carbon(p: dict[str, Array], column: Column) -> Array:
        return (model.steady_state(p, column).soil_carbon * within).sum()

    value_of, gradient = jax.jit(carbon), jax.jit(jax.grad(carbon))
    forcing = example_forcing()
    values = _arrays(_defaults(model, forcing))
    columns = prepare(forcing)
    worst, name = 0.0, "none"
    for i in (1, 4):
        column, p = _first(columns, i), {key: value[i] for key, value in values.items()}
        analytic, here = gradient(p, column), float(value_of(p, column))
        for key, value in p.items():
            if value.ndim or value == 0.0:
                continue
            h = 1e-4 * value
            near = [float(value_of({**p, key: value + k * h}, column)) for k in (-2, -1, 1, 2)]
            finite = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * float(h))
            # Where a parameter hardly matters, the rounding error of the carbon dominates.
            size = max(abs(finite), 0.01 * abs(here / float(value)))
            odd = abs(float(analytic[key]) - finite) / size if size > 0.0 else 0.0
            if not odd <= worst:
                worst, name = odd, key
    return [
        Check(
            "gradient equals finite differences",
            bool(worst <= GRADIENT),
            f"largest difference {worst:.2g} ({name})",
            f"<= {GRADIENT:g}",
        )
    ]


def check_transient(model: SoilModel) -> list[Check]:
    """Check that a transient run ends in the steady state, in the top metre.

    It starts at nine tenths of each pool and takes steps that grow to 1e9 years. It does not start
    lower: MIMICS oscillates towards its steady state, and an implicit step longer than an
    oscillation may end in the state without microbes, which is a solution too.
    """
    forcing = example_forcing()
    sites = [2, 4]
    p = _arrays(_defaults(model, forcing).isel(site=sites))
    columns = prepare(forcing.select(sites))
    expected = np.asarray(jax.jit(jax.vmap(model.steady_state))(p, columns).pools)
    step = jax.jit(
        jax.vmap(lambda x, p, c, dt: advance(model, x, p, c, dt), in_axes=(0, 0, 0, None))
    )
    pools, converged = jnp.asarray(0.9 * expected), True
    for years in np.geomspace(0.1, 1e9, 50):
        done = step(pools, p, columns, years)
        converged &= bool(done.converged.all())
        pools = done.pools
    ended = np.asarray(pools)[..., :TOP]
    return [
        Check("steps of a transient run converge", converged, "yes" if converged else "no", "yes"),
        _within(
            "a transient run ends in the steady state",
            _relative(ended, expected[..., :TOP]),
            TRANSIENT,
            "pools against the steady state",
        ),
        *_check_projection_steps(model, expected, p, columns),
    ]


def _check_projection_steps(
    model: SoilModel, steady: np.ndarray, p: dict[str, Array], columns: Column
) -> list[Check]:
    """Check the steps of projections: from the steady state, and from less carbon than that."""
    step = jax.jit(
        jax.vmap(lambda x, p, c: second_order_step(model, x, p, c, 1.0), in_axes=(0, 0, 0))
    )
    same, less = (step(jnp.asarray(share * steady), p, columns) for share in (1.0, 0.9))
    conserved = bool((same.converged & less.converged).all())
    stock = (np.asarray(same.pools) * columns.grid.thickness).sum(axis=(1, 2))
    before = (steady * columns.grid.thickness).sum(axis=(1, 2))
    return [
        Check(
            "steps of projections conserve carbon", conserved, "yes" if conserved else "no", "yes"
        ),
        _within(
            "a step of a projection keeps the steady state",
            _relative(stock, before),
            BALANCE,
            "carbon after a year against the steady state",
        ),
    ]


def check_first_order(model: SoilModel) -> list[Check]:
    """Check that a model that declares first order has the same rates with twice the carbon."""
    if not model.first_order:
        return []
    forcing = example_forcing()
    p, columns = _arrays(_defaults(model, forcing)), prepare(forcing)
    rates = jax.jit(jax.vmap(lambda x, p, c: flow_rates(model, x, p, c)))
    shape = (len(forcing), len(model.pools), len(forcing.grid))
    once, twice = (jax.tree.leaves(rates(jnp.full(shape, x), p, columns)) for x in (1e3, 2e3))
    same = all(bool((a == b).all()) for a, b in zip(once, twice, strict=True))
    return [Check("rates depend on no pool", same, "yes" if same else "no", "yes")]


def check_components(model: SoilModel) -> list[Check]:
    """Check that the components are finite and that their product is correct."""
    forcing = example_forcing()
    values = _defaults(model, forcing)
    parts = simulate.components(model, values, forcing, bounds="physical")
    state = simulate.steady_state(model, values, forcing, bounds="physical")
    wrong = []
    zero = {"V": not model.transported}
    zero["B"] = isinstance(getattr(model, "allocates", None), SurfaceInput)
    for name in ("CTE", "K", "V", "XI", "B", "I", "litter_to_soil", "residence_time"):
        value = parts[name].to_numpy()
        # A pool without transfers has no transfer efficiency.
        least = value >= 0.0 if name == "CTE" else value > 0.0
        if not (
            np.isfinite(value).all() and ((value == 0.0).all() if zero.get(name) else least.all())
        ):
            wrong.append(f"{name} is {float(value.min()):.3g} to {float(value.max()):.3g}")
    over = float(parts["litter_to_soil"].max()) - 1.0
    wrong += ["more carbon reaches the soil than enters"] if over > 1e-9 else []
    thickness = state["thickness"]
    carbon = (state["pool_carbon"] * thickness).sum(("pool", "layer")).to_numpy()
    product = (parts["I"] * parts["residence_time"]).to_numpy()
    columns, given = prepare(forcing), _arrays(values)

    def outflow(pools: Array, p: dict[str, Array], column: Column) -> Array:
        t = model.transfers(pools, p, column)
        return (model.outflow(pools, t) * column.grid.thickness).sum()

    pools = jnp.asarray(state["pool_carbon"].to_numpy())
    leaving = np.asarray(jax.vmap(outflow)(pools, given, columns))
    respired = (1.0 - parts["CTE"].to_numpy()) * leaving
    return [
        _listed("components are finite", wrong, "CTE, K, V, XI, B, I"),
        _within(
            "input x residence time is the carbon",
            _relative(product, carbon),
            TENDENCY,
            "relative difference",
        ),
        _within(
            "(1 - CTE) x decomposition is the input",
            _relative(respired, parts["I"].to_numpy()),
            TENDENCY,
            "relative difference",
        ),
    ]


def check_calibration(model: SoilModel) -> list[Check]:
    """Check that posteriors of synthetic profiles contain the parameters that generated them."""
    calibration = calibrate(model)
    return [
        Check(
            f"{int(level * 100)} % intervals contain the truth",
            abs(share - level) <= margin,
            f"{share:.0%} of {calibration.profiles} profiles x {calibration.parameters} parameters",
            f"{level - margin:.0%} to {min(level + margin, 1.0):.0%}",
        )
        for level, share, margin in calibration.coverage
    ]


def _defaults(model: SoilModel, forcing: Forcing) -> xr.Dataset:
    return simulate.default_parameters(model, forcing, b=B)


def _arrays(values: xr.Dataset | dict[str, np.ndarray]) -> dict[str, Array]:
    return {str(name): jnp.asarray(np.asarray(value)) for name, value in values.items()}


def _first(columns: Column, i: int = 0) -> Column:
    selected: Column = jax.tree.map(lambda leaf: leaf[i], columns)
    return selected


def _relative(value: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the difference relative to the expected value; infinite where only that is 0."""
    different = np.abs(value - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = different / np.abs(expected)
    return np.asarray(np.where(different == 0.0, 0.0, share))


def _within(name: str, value: np.ndarray, most: float, what: str) -> Check:
    worst = float(np.max(value, initial=0.0))  # NaN propagates and fails the check
    return Check(name, bool(worst <= most), f"{worst:.2g} ({what})", f"<= {most:g}")


def _listed(name: str, wrong: list[str], fine: str) -> Check:
    return Check(name, not wrong, "; ".join(wrong) or fine, "nothing missing or wrong")
