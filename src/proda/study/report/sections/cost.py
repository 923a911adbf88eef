"""What the study cost: time, memory and disk of every stage."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.study.report.blocks import Block, Section, Table, Text
from proda.study.report.missing import not_run
from proda.study.report.results import StudyResults


def cost(study: StudyResults) -> Section:
    """Return time, memory and disk of the stages, as `proda run` measured them."""
    stages = study.record.stages
    blocks: list[Block] = []
    if not stages:
        blocks.append(not_run("any stage", "cost"))
    else:
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
        peak = "" if np.isnan(memory) else f", with {memory / 1e3:.2g} GB of memory at most"
        unmeasured = int(frame["time (s)"].isna().sum())
        note = f" {unmeasured} stages have no measured time." if unmeasured else ""
        blocks += [
            Text(
                f"All stages together took {duration(seconds)}{peak}, and left "
                f"{disk / 1e3:.2g} GB on disk.{note}"
            ),
            Table("cost", "Cost of every stage", frame),
        ]
    machine = study.record.machine
    if machine:
        values = [str(value) for value in machine.values()]
        frame = pd.DataFrame({"machine": list(machine), "value": values})
        blocks.append(Table("machine", "The machine", frame))
    return Section("cost", "Cost", tuple(blocks))


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
