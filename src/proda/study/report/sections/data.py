"""Which data were used, and why others were not: from profiles to training sites."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from proda import files
from proda.comparison.model_files import AFTER, END_TO_END
from proda.errors import FileError
from proda.inference.assessment import counts
from proda.layout import TRAINING, left_out_of
from proda.observations.build_summary import KEPT, Summary, read_build
from proda.study.report.assessments import assessment_of
from proda.study.report.elements import Block, Notice, Table, Text, not_run
from proda.study.report.results import StudyResults
from proda.study.report.tables import read_csv


def data(study: StudyResults) -> list[Block]:
    """Return the counts of profiles and layers by reason, and of sites by stage."""
    blocks: list[Block] = []
    folder = study.profiles
    build = read_build(folder, ["profile_id"])[0] if folder.is_dir() else None
    if build is None:
        blocks.append(not_run("profiles", "table of profiles"))
    else:
        blocks += _profiles(build)
    blocks += _sites(study, build)
    return blocks


def _profiles(build: Summary) -> list[Block]:
    read, kept = build.total("profile"), build.total("profile", KEPT)
    note = "The reason is the first rule that applies. Columns: sources or collections."
    tables = []
    for level, words in (("profile", "Profiles"), ("layer", "Layers")):
        frame = build.table(level).rename_axis("reason").reset_index()
        frame["reason"] = frame["reason"].str.replace("_", " ")
        tables.append(
            Table(
                f"{level}s_by_reason", f"{words} read, left out (by reason) and kept", frame, note
            )
        )
    constants = ", ".join(f"{c:.3g}" for c in build.constants)
    return [
        Text(
            f"Of {read:,} profiles read, {kept:,} are usable ({kept / read:.1%}), with "
            f"{build.total('layer', KEPT):,} layers. Where bulk density was not measured, it is "
            f"estimated by the pedotransfer function “{build.pedotransfer}” (constants "
            f"{constants})."
        ),
        *tables,
        *(Notice(note) for note in build.notes),
    ]


def _sites(study: StudyResults, build: Summary | None) -> list[Block]:
    """Return how many profiles each stage excluded, per model, down to the training sites."""
    shared: list[tuple[str, int]] = []
    if build is not None:
        shared.append(("usable profiles", build.total("profile", KEPT)))
    blocks: list[Block] = []
    for stage, path in (("forcing", study.sites), ("covariates", study.covariates)):
        if not path.exists():
            blocks.append(not_run(stage, f"count of sites without {stage}"))
            continue
        shared += [(f"{stage}: {reason}", n) for reason, n in _reasons(left_out_of(path)).items()]
    columns: dict[str, dict[str, int]] = {}
    for model in study.models if END_TO_END in study.routes else ():
        folder = study.end_to_end(model)
        if not (folder / TRAINING).is_file():
            blocks.append(not_run(f"end-to-end training of {model.upper()}", "count of its sites"))
            continue
        columns[f"{model.upper()}, end to end"] = {
            **dict(shared[:1] if build is not None else ()),
            **{f"end to end: {why}": n for why, n in _reasons(folder / "left_out.csv").items()},
            "used in end-to-end training": _learnt(folder / TRAINING),
        }
    for model in study.models if AFTER in study.routes else ():
        assessment = assessment_of(study, model)
        if assessment is None:
            blocks.append(not_run(f"assimilation of {model.upper()}", "count of its sites"))
            continue
        own = dict(shared)
        lost = _reasons(study.assimilation(model) / "left_out.csv")
        if build is not None:
            rest = own["usable profiles"] - sum(lost.values()) - len(assessment.sites)
            if rest < 0:
                raise FileError(
                    f"{study.assimilation(model)}: has more sites than "
                    f"{study.profiles} has usable profiles; it belongs to other profiles."
                )
            own["not chosen by the study's settings"] = rest
        own["assimilated"] = len(assessment.sites)
        own |= {f"of these {why}": n for why, n in counts(assessment).items()}
        columns[model.upper()] = own
    columns = columns or {"profiles": dict(shared)}
    steps = list(dict.fromkeys(step for column in columns.values() for step in column))
    frame = pd.DataFrame(columns).reindex(steps)
    if len(frame):
        frame = frame.astype("Int64").rename_axis("step").reset_index()
        blocks.append(
            Table(
                "sites_by_step",
                "From usable profiles to the training sites",
                frame,
                "A site can lack both forcing and covariates, so these counts overlap; "
                "assimilation needs only forcing, end-to-end training both.",
            )
        )
    return blocks


def _learnt(path: Path) -> int:
    """Return the number of training sites that the training recorded."""
    header = files.read_json(path)
    if not isinstance(header, dict) or not isinstance(header.get("sites"), int):
        raise FileError(f"{path}: does not contain the number of training sites; train again.")
    return int(header["sites"])


def _reasons(path: Path) -> dict[str, int]:
    """Count the reasons in a list of excluded sites; without a list there are none."""
    if not path.is_file():
        return {}
    table = read_csv(path)
    if "reason" not in table:
        raise FileError(f"{path}: has no column reason.")
    return {str(k).replace("_", " "): int(n) for k, n in table["reason"].value_counts().items()}
