"""The folder of a study that runs: its paths by its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proda.layout import RunFolder
from proda.study.settings import StudySettings


@dataclass(frozen=True)
class StudyFolder(RunFolder):
    """The paths of a study and its settings.

    Parameters
    ----------
    path
        The study's folder.
    settings
        The study's settings. Forcing that they name is read where it is.
    """

    settings: StudySettings

    @property
    def forcing(self) -> Path:
        """Forcing on the grid."""
        return self.settings.forcing.file or super().forcing
