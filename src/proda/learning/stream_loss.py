"""The misfit of data beside carbon for end-to-end training.

Minus the log-density of each value, with its own error (docs/theory.md#end-to-end): a
value weighs as much as a layer of carbon. The parameters of a stream's error are the same
everywhere and are learnt beside the networks. Few sites have such data, so only their columns are
solved, some at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import expit, logit

from proda.errors import LearningError
from proda.inference.padded_sites import with_streams
from proda.inference.target import Site
from proda.learning.layers import SiteLayers
from proda.learning.logits import physical_values
from proda.learning.program import with_slopes
from proda.models.model import Reason, SoilModel
from proda.parameters import Parameter
from proda.streams.stream import Stream
from proda.streams.table import StreamTable, read_all

TOGETHER = 256
"""Columns that are solved at a time."""

MARGIN = 0.02
"""Minimum distance of the start of a stream's parameter from the ends of its range, as a share."""


Losses = tuple[Array, Array, Array, Array]


class StreamProblem(eqx.Module):
    """Data beside carbon of the sites of a training that have any."""

    streams: tuple[Stream, ...]
    sites: Site
    """Leading axis: site with data beside carbon."""
    place: Int[Array, " site"]
    """Position in `sites` of each site of the training; -1: it has none."""
    weight: Float[Array, "site stream"]
    """Weight of the mean over the values of a stream."""


def trainable(
    model: SoilModel, folders: Mapping[str, str | os.PathLike[str]]
) -> tuple[tuple[StreamTable, ...], dict[str, str]]:
    """Return the tables from which networks of a model can learn, and why not from the others.

    Raises
    ------
    FileError, ObservationError
        If a table is absent, damaged, or of another stream than its name says.
    """
    tables = read_all({name: Path(folder) for name, folder in folders.items()})
    why = {name: t.stream.lacking(model) or t.stream.of_forcing for name, t in tables.items()}
    return (
        tuple(table for name, table in tables.items() if not why[name]),
        {name: reason for name, reason in why.items() if reason},
    )


def stream_rows(streams: tuple[Stream, ...], model: SoilModel) -> tuple[Parameter, ...]:
    """Return the registry rows of the streams' own parameters, in order."""
    return tuple(row for stream in streams for row in stream.rows_of(model))


def stream_start(rows: tuple[Parameter, ...]) -> Float[np.ndarray, " row"]:
    """Return the logits of the defaults of the streams' parameters, as shares of their range."""
    shares = [row.share(row.default) for row in rows]
    return np.asarray(logit(np.clip(np.array(shares), MARGIN, 1.0 - MARGIN)))


def named_parameters(
    rows: tuple[Parameter, ...], logits: Float[np.ndarray, "... row"]
) -> dict[str, float]:
    """Return the streams' parameters in physical units, the mean over all axes but the last."""
    share = expit(np.asarray(logits, float)).reshape(-1, len(rows)).mean(axis=0)
    return {row.name: float(row.at(s)) for row, s in zip(rows, share, strict=True)}


def stream_problem(
    layers: SiteLayers, tables: tuple[StreamTable, ...], root: float
) -> StreamProblem | None:
    """Prepare the data beside carbon of the sites of a training; None where they have none.

    Parameters
    ----------
    layers
        The sites.
    tables
        Of the streams from which networks of this model can learn.
    root
        Mean over sites of the square root of their number of layers, to which the weights of carbon
        are relative.
    """
    names = layers.profiles.site.astype(str)
    own = {str(site) for table in tables for site in table.rows["site"]}
    here = np.flatnonzero(np.isin(names, sorted(own)))
    if here.size == 0:
        return None
    some = layers.select(here)
    sites = with_streams(some.for_training(), some.profiles.site, some.forcing, tables)
    counts = np.stack(
        [np.asarray(sites.streams[t.stream.name].mask.sum(axis=1)) for t in tables], axis=1
    )
    place = np.full(len(names), -1)
    place[here] = np.arange(here.size)
    place[here[(counts == 0).all(axis=1)]] = -1  # all its values lie in bedrock
    return StreamProblem(
        tuple(table.stream for table in tables),
        sites,
        jnp.asarray(place),
        jnp.asarray(np.sqrt(counts) / root),
    )


