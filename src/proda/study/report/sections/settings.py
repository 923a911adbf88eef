"""The settings as run, and the versions of everything."""

from __future__ import annotations

import pandas as pd

from proda.models.outside import CHECKSUM, SOURCE
from proda.study.report.blocks import Block, Notice, Section, Table, Verbatim
from proda.study.report.results import StudyResults


def settings(study: StudyResults) -> Section:
    """Return study.toml with its defaults, and the versions."""
    blocks: list[Block] = []
    if study.settings:
        blocks.append(Verbatim("study.toml as run, with every default", study.settings))
    else:
        blocks.append(Notice("The folder holds no study.toml, so the settings are not known."))
    packages = {"proda": study.record.proda_version, **study.record.packages}
    frame = pd.DataFrame({"package": list(packages), "version": list(packages.values())})
    blocks.append(Table("versions", "Versions of the software that ran the study", frame))
    if outside := study.record.models:
        rows = [
            (name, told.get(SOURCE, ""), told.get(CHECKSUM, "")) for name, told in outside.items()
        ]
        frame = pd.DataFrame(rows, columns=["model", "class", "SHA-256 of its file"])
        blocks.append(Table("outside_models", "Models from outside the package", frame))
    return Section("settings", "Settings and versions", tuple(blocks))
