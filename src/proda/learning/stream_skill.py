"""Skill of data beside carbon at held-out places, beside that of their mean by depth."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from proda import simulate
from proda.default_b import b_where_needed
from proda.inference.padded_sites import with_streams
from proda.inference.stream_fit import scores
from proda.inference.target import Site
from proda.learning.layers import SiteLayers
from proda.models.model import Reason, SoilModel
from proda.streams.registry import STREAMS
from proda.streams.stream import Scale, Stream, from_scale, on_scale
from proda.streams.table import StreamTable

NETWORK, CONSTANT, DEFAULT, MEAN = "network", "constant", "default", "mean_by_depth"
METHODS = (NETWORK, CONSTANT, DEFAULT, MEAN)
BANDS = (0.1, 0.3, 0.6, 1.0, 2.0)
"""Limits of the depths of which the rival has a mean each, by the middle of the layer, m."""


def held_out_streams(
    layers: SiteLayers,
    tables: tuple[StreamTable, ...],
    fold: Int[np.ndarray, " site"],
    members: Mapping[int, Float[np.ndarray, "member site parameter"]],
    constants: Mapping[int, Float[np.ndarray, " parameter"]],
    own: Mapping[int, Mapping[str, float]],
) -> pd.DataFrame:
    """Return every value beside carbon, predicted by each method without the value's fold.

    Parameters
    ----------
    layers
        The sites of the training.
    tables
        Of the streams that the networks have learnt from.
    fold
        Fold of each site.
    members, constants, own
        By fold: parameters by each network at the sites of the fold, the calibrated constant (both
        in physical units), and the parameters of the streams.

    Returns
    -------
    table
        stream, site, upper, lower, year (of the value), fold, observed, and `METHODS` in the
        stream's unit; NaN at sites without a steady state. Values in bedrock are left out.
    """
    n, rows = len(layers), layers.model.rows
    shared = min(len(m) for m in members.values())
    every, constant = np.empty((shared, n, len(rows))), np.empty((n, len(rows)))
    for f, networks in members.items():
        every[:, fold == f], constant[fold == f] = networks[:shared], constants[f]
    measured = {str(site) for table in tables for site in table.rows["site"]}
    here = np.flatnonzero(np.isin(layers.profiles.site.astype(str), sorted(measured)))
    some, own_fold = layers.select(here), fold[here]
    sites = with_streams(some.for_training(), some.profiles.site, some.forcing, tables)
    streams = tuple(table.stream for table in tables)
    of_streams = {
        name: np.array([own[f][name] for f in own_fold.tolist()]) for name in own[int(own_fold[0])]
    }

    def modelled(parameters: Float[np.ndarray, "site parameter"]) -> dict[str, np.ndarray]:
        values = {row.name: parameters[:, j] for j, row in enumerate(rows)}
        return _modelled(layers.model, streams, values | of_streams, sites)

    needed = b_where_needed(rows, None)
    ad_hoc = simulate.default_parameters(layers.model, some.forcing, b=needed)
    plain = {str(name): value.to_numpy() for name, value in ad_hoc.data_vars.items()}
    of_networks = [modelled(one[here]) for one in every]
    answers = {
        CONSTANT: modelled(constant[here]),
        DEFAULT: _modelled(layers.model, streams, plain | of_streams, sites),
    }
    parts = []
    for table in tables:
        name, scale = table.stream.name, table.stream.scale
        i, k = np.nonzero(np.asarray(sites.streams[name].mask))
        part = _measured(table, some.profiles.site.astype(str), i, k)
        part["fold"] = own_fold[i]
        each = on_scale(np.stack([one[name][i, k] for one in of_networks]), scale)
        known = np.isfinite(each)
        count = known.sum(axis=0)
        mean = np.where(known, each, 0.0).sum(axis=0) / np.maximum(count, 1)
        part[NETWORK] = from_scale(np.where(count > 0, mean, np.nan), scale)
        for method, answer in answers.items():
            part[method] = answer[name][i, k]
        part[MEAN] = _mean_by_depth(part, scale)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _modelled(
    model: SoilModel, streams: tuple[Stream, ...], values: Mapping[str, np.ndarray], sites: Site
) -> dict[str, np.ndarray]:
    """Return the modelled values of each stream (site, value); NaN without a steady state."""
    predicted, fine = _predicted(
        model, streams, {k: jnp.asarray(v) for k, v in values.items()}, sites
    )
    return {
        name: np.where(np.asarray(fine)[:, None], np.asarray(value), np.nan)
        for name, value in predicted.items()
    }


@eqx.filter_jit
def _predicted(
    model: SoilModel, streams: tuple[Stream, ...], values: dict[str, Array], sites: Site
) -> tuple[dict[str, Array], Array]:
    def one(values: dict[str, Array], site: Site) -> tuple[dict[str, Array], Array]:
        state = model.steady_state(values, site.column)
        predicted = {
            s.name: s.predict(model, state, values, site.column, site.streams[s.name])
            for s in streams
        }
        return predicted, state.reason == Reason.FEASIBLE

    return jax.vmap(one)(values, sites)


def _measured(table: StreamTable, sites: np.ndarray, i: np.ndarray, k: np.ndarray) -> pd.DataFrame:
    """Return the measured values at positions i of the sites and k of their own rows."""
    by_site = dict(tuple(table.rows.groupby("site", sort=False)))
    rows = pd.concat([by_site[sites[at]].iloc[[j]] for at, j in zip(i, k, strict=True)])
    measured = rows[["site", "upper", "lower", "year", "value"]].reset_index(drop=True)
    measured.insert(0, "stream", table.stream.name)
    return measured.rename(columns={"value": "observed"})


def _mean_by_depth(part: pd.DataFrame, scale: Scale) -> np.ndarray:
    """Return the mean of the values of all other folds in the same band of depth.

    Where these have none in the band, their mean over all depths.
    """
    value = on_scale(part["observed"].to_numpy(float), scale)
    band = np.digitize(0.5 * (part["upper"] + part["lower"]).to_numpy(float), BANDS)
    fold, out = part["fold"].to_numpy(), np.full(len(part), np.nan)
    for f in np.unique(fold):
        others = fold != f
        for b in np.unique(band[~others]):
            like = others & (band == b)
            chosen = like if like.any() else others
            if chosen.any():
                out[(fold == f) & (band == b)] = value[chosen].mean()
    return from_scale(out, scale)


def stream_skill(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how each method meets each stream at held-out places.

    Parameters
    ----------
    rows
        As :func:`held_out_streams` returns.

    Returns
    -------
    table
        stream, method, scale (on which errors are judged), n (values), sites, lost (values at sites
        without a steady state), rmse, bias, nse (about the mean of all values) and r.
    """
    out = []
    for name, part in rows.groupby("stream", sort=False):
        scale = STREAMS[str(name)].scale
        observed = on_scale(part["observed"].to_numpy(float), scale)
        for method in METHODS:
            modelled = on_scale(part[method].to_numpy(float), scale)
            ok = np.isfinite(modelled)
            out.append(
                {
                    "stream": name,
                    "method": method,
                    "scale": scale,
                    "n": int(ok.sum()),
                    "sites": int(part["site"][ok].nunique()),
                    "lost": int((~ok).sum()),
                    **scores(observed[ok], modelled[ok]),
                }
            )
    return pd.DataFrame(out)
