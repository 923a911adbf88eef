"""Cost, machine, settings and versions of the study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.models.outside import CHECKSUM, SOURCE
from proda.study.report.elements import Block, Notice, Table, Text, Verbatim, not_run
from proda.study.report.results import StudyResults


def cost(study: StudyResults) -> list[Block]:
    """Return time, memory and disk of the stages, as `proda run` measured them."""
    stages = study.record.stages
    if not stages:
        return [not_run("any stage", "cost")]
    rows = [
        {
            "stage": name,
            "status": stage.status,
            "time (s)": _number(stage.seconds),
            "peak memory (MB)": _number(stage.peak_memory_bytes) / 1e6,
            "disk (MB)": _number(stage.disk_bytes) / 1e6,
            "finished": stage.finished,
        }
        for name, stage in stages.items()
    ]
    frame = pd.DataFrame(rows)
    seconds, disk = float(frame["time (s)"].sum()), float(frame["disk (MB)"].sum())
    memory = frame["peak memory (MB)"].max()
    peak = "" if np.isnan(memory) else f", with a peak of {memory / 1e3:.2g} GB of memory"
    unmeasured = int(frame["time (s)"].isna().sum())
    note = f" {unmeasured} stages have no measured time." if unmeasured else ""
    return [
        Text(
            f"All stages together took {duration(seconds)}{peak}, and use {disk / 1e3:.2g} GB of "
            f"disk space.{note}"
        ),
        Table("cost", "Cost of every stage", frame),
    ]


def machine(study: StudyResults) -> list[Block]:
    """Return the machine that the study was run on."""
    noted = study.record.machine
    frame = pd.DataFrame({"machine": list(noted), "value": [str(v) for v in noted.values()]})
    return [Table("machine", "The machine", frame)] if noted else []


def settings(study: StudyResults) -> list[Block]:
    """Return study.toml with its defaults, and the versions."""
    blocks: list[Block] = []
    if study.settings:
        blocks.append(Verbatim("study.toml as run, with every default", study.settings))
    else:
        blocks.append(Notice("The folder contains no study.toml, so the settings are unknown."))
    packages = {"proda": study.record.proda_version, **study.record.packages}
    frame = pd.DataFrame({"package": list(packages), "version": list(packages.values())})
    blocks.append(Table("versions", "Versions of the software that ran the study", frame))
    if outside := study.record.models:
        rows = [(n, noted.get(SOURCE, ""), noted.get(CHECKSUM, "")) for n, noted in outside.items()]
        frame = pd.DataFrame(rows, columns=["model", "class", "SHA-256 of its file"])
        blocks.append(Table("outside_models", "Models from outside the package", frame))
    return blocks


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def duration(seconds: float) -> str:
    """Return seconds in words: "2 h 5 min", "3 min 20 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