def column_stream_loss(
    logit: Float[Array, " parameter"],
    own: Float[Array, " row"],
    site: Site,
    weight: Float[Array, " stream"],
    model: SoilModel,
    streams: tuple[Stream, ...],
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Sum over the streams of the weighted mean of minus the log-density of their values.

    Parameters
    ----------
    logit, own
        Logits of the parameters of the model and of the streams, as shares of their range.
    """
    values = physical_values(logit, model.rows)
    values |= physical_values(own, stream_rows(streams, model))
    state = model.steady_state(values, site.column)
    total = jnp.zeros(())
    for i, stream in enumerate(streams):
        data = site.streams[stream.name]
        predicted = stream.predict(model, state, values, site.column, data)
        each = jnp.where(data.mask, stream.pointwise(predicted, data, values), 0.0)
        total = total - weight[i] * each.sum() / jnp.maximum(data.mask.sum(), 1)
    return total, state.reason == Reason.FEASIBLE


def add_streams(
    losses: Losses,
    given: tuple[Array, Array],
    place: Int[Array, " column"],
    problem: StreamProblem,
    model: SoilModel,
    slopes: bool,
) -> Losses:
    """Add loss and gradients of the columns with data beside carbon.

    Parameters
    ----------
    losses
        Loss, its gradients by the two kinds of logits, and whether both are numbers, of all
        columns, without these data.
    given
        Logits of the model's and of the streams' parameters of each column.
    place
        Position of each column's site in the data; -1: none.
    slopes
        Whether gradients are added.

    Returns
    -------
    The same with these data. Which columns are solved together does not change their results.
    """
    n = place.shape[0]
    one = with_slopes(column_stream_loss, slopes)
    every = jax.vmap(one, in_axes=(0, 0, 0, 0, None, None))
    # Columns with data first; what fills the last part is written nowhere.
    order = jnp.concatenate([jnp.argsort(place < 0), jnp.full(TOGETHER, n)])
    parts = -(-jnp.sum(place >= 0) // TOGETHER)

    def add(i: Array, losses: Losses) -> Losses:
        column = jax.lax.dynamic_slice(order, (i * TOGETHER,), (TOGETHER,))
        held = place.at[column].get(mode="fill", fill_value=-1)
        row, there = jnp.maximum(held, 0), held >= 0
        sites = jax.tree.map(lambda leaf: leaf[row], problem.sites)
        at = jnp.minimum(column, n - 1)
        (loss, feasible), (by_logit, by_own) = every(
            given[0][at], given[1][at], sites, problem.weight[row], model, problem.streams
        )
        fine = feasible & jnp.isfinite(loss)
        fine &= jnp.isfinite(by_logit).all(axis=1) & jnp.isfinite(by_own).all(axis=1)
        new = [jnp.where(_along(fine, leaf), leaf, 0.0) for leaf in (loss, by_logit, by_own)]
        to = jnp.where(there, column, n)
        added = [old.at[to].add(leaf, mode="drop") for old, leaf in zip(losses, new, strict=False)]
        good = losses[3].at[to].set(losses[3][at] & fine, mode="drop")
        return added[0], added[1], added[2], good

    return jax.lax.fori_loop(0, parts, add, losses)


def _along(fine: Array, leaf: Array) -> Array:
    return fine.reshape(-1, *(1,) * (leaf.ndim - 1))


def check_some(problem: StreamProblem | None, tables: tuple[StreamTable, ...]) -> None:
    """Refuse tables of which no site is among those of the training.

    Raises
    ------
    LearningError
        Naming the streams.
    """
    if tables and problem is None:
        names = ", ".join(table.stream.name for table in tables)
        raise LearningError(
            f"streams: no site of the training has a value of {names}; build the tables at the "
            "same profiles (`proda streams build`)."
        )
