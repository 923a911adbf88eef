"""Many columns at once: steady states, components and transient runs, Dataset in, Dataset out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from proda import units
from proda.column.column import Column, prepare, prepare_months
from proda.default_b import MEAN_B
from proda.errors import ParameterError
from proda.forcing import N_MONTHS, Forcing
from proda.models.components import COMPONENTS, MICROBES, ComponentVariable
from proda.models.components import components as _components
from proda.models.model import SoilModel, SteadyState
from proda.models.outside import provenance
from proda.models.transient import TimeStep, advance
from proda.parameters import Bounds, as_arrays, check_same_sites
from proda.radiocarbon.distribution_of_ages import AGES
from proda.radiocarbon.distribution_of_ages import ages as _ages
from proda.threads import run_in_threads

Parameters = Mapping[str, Any] | xr.Dataset
Progress = Callable[[int, int], None]
"""Called with the number of sites done and the number of all sites."""

CPU_BLOCK = 512
"""Columns per compiled call on a CPU: a block's factors then stay in a core's cache."""
GPU_BLOCK = 16384


def default_parameters(
    model: SoilModel, forcing: Forcing, b: float | np.ndarray | None = None
) -> xr.Dataset:
    """Return the model's ad hoc parameterisation at every site (P-section 2.5).

    Parameters
    ----------
    model
        From :func:`proda.load_model`.
    forcing
        The sites; CLM5's transfers from active to slow carbon depend on their sand content.
    b
        Depth profile of the carbon input, one value or one per site. CLM5 takes it from the plant
        functional type (`rootprof_beta` of its parameter file), so for CLM5 it must be given;
        :data:`proda.default_b.MEAN_B` is the mean over all vegetation.

    Returns
    -------
    Dataset with one variable per parameter on (site) or (site, layer). Some values lie outside
    the prior: pass it on with `bounds="physical"`.

    Raises
    ------
    ParameterError
        If a default depends on something that was not given.
    """
    given = {} if b is None else {"b": np.broadcast_to(np.asarray(b, float), (len(forcing),))}
    model.check_forcing(forcing)
    column = prepare(forcing)
    values = {
        name: np.asarray(value) for name, value in jax.vmap(model.default_values)(column).items()
    } | given
    if unset := [name for name, value in values.items() if np.isnan(value).any()]:
        raise ParameterError(
            f"{model.name} has no default for {', '.join(unset)}: it depends on the plant "
            f"functional type. Pass default_parameters(model, forcing, b=...); "
            f"{MEAN_B} is the mean over all vegetation (Jackson et al. 1996)."
        )
    dims = {1: ("site",), 2: ("site", "layer")}
    return xr.Dataset(
        {
            row.name: (
                dims[values[row.name].ndim],
                values[row.name],
                {"units": row.unit, "long_name": row.meaning},
            )
            for row in model.rows
        },
        coords={"site": forcing.site},
        attrs={"title": f"Default parameters of {model.name}"},
    )


def steady_state(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    bounds: Bounds = "prior",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Return the steady state of many columns.

    Parameters
    ----------
    model
        From :func:`proda.load_model`.
    parameters
        Physical values of every parameter, one per site (or one for all, or one per site and
        layer): a mapping or a Dataset.
    forcing
        The sites.
    bounds
        `"prior"` holds parameters to their prior range, `"physical"` to what has a meaning.
    progress
        Called now and then with (sites done, sites).

    Returns
    -------
    Dataset with `pool_carbon` (site, pool, layer) and `soil_carbon` (site, layer) in g m-3,
    `carbon_input` and `respiration` (site) in g m-2 yr-1, and `reason` (site). Where `reason` is
    not 0 there is no steady state, and pools and respiration are 0 (in the published variants:
    what the published code computes before it rejects it): leave such sites out with
    `result.where(result.reason == 0, drop=True)`.

    Raises
    ------
    ParameterError
        Naming the parameter, site and value.

    Examples
    --------
    >>> import proda
    >>> forcing = proda.Forcing.from_dataset(proda.example_columns())
    >>> model = proda.load_model("compas")
    >>> result = proda.steady_state(model, proda.default_parameters(model, forcing), forcing)
    >>> result["pool_carbon"].dims
    ('site', 'pool', 'layer')
    """
    out = steady_state_arrays(model, parameters, forcing, bounds, progress)
    result = _frame(model, forcing)
    result["pool_carbon"] = _variable(
        ("site", "pool", "layer"), out.pools, "g m-3", "carbon of each pool"
    )
    result["soil_carbon"] = _variable(
        ("site", "layer"), out.soil_carbon, "g m-3", "carbon of the soil pools"
    )
    result["carbon_input"] = _variable(
        ("site",), forcing.litter_input.sum(axis=1), "g m-2 yr-1", "plant carbon input"
    )
    result["respiration"] = _variable(
        ("site",), out.respiration, "g m-2 yr-1", "heterotrophic respiration"
    )
    for name, flux in out.lost.items():
        result[name] = _variable(("site",), flux, "g m-2 yr-1", f"carbon lost by {name}")
    result["reason"] = _reason(model, np.asarray(out.reason))
    return result


