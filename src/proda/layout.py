"""Where everything of a study lies in its folder: the one place that knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_MAP = "default.nc"
"""Map with default parameters, in the folder of a model."""
RUN_DESCRIPTION = "run.json"
"""Settings, sources and versions of an assimilation, in its folder: what makes it one."""
SUMMARY = "summary.nc"
"""Summary of an assimilation, in its folder: there once the assimilation is complete."""
TRAINING = "train.json"
"""How networks were trained, in their folder."""
SKILL_CARBON = "skill_carbon.csv"
"""Skill of every method in the carbon of held-out places, in the folder of a network."""
MAP = "maps.nc"
"""Map with the parameters of the networks that learnt from posteriors."""
ATTRIBUTION_MAPS = "attribution.nc"
"""What components do at every cell, in the folder of an attribution."""
HELD_OUT_PARAMETERS = "held_out_parameters.parquet"
"""Parameters of every site by networks not trained on it, in the folder of a network."""
END_TO_END_MAP = "end_to_end/maps.nc"
"""Map with the parameters of the networks that learnt end to end."""


def left_out_of(path: Path) -> Path:
    """Return the list of sites that forcing or covariates lack, beside their file."""
    return path.with_name(f"{path.name}.left_out.csv")


def chunks_of(path: Path) -> Path:
    """Return the folder beside a map that holds its finished chunks until it is complete."""
    return path.with_name(f"{path.name}.chunks")


def training_of(network: Path) -> Path:
    """Return the hidden folder beside a network that holds the latest epoch of its training."""
    return network.with_name(f".{network.name}.training")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a study.

    Parameters
    ----------
    path
        The study's folder.
    """

    path: Path

    @property
    def settings_file(self) -> Path:
        """Settings as run, with every default."""
        return self.path / "study.toml"

    @property
    def record_file(self) -> Path:
        """What is done, from what, by which versions, at what cost."""
        return self.path / "study.json"

    @property
    def profiles(self) -> Path:
        """Folder of `proda profiles build`."""
        return self.path / "profiles"

    @property
    def profile_table(self) -> Path:
        """Table of the usable profiles, one row per profile."""
        return self.profiles / "profiles.parquet"

    @property
    def forcing(self) -> Path:
        """Forcing on the grid."""
        return self.path / "forcing.zarr"

    @property
    def sites(self) -> Path:
        """Forcing at the profiles."""
        return self.path / "sites.nc"

    @property
    def covariates(self) -> Path:
        """Covariates at the profiles."""
        return self.path / "covariates.parquet"

    def assimilation(self, model: str) -> Path:
        """Folder of `proda assimilate`."""
        return self.path / model / "assimilation"

    def summary(self, model: str) -> Path:
        """Statistics of the assimilated sites; written when the assimilation is finished."""
        return self.assimilation(model) / SUMMARY

    def diagnosis(self, model: str) -> Path:
        """Folder of what `proda diagnose` writes."""
        return self.path / model / "diagnosis"

    def site_table(self, model: str) -> Path:
        """Verdict on each assimilated site."""
        return self.diagnosis(model) / "sites.csv"

    def kept(self, model: str) -> Path:
        """Posteriors of the sites that pass the filter."""
        return self.diagnosis(model) / "kept.nc"

    def network(self, model: str) -> Path:
        """Folder of `proda train`: networks that learnt from posteriors."""
        return self.path / model / "network"

    def end_to_end(self, model: str) -> Path:
        """Folder of `proda train --model`: networks that learnt end to end."""
        return self.end_to_end_map(model).with_name("network")

    def default_map(self, model: str) -> Path:
        """Map with default parameters."""
        return self.path / model / DEFAULT_MAP

    def map(self, model: str) -> Path:
        """Map with the parameters of the networks that learnt from posteriors."""
        return self.path / model / MAP

    def end_to_end_map(self, model: str) -> Path:
        """Map with the parameters of the networks that learnt end to end."""
        return self.path / model / END_TO_END_MAP

    def spread(self, model: str) -> Path:
        """Map with joint draws: the range of carbon that a place may hold."""
        return self.path / model / "spread.nc"

    def from_posteriors(self, model: str) -> tuple[Path, ...]:
        """Return the files that a model has if posteriors constrained it."""
        return (
            self.assimilation(model),
            self.diagnosis(model),
            self.network(model),
            self.map(model),
        )

    def from_end_to_end(self, model: str) -> tuple[Path, ...]:
        """Return the files that a model has if it was trained end to end."""
        return (self.end_to_end(model).parent,)

    @property
    def comparison(self) -> Path:
        """Folder of the tables and maps of the comparison."""
        return self.path / "comparison"

    def comparison_table(self, name: str) -> Path:
        """One table of the comparison."""
        return self.comparison / f"{name}.csv"

    def projection(self, model: str, state: str) -> Path:
        """Projection of a model in a state of the comparison (before, after, end to end)."""
        return self.path / model / f"projection_{state.replace(' ', '_')}.nc"

    @property
    def projections(self) -> Path:
        """Folder of the tables that set projections beside each other."""
        return self.path / "projections"

    def projections_table(self, name: str) -> Path:
        """One table of the projections."""
        return self.projections / f"{name}.csv"

    @property
    def attribution(self) -> Path:
        """Folder of the attribution of the maps to components."""
        return self.path / "attribution"

    @property
    def figures(self) -> Path:
        """Folder of the figures that stages and the report save."""
        return self.path / "figures"

    @property
    def tables(self) -> Path:
        """Folder of the tables that the report shows."""
        return self.path / "tables"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"
