"""Sites for end-to-end training: covariates, forcing and measured layers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from proda import files
from proda.checksums import digest
from proda.errors import ForcingError, LearningError
from proda.forcing import FORCING_VARIABLES, Forcing
from proda.inference.problem import build_likelihood, build_model, checked_settings
from proda.inference.profiles import Profiles, read_profiles
from proda.learning.layers import SiteLayers

NO_FORCING, NO_COVARIATES, IN_BEDROCK = "no forcing", "no covariates", "all layers in bedrock"


@dataclass(frozen=True, eq=False)
class CarbonSites:
    """The same sites in the same order: inputs of the network, and measured layers.

    `table` holds the covariates; `left_out` lists the other
    profiles (columns site, reason).
    """

    table: pd.DataFrame
    layers: SiteLayers
    left_out: pd.DataFrame

    def __len__(self) -> int:
        return len(self.layers)

    def select(self, rows: np.ndarray) -> CarbonSites:
        """Return some of the sites, by position."""
        return CarbonSites(
            self.table.iloc[rows].reset_index(drop=True), self.layers.select(rows), self.left_out
        )

    def without(self, rows: np.ndarray, reason: str | list[str]) -> CarbonSites:
        """Leave out sites, with one reason for all or one for each."""
        out = pd.DataFrame({"site": self.layers.profiles.site[rows], "reason": reason})
        kept = np.setdiff1d(np.arange(len(self)), rows)
        rest = self.select(kept)
        return CarbonSites(
            rest.table, rest.layers, pd.concat([self.left_out, out], ignore_index=True)
        )

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of the values of profiles, forcing and covariates.

        They depend on the values alone, not on the files that hold them.
        """
        p, forcing = self.layers.profiles, self.layers.forcing
        drivers = [getattr(forcing, variable.name) for variable in FORCING_VARIABLES]
        names = sorted(map(str, self.table))
        columns = [self.table[name].to_numpy() for name in names]
        return {
            "profiles": digest(p.site.astype(str), p.upper, p.lower, p.carbon),
            "forcing": digest(*drivers),
            "covariates": digest(
                np.array(names),
                *(c.astype(float if c.dtype.kind in "biuf" else str) for c in columns),
            ),
        }


def read_carbon_sites(
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    covariates: pd.DataFrame,
    model: str,
    variant: str = "default",
) -> CarbonSites:
    """Join profiles, forcing and covariates by the name of the site.

    Parameters
    ----------
    profiles
        Folder of `proda profiles build`.
    forcing
        Forcing at sites, whose coordinate `site` names the profiles.
    covariates
        Column `site` and the predictors.
    model, variant
        The soil model; measured layers are compared with means over the same intervals.

    Raises
    ------
    LearningError
        If a site occurs twice, or none has all three.
    """
    if "site" not in covariates:
        raise LearningError("The covariates lack the column site.")
    measured = read_profiles(profiles)
    with files.open_dataset(forcing) as opened:
        if "site" not in opened.coords:
            raise LearningError(
                f"{forcing}: has no coordinate site by which sites could be matched. Sample "
                f"forcing on a grid at the sites first: proda forcing at-sites {forcing} "
                f"{Path(profiles) / 'profiles.parquet'} SITES.nc."
            )
        driven = _index(opened["site"].to_numpy(), f"The forcing {forcing}").get_indexer(
            pd.Index(measured.site)
        )
        known = _index(covariates["site"].to_numpy(), "The covariates").get_indexer(
            pd.Index(measured.site)
        )
        reason = np.where(driven < 0, NO_FORCING, np.where(known < 0, NO_COVARIATES, ""))
        here = np.flatnonzero(reason == "")
        if here.size == 0:
            raise LearningError(_no_match(profiles, measured, driven, known))
        try:
            drivers = Forcing.from_dataset(files.load(opened.isel(site=driven[here]), forcing))
        except ForcingError as error:
            raise ForcingError(f"{forcing}: {error}") from error
    left_out = pd.DataFrame({"site": measured.site[reason != ""], "reason": reason[reason != ""]})
    chosen: Profiles = measured.select(here)
    settings = checked_settings(model=model, variant=variant)
    layers = SiteLayers(
        build_model(settings), build_likelihood(settings), settings.operator, chosen, drivers
    )
    table = covariates.iloc[known[here]].reset_index(drop=True)
    sites = CarbonSites(table, layers, left_out)
    count = np.bincount(layers.row_site[layers.used], minlength=len(layers))
    return sites.without(np.flatnonzero(count == 0), IN_BEDROCK)


def _no_match(
    profiles: str | os.PathLike[str], measured: Profiles, driven: np.ndarray, known: np.ndarray
) -> str:
    """Return the message for profiles of which none has both forcing and covariates."""
    return (
        f"None of the {len(measured)} profiles of {profiles} has forcing and covariates "
        f"({int((driven >= 0).sum())} have forcing, {int((known >= 0).sum())} covariates); "
        f"do the names of the sites match? The first profile is {str(measured.site[0])!r}. "
        f"Make both from {Path(profiles) / 'profiles.parquet'}: proda forcing at-sites "
        "and proda covariates build --sites."
    )


def _index(names: np.ndarray, where: str) -> pd.Index:
    index = pd.Index(names.astype(str))
    if index.has_duplicates:
        raise LearningError(f"{where}: site {index[index.duplicated()][0]} appears twice.")
    return index


def layer_table(sites: CarbonSites) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the site, the middle depth (m) and the carbon (g m-3) of every measured layer."""
    p = sites.layers.profiles
    return sites.layers.row_site, 0.5 * (p.upper + p.lower), p.carbon
