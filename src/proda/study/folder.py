"""Where everything of a study lies, in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proda.comparison.run import END_TO_END_MAPS, MAPS
from proda.study.settings import StudySettings


@dataclass(frozen=True)
class StudyFolder:
    """The paths of a study.

    Parameters
    ----------
    path
        The study's folder.
    settings
        The study's settings: forcing that is there already is read where it is.
    """

    path: Path
    settings: StudySettings

    @property
    def profiles(self) -> Path:
        """Folder of `proda profiles build`."""
        return self.path / "profiles"

    @property
    def forcing(self) -> Path:
        """Forcing on the grid."""
        return self.settings.forcing.file or self.path / "forcing.zarr"

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

    def diagnosis(self, model: str) -> Path:
        """Folder of what `proda diagnose` writes: kept.nc, sites.csv, figures."""
        return self.path / model / "diagnosis"

    def kept(self, model: str) -> Path:
        """Posteriors of the sites that pass the filter."""
        return self.diagnosis(model) / "kept.nc"

    def network(self, model: str) -> Path:
        """Folder of `proda train`: networks that learnt from posteriors."""
        return self.path / model / "network"

    def end_to_end(self, model: str) -> Path:
        """Folder of `proda train --model`: networks that learnt end to end."""
        return (self.path / model / END_TO_END_MAPS).with_name("network")

    def default_map(self, model: str) -> Path:
        """Map with the ad hoc parameterisation."""
        return self.path / model / "default.nc"

    def map(self, model: str) -> Path:
        """Map with the parameters of the networks that learnt from posteriors."""
        return self.path / model / MAPS

    def end_to_end_map(self, model: str) -> Path:
        """Map with the parameters of the networks that learnt end to end."""
        return self.path / model / END_TO_END_MAPS

    def spread(self, model: str) -> Path:
        """Map with joint draws: how far the truth may lie from the map at a place."""
        return self.path / model / "spread.nc"

    @property
    def comparison(self) -> Path:
        """Tables and maps of the comparison."""
        return self.path / "comparison"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"
