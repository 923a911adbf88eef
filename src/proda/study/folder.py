"""The folder of a study, with the paths that its settings determine."""

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
        The study's settings. Existing forcing that they name is read in its place.
    """

    settings: StudySettings

    @property
    def forcing(self) -> Path:
        """Forcing on the grid."""
        return self.settings.forcing.file or super().forcing
