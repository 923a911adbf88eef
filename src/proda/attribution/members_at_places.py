"""Parameters of the members of a network at some land cells or sites, and at held-out places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda import files
from proda.attribution.attribution_inputs import AttributedMap, Opened, PathLike, SiteFiles, select
from proda.drivers.covariates import open_covariates
from proda.layout import HELD_OUT_PARAMETERS
from proda.learning.carbon_sites import read_carbon_sites
from proda.learning.forcing_inputs import needs_forcing
from proda.learning.layers import SiteLayers
from proda.learning.network_folder import load_ensemble
from proda.learning.predict import predict_table
from proda.maps.network_parameters import NetworkParameters, cell_covariates
from proda.maps.parameter_sources import Member
from proda.models.model import SoilModel

SEEN, LEFT_OUT = "profiles that the networks learnt from", "profiles left out"


@dataclass(frozen=True, eq=False)
class AtSites:
    """Parameters at measured profiles."""

    layers: SiteLayers
    own: dict[str, np.ndarray]
    """Mean over the members, or over networks trained without the profile: (site,)."""
    members: Float[np.ndarray, "member site parameter"] | None
    places: str
    """Whether the networks were trained on these profiles."""


def thinned(n: int, at_most: int) -> Int[np.ndarray, " k"]:
    """Return at most a given number of positions, evenly spaced over n."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))


def members_at_cells(
    opened: Opened, covariates: PathLike, index: Int[np.ndarray, " k"]
) -> list[Member]:
    """Return each member's parameters at some of the map's cells.

    Raises
    ------
    FileError, LearningError, MapError
        If a file is damaged or inconsistent with the map.
    """
    assert opened.files.network is not None
    networks = load_ensemble(opened.files.network, opened.model.name, opened.model.variant)
    cells = select(opened.cells, index)
    known = cell_covariates(open_covariates(covariates), cells, networks)
    source = NetworkParameters(networks, known, draws=False)
    every = np.arange(len(cells))
    members, _ = source.at(opened.model, every, cells.forcing(every), "physical")
    return members


def at_sites(given: AttributedMap, model: SoilModel, sites: SiteFiles) -> AtSites | None:
    """Return the parameters that a network predicts at measured profiles; None without a network.

    They are those of networks trained without the profile, where the training stored them.
    """
    if given.network is None:
        return None
    table = files.read_parquet(sites.covariates, needed=("site",))
    measured = read_carbon_sites(sites.profiles, sites.forcing, table, model.name, model.variant)
    layers = measured.layers
    names = pd.Index(layers.profiles.site.astype(str))
    rows = [row.name for row in model.rows]
    kept = Path(given.network) / HELD_OUT_PARAMETERS
    if kept.is_file():
        held_out = files.read_parquet(kept, needed=("site", *rows))
        values = (
            held_out.set_index(held_out["site"].astype(str))[rows].reindex(names).to_numpy(float)
        )
        each = None
    else:
        through = needs_forcing(load_ensemble(given.network).features.names)
        predicted = predict_table(
            given.network, sites.covariates, forcing=sites.forcing if through else None
        )
        place = pd.Index(table["site"].astype(str)).get_indexer(names)
        each = (
            predicted["parameters"]
            .sel(parameter=rows)
            .transpose("member", "site", "parameter")
            .to_numpy()[:, place]
        )
        values = each.mean(axis=0)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    own = {name: values[known, j] for j, name in enumerate(rows)}
    return AtSites(
        layers.select(known),
        own,
        None if each is None else each[:, known],
        LEFT_OUT if kept.is_file() else SEEN,
    )
