"""The measured layers of the training sites, with which the soil model is compared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Bool, Float, Int
from pydantic import ValidationError

from proda import files
from proda.errors import LearningError
from proda.forcing import Forcing
from proda.grid import Grid
from proda.inference.assimilation_settings import AssimilationSettings, Operator
from proda.inference.likelihood import Likelihood
from proda.inference.operator import observe, weights
from proda.inference.padded_sites import assemble, usable
from proda.inference.problem import build_likelihood, build_model, checked_settings
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.target import Site
from proda.models.model import SoilModel
from proda.models.outside import recorded

MOST = 32
"""Maximum number of measured layers of a site in training; finer profiles are thinned evenly."""

BLOCK = 4096
"""Measured layers observed at a time."""


@dataclass(frozen=True, eq=False)
class SiteLayers:
    """Profiles and forcing of the same sites in the same order, with model and likelihood.

    Everything is as in the assimilation, so that the network is compared with the same data as the
    posteriors.
    """

    model: SoilModel
    likelihood: Likelihood
    operator: Operator
    profiles: Profiles
    forcing: Forcing

    def __len__(self) -> int:
        return len(self.profiles)

    def select(self, index: np.ndarray) -> SiteLayers:
        """Return some of the sites, by position."""
        return SiteLayers(
            self.model,
            self.likelihood,
            self.operator,
            self.profiles.select(index),
            self.forcing.select(np.asarray(index)),
        )

    @property
    def row_site(self) -> Int[np.ndarray, " row"]:
        """Position of the site of each measured layer."""
        return np.repeat(np.arange(len(self)), self.profiles.n_layers)

    @property
    def used(self) -> Bool[np.ndarray, " row"]:
        """Whether each measured layer lies in the model's soil, not in bedrock."""
        return usable(self.profiles, self.forcing)

    def observe(self, soil_carbon: Float[np.ndarray, "site layer"]) -> Float[np.ndarray, " row"]:
        """Return the modelled carbon of each measured layer, from that of the model's layers.

        Any unit; computed row by row, so that one profile with many layers does not widen all the
        others.
        """
        grid, site = self.forcing.grid, self.row_site
        value, slope = weights(self.profiles.upper, self.profiles.lower, self.operator, grid)
        n = len(site)
        out = np.zeros(n)
        for start in range(0, n, BLOCK):
            rows = np.minimum(np.arange(start, start + BLOCK), n - 1)
            observed = _observe(
                jnp.asarray(soil_carbon[site[rows]]),
                jnp.asarray(value[rows]),
                jnp.asarray(slope[rows]),
                jnp.asarray(self.forcing.nbedrock[site[rows]]),
                grid,
            )
            out[start : start + BLOCK] = np.asarray(observed)[: n - start]
        return out

    def for_training(self) -> Site:
        """Return the sites as one pytree, padded to one number of layers, at most `MOST`."""
        p = self.profiles
        rows = []
        for i in range(len(p)):
            own = np.arange(p.first[i], p.first[i + 1])
            if len(own) > MOST:
                own = own[np.linspace(0, len(own) - 1, MOST).round().astype(int)]
            rows.append(own)
        flat = np.concatenate(rows)
        thinned = Profiles(
            p.site,
            p.latitude,
            p.longitude,
            np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(int),
            p.upper[flat],
            p.lower[flat],
            p.carbon[flat],
        )
        return assemble(thinned, self.forcing, self.operator)


@partial(jax.jit, static_argnames="grid")
def _observe(
    carbon: Float[Array, "row layer"],
    value: Float[Array, "row layer"],
    slope: Float[Array, "row layer"],
    nbedrock: Int[Array, " row"],
    grid: Grid,
) -> Float[Array, " row"]:
    def one(carbon: Array, value: Array, slope: Array, nbedrock: Array) -> Array:
        return observe(carbon, value[None], slope[None], nbedrock, grid)[0]

    return jax.vmap(one)(carbon, value, slope, nbedrock)


def assimilation_settings(posterior: xr.Dataset) -> AssimilationSettings:
    """Return the settings of the posteriors; our defaults for a summary without them.

    Raises
    ------
    LearningError
        If they cannot be read.
    """
    settings = posterior.attrs.get("settings")
    if settings is None:
        return checked_settings(
            model=posterior.attrs["model"],
            variant=posterior.attrs["variant"],
            **recorded(posterior.attrs),
        )
    try:
        return AssimilationSettings.model_validate_json(str(settings))
    except ValidationError as error:
        raise LearningError(
            f"The posterior summary's attribute settings cannot be read ({error.error_count()} "
            "faults); write the summary again with `proda diagnose`."
        ) from error


def read_layers(
    sites: np.ndarray,
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    settings: AssimilationSettings,
) -> SiteLayers:
    """Read the measured layers and the forcing of some sites.

    Parameters
    ----------
    sites
        Their names, in the order requested.
    profiles
        Folder of `proda profiles build`.
    forcing
        Forcing at sites, whose coordinate `site` names the profiles.
    settings
        Settings of their posteriors (:func:`assimilation_settings`).

    Raises
    ------
    LearningError
        If profiles or forcing lack a site, or none of a site's layers lies in the model's soil.
    """
    measured = read_profiles(profiles)
    with files.open_dataset(forcing) as opened:
        if "site" not in opened.coords:
            raise LearningError(
                f"{forcing}: has no coordinate site by which sites could be matched."
            )
        place = _positions(sites, opened["site"].to_numpy().astype(str), f"The forcing {forcing}")
        drivers = Forcing.from_dataset(files.load(opened.isel(site=place), forcing))
    chosen = measured.select(_positions(sites, measured.site, f"The profiles of {profiles}"))
    layers = SiteLayers(
        build_model(settings), build_likelihood(settings), settings.operator, chosen, drivers
    )
    count = np.bincount(layers.row_site[layers.used], minlength=len(layers))
    if (count == 0).any():
        raise LearningError(
            f"{sites[int(np.argmin(count))]}: all its measured layers lie in bedrock "
            f"({int((count == 0).sum())} such sites); these are not the forcing and profiles "
            "from which the posteriors were estimated."
        )
    return layers


def _positions(sites: np.ndarray, names: np.ndarray, where: str) -> Int[np.ndarray, " site"]:
    index = pd.Index(names)
    if index.has_duplicates:
        raise LearningError(f"{where}: site {index[index.duplicated()][0]} appears twice.")
    place = index.get_indexer(pd.Index(sites.astype(str)))
    if (place < 0).any():
        raise LearningError(
            f"{where}: {int((place < 0).sum())} of the {len(sites)} sites with a posterior are "
            f"missing (first: {sites[int(np.argmin(place))]}). Give the data from which the "
            "posteriors were "
            "estimated."
        )
    return place