def steady_state_arrays(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    bounds: Bounds = "prior",
    progress: Progress | None = None,
) -> SteadyState:
    """Return the steady state of many columns as NumPy arrays with a leading axis for the site.

    Arguments and errors are those of :func:`steady_state`. For a few sites, making its Dataset
    takes longer than solving the columns.
    """
    values = _values(model, parameters, forcing, bounds)
    solved: SteadyState = _in_blocks(_steady_block, model, values, forcing, progress)
    return solved


def components(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    bounds: Bounds = "prior",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Return the six system-level components of every column at steady state (P-Eq 10-14).

    Parameters are those of :func:`steady_state`.

    Returns
    -------
    Dataset on (site) with `CTE` (1), `K` (yr-1), `V` (yr-1), `XI` (1), `B` (1), `I` (g m-2 yr-1),
    and `litter_to_soil` (1), `residence_time` (yr), for COMPAS `michaelis_over_DOC` and
    `michaelis_over_mSOC` (1), for models with microbes `microbial_share` and
    `microbial_share_0_15` (1), and `reason`. Without a steady state only `B` and `I` have a
    meaning; the others are 0.
    """
    values = _values(model, parameters, forcing, bounds)
    result = _frame(model, forcing).drop_vars(["pool", "layer", "depth", "thickness"])
    state, parts = _in_blocks(_components_block, model, values, forcing, progress)
    known = {row.name: row for row in (*COMPONENTS, *MICROBES)}
    for name, value in parts.items():
        row = known.get(name) or ComponentVariable(
            name, "1", f"Michaelis constant over {name.rpartition('_')[2]}", "P-Fig 5"
        )
        result[name] = _variable(("site",), value, row.unit, row.long_name, source=row.source)
    result["reason"] = _reason(model, state.reason)
    return result


def ages(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    bounds: Bounds = "prior",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Return the ages of the carbon of every column at steady state.

    Parameters are those of :func:`steady_state`.

    Returns
    -------
    Dataset with `mean_age`, `mean_age_soil`, `mean_age_0_30`, `mean_age_0_100` and `transit_time`
    (site), `mean_age_by_pool` (site, pool) and `mean_age_by_layer` (site, layer; the soil pools),
    in years, and `reason` (site). Carbon that is not there has the age 0.
    """
    values = _values(model, parameters, forcing, bounds)
    result = _frame(model, forcing)
    state, age = _in_blocks(_ages_block, model, values, forcing, progress)
    extra = {"mean_age_by_pool": ("pool",), "mean_age_by_layer": ("layer",)}
    for row in AGES:
        dims = ("site", *extra.get(row.name, ()))
        result[row.name] = _variable(dims, age[row.name], row.unit, row.long_name)
    result["reason"] = _reason(model, state.reason)
    return result


def integrate(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    years: int,
    initial: xr.Dataset | xr.DataArray | float = 0.0,
    step: Literal["month", "year"] = "year",
    save_every: int = 1,
    bounds: Bounds = "prior",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Run a model forward in time from any state, conserving carbon.

    Implicit Euler steps. With `step="year"` the annual mean modifiers and mixing act, and a long
    run ends in :func:`steady_state`; with `step="month"` each month has its own, and a long run
    ends in a seasonal cycle. Litter input is the annual rate throughout the year.

    The steps are first order in time: `converged` says that they were solved and balance, not
    that they were short enough. Slow change needs no more than yearly steps, but microbes that
    bloom within a year do: 5 years of COMPAS from bare soil are 30-90 % off in microbes, enzymes
    and mineral carbon with yearly steps, 3-10 % with monthly ones.

    Parameters
    ----------
    model, parameters, forcing, bounds, progress
        As for :func:`steady_state`.
    years
        Length of the run.
    initial
        State at the start: a result of :func:`steady_state`, a result of this function (its last
        time is taken), a DataArray (site, pool, layer) in g m-3, or one number for all pools.
    step
        Length of a step.
    save_every
        Years between two saved states; must divide `years`.

    Returns
    -------
    Dataset with `pool_carbon` (site, time, pool, layer) and `soil_carbon` (site, time, layer) in
    g m-3 at the end of each interval, `respiration` and `carbon_input` (site, time) in
    g m-2 yr-1, means over the interval, and `converged` (site).

    Raises
    ------
    ParameterError
        If the length, the initial state or a parameter is wrong.
    """
    if step not in ("month", "year"):
        raise ParameterError(f"step = {step!r} is not known; use 'month' or 'year'.")
    if years < 1 or save_every < 1 or years % save_every:
        raise ParameterError(
            f"years = {years} must be at least 1 and a multiple of save_every = {save_every}."
        )
    values = _values(model, parameters, forcing, bounds)
    start = _initial(model, forcing, initial)
    monthly = step == "month"
    run = _Run(n_saved=years // save_every, years_between=save_every, monthly=monthly)
    pools, respired, entered, lost, converged = _in_blocks(
        run, model, values, forcing, progress, start, prepare_months if monthly else prepare
    )
    result = _frame(model, forcing).assign_coords(
        time=(
            "time",
            np.arange(save_every, years + 1, save_every, dtype=float),
            {"units": "yr", "long_name": "years since the start"},
        )
    )
    result["pool_carbon"] = _variable(
        ("site", "time", "pool", "layer"), pools, "g m-3", "carbon of each pool"
    )
    soil_carbon = jax.vmap(jax.vmap(model.soil_carbon))(pools)
    result["soil_carbon"] = _variable(
        ("site", "time", "layer"), soil_carbon, "g m-3", "carbon of the soil pools"
    )
    result["respiration"] = _variable(
        ("site", "time"), respired, "g m-2 yr-1", "heterotrophic respiration"
    )
    result["carbon_input"] = _variable(
        ("site", "time"), entered, "g m-2 yr-1", "plant carbon input"
    )
    for name, flux in lost.items():
        result[name] = _variable(("site", "time"), flux, "g m-2 yr-1", f"carbon lost by {name}")
    result["converged"] = (
        "site",
        converged,
        {"long_name": "every step was solved and conserves carbon"},
    )
    return result


class _Run(eqx.Module):
    """A transient run of one block; hashable, so that it is compiled once."""

    n_saved: int = eqx.field(static=True)
    years_between: int = eqx.field(static=True)
    monthly: bool = eqx.field(static=True)

    @eqx.filter_jit
    def __call__(self, model: SoilModel, values: dict, columns: Column, start: Any) -> Any:
        def one(values: dict, column: Column, pools: Any) -> Any:
            def part(pools: Any, column: Column) -> Any:
                done = advance(model, pools, values, column, 1.0 / N_MONTHS)
                return done.pools, (_flows(done), done.converged)

            def year(pools: Any, _: Any) -> Any:
                if self.monthly:
                    pools, (flows, fine) = jax.lax.scan(part, pools, column)
                    return pools, (jax.tree.map(jnp.sum, flows), fine.all())
                done = advance(model, pools, values, column, 1.0)
                return done.pools, (_flows(done), done.converged)

            def interval(pools: Any, _: Any) -> Any:
                pools, (flows, fine) = jax.lax.scan(year, pools, length=self.years_between)
                return pools, (pools, *jax.tree.map(jnp.mean, flows), fine.all())

            _, (saved, *flows, fine) = jax.lax.scan(interval, pools, length=self.n_saved)
            return saved, *flows, fine.all()

        site = 1 if self.monthly else 0  # months come before sites
        return jax.vmap(one, in_axes=(0, site, 0))(values, columns, start)


def _flows(done: TimeStep) -> tuple[Any, Any, dict]:
    return done.respired, done.entered, done.lost


@eqx.filter_jit
def _steady_block(model: SoilModel, values: dict, columns: Column, _: Any) -> Any:
    return jax.vmap(model.steady_state)(values, columns)


@eqx.filter_jit
def _components_block(model: SoilModel, values: dict, columns: Column, _: Any) -> Any:
    def one(values: dict, column: Column) -> Any:
        state = model.steady_state(values, column)
        return state, _components(model, state.pools, values, column)

    return jax.vmap(one)(values, columns)


@eqx.filter_jit
def _ages_block(model: SoilModel, values: dict, columns: Column, _: Any) -> Any:
    def one(values: dict, column: Column) -> Any:
        state = model.steady_state(values, column)
        return state, _ages(model, state.pools, values, column)

    return jax.vmap(one)(values, columns)


def block_of(start: int, size: int, n: int) -> slice | np.ndarray:
    """Return the positions of a block; one that is cut short repeats the last of the n sites.

    A whole block is a slice, which copies nothing: copying drivers takes longer than a GPU needs
    to solve their columns.
    """
    if start + size <= n:
        return slice(start, start + size)
    return np.minimum(np.arange(start, start + size), n - 1)


def _in_blocks(
    function: Callable[[SoilModel, dict, Column, Any], Any],
    model: SoilModel,
    values: Mapping[str, np.ndarray],
    forcing: Forcing,
    progress: Progress | None,
    extra: np.ndarray | None = None,
    prepare: Callable[[Forcing], Column] = prepare,
) -> Any:
    """Apply a compiled function to blocks of sites, on as many threads as there are cores.

    Every block has the same size (the last one repeats its last site), so one program serves all
    and a site's numbers do not depend on how many others there are.
    """
    n = len(forcing)
    on_cpu = jax.default_backend() == "cpu"
    size = min(CPU_BLOCK if on_cpu else GPU_BLOCK, 1 << (n - 1).bit_length())

    def block(start: int) -> Any:
        index = block_of(start, size, n)
        keep = min(size, n - start)
        part = {name: jnp.asarray(value[index]) for name, value in values.items()}
        rest = None if extra is None else jnp.asarray(extra[index])
        out = function(model, part, prepare(forcing.select(index)), rest)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:keep], out)

    counted = None if progress is None else lambda done: progress(min(done * size, n), n)
    parts = run_in_threads(block, range(0, n, size), counted)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _values(
    model: SoilModel, parameters: Parameters, forcing: Forcing, bounds: Bounds
) -> dict[str, np.ndarray]:
    model.check_forcing(forcing)
    n_layers = len(forcing.grid)
    return as_arrays(model.rows, parameters, forcing.site, n_layers, bounds, model.shares)


def _initial(
    model: SoilModel, forcing: Forcing, initial: xr.Dataset | xr.DataArray | float
) -> np.ndarray:
    shape = (len(forcing), len(model.pools), len(forcing.grid))
    if isinstance(initial, xr.Dataset):
        if "pool_carbon" not in initial:
            raise ParameterError("The initial state has no variable pool_carbon.")
        if "reason" in initial and (no_state := initial["reason"].to_numpy() != 0).any():
            raise ParameterError(
                f"{int(no_state.sum())} sites of the initial state have no steady state "
                f"(first: site {forcing.site[int(np.argmax(no_state))]}); leave them out."
            )
        if "converged" in initial and not (fine := initial["converged"].to_numpy()).all():
            raise ParameterError(
                f"The run that ends in the initial state did not converge at {int((~fine).sum())} "
                f"sites (first: site {forcing.site[int(np.argmin(fine))]}); leave them out."
            )
        initial = initial["pool_carbon"]
    if isinstance(initial, xr.DataArray):
        if "time" in initial.dims:
            initial = initial.isel(time=-1)
        if set(initial.dims) != {"site", "pool", "layer"}:
            raise ParameterError(
                f"The initial state has the dimensions {initial.dims}; "
                "expected (site, pool, layer)."
            )
        if (unit := units.stated(initial.attrs, "g m-3")) != "g m-3":
            raise ParameterError(f"The initial state is in {unit!r}; give it in 'g m-3'.")
        if "site" in initial.coords:
            check_same_sites("The initial state", initial["site"].to_numpy(), forcing.site)
        if "pool" in initial.coords:
            named = tuple(str(name) for name in initial["pool"].to_numpy())
            if named != model.pools:
                raise ParameterError(
                    f"The initial state has the pools {', '.join(named)}; "
                    f"{model.name} has {', '.join(model.pools)}."
                )
        start = initial.transpose("site", "pool", "layer").to_numpy().astype(np.float64)
    else:
        start = np.asarray(initial, dtype=np.float64)
    inside = (np.arange(len(forcing.grid)) < forcing.nbedrock[:, None])[:, None, :]
    if start.ndim == 0:
        start = np.where(inside, start, np.zeros(shape))
    if start.shape != shape:
        raise ParameterError(f"The initial state has the shape {start.shape}; expected {shape}.")
    wrong = ~(np.isfinite(start) & (start >= 0.0))
    # The published scheme has carbon in bedrock; ours would never let it out again.
    buried = (start > 0.0) & ~inside & model.conserves
    for fault, what in ((wrong, "expected 0 or more"), (buried, "but this layer is bedrock")):
        if fault.any():
            site, pool, layer = (int(i) for i in np.argwhere(fault)[0])
            raise ParameterError(
                f"The initial {model.pools[pool]} is {start[site, pool, layer]:.6g} g m-3 at site "
                f"{forcing.site[site]}, layer {layer + 1}; {what}."
            )
    return start


def _frame(model: SoilModel, forcing: Forcing) -> xr.Dataset:
    grid = forcing.grid
    depth = {"units": "m", "positive": "down", "standard_name": "depth"}
    return xr.Dataset(
        coords={
            "site": forcing.site,
            "pool": list(model.pools),
            "layer": np.arange(1, len(grid) + 1),
            "depth": ("layer", grid.node, depth | {"long_name": "depth of the layer's node"}),
            "thickness": ("layer", grid.thickness, {"units": "m", "long_name": "layer thickness"}),
            **{name: ("site", values) for name, values in forcing.coords.items()},
        },
        attrs={
            "Conventions": "CF-1.11",
            "model": model.name,
            "variant": model.variant,
            **provenance(model),
            **{f"forcing_{key}": value for key, value in forcing.attrs.items()},
        },
    )


def _variable(
    dims: tuple[str, ...], values: Any, unit: str, long_name: str, **attrs: str
) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    return dims, np.asarray(values), {"units": unit, "long_name": long_name, **attrs}


def _reason(model: SoilModel, values: np.ndarray) -> tuple[str, np.ndarray, dict[str, Any]]:
    return (
        "site",
        np.asarray(values),
        {
            "long_name": "why there is no steady state; 0 where there is one",
            "flag_values": np.array(list(model.reasons()), dtype=np.int8),
            "flag_meanings": " ".join(model.reasons().values()),
        },
    )
