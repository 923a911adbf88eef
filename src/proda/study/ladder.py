"""From the published method to ours, one correction after the other, each as a separate study.

Each rung is a study in its own folder. It starts as a copy of the previous rung by hard links, so
that `proda run` does not repeat the stages that the correction does not change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from proda.blocks.executor import Control
from proda.errors import StudyError
from proda.files import read_csv, read_toml, whole_file
from proda.layout import RunFolder
from proda.locks import FILES
from proda.study.methods import CORRECTIONS, Key, rung
from proda.study.pipeline import run_study
from proda.study.plan import PlannedStage
from proda.study.settings import parse
from proda.study.stage import Reporter

FINDINGS, NUMBERS = "ladder_findings.csv", "ladder_numbers.csv"
COPIED = ("study.json", "study.toml")
"""Files that a study may change in place: copied, not linked."""


@dataclass(frozen=True)
class Ladder:
    """The results of all finished rungs.

    `findings`: one row per finding of the paper, with the verdict and the numbers of each rung.
    `numbers`: correlations, totals and Michaelis constants of every rung.
    """

    findings: pd.DataFrame
    numbers: pd.DataFrame


def published_amounts(
    test: int | None = None, formal: int | None = None, training: Mapping[str, Any] | None = None
) -> dict[Key, Any]:
    """Return changes of the published method's numbers of steps and epochs.

    Parameters
    ----------
    test, formal
        Steps of the published sampler's two runs.
    training
        Changes to the published network's settings, such as `epochs`.

    Raises
    ------
    StudyError
        If the steps give no draws.
    """
    changes: dict[Key, Any] = {}
    if test is not None or formal is not None:
        test, formal = 20_000 if test is None else test, 50_000 if formal is None else formal
        kept, before = formal - formal // 2, test + formal // 2
        fit = [n for n in range(4, 501) if kept % n == 0 and before % (kept // n) == 0]
        if not fit:
            raise StudyError(
                f"{test} and {formal} steps of the published sampler do not give a whole number of "
                "draws; choose multiples of 8."
            )
        changes[("assimilation", "options")] = {"test": test, "formal": formal}
        changes[("assimilation", "draws")] = fit[-1]
    if training:
        changes[("training", "settings")] = dict(training)
    return changes


def run_ladder(
    study: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    published: Mapping[Key, Any] | None = None,
    rungs: int | None = None,
    control: Control | None = None,
    reporter: Reporter | None = None,
    begin: Callable[[int, PlannedStage], None] | None = None,
) -> Ladder:
    """Run the study on every rung, and put the findings of all rungs side by side.

    Parameters
    ----------
    study
        Settings of the study by our method (TOML).
    folder
        Folder for one folder per rung and the tables.
    published
        Of :func:`published_amounts`.
    rungs
        Stop after this many rungs; a later call resumes.
    control, reporter
        As for :func:`proda.study.pipeline.run_study`.
    begin
        Called with the number of the rung and each step before it is run.

    Raises
    ------
    Stopped
        If the control requests it; repeat the call to resume.
    StudyError
        If the settings are wrong or name a method.
    """
    path, target = Path(study), Path(folder)
    values = read_toml(path, StudyError)
    if "method" in values.get("study", {}):
        raise StudyError(f"{path}: remove method from [study]; every rung sets its own.")
    target.mkdir(parents=True, exist_ok=True)
    done: list[Path] = []
    for index in range(len(CORRECTIONS) if rungs is None else min(rungs, len(CORRECTIONS))):
        place = rung_folder(target, index)
        settings = parse(rung(values, index, published), str(path), path.parent.resolve())
        if done and not RunFolder(place).record_file.is_file():
            link_study(done[-1], place)

        def report_step(step: PlannedStage, index: int = index) -> None:
            if begin is not None:
                begin(index, step)

        run_study(settings, place, control=control, reporter=reporter, begin=report_step)
        done.append(place)
        _write(tables_of(done), target)
    return tables_of(done)


def rung_folder(folder: Path, index: int) -> Path:
    """Return the folder of a rung."""
    return folder / f"{index}_{CORRECTIONS[index].name}"


def link_study(source: Path, target: Path) -> None:
    """Copy the folder of a study by hard links, or by copying where links are not possible.

    Stages replace their files and never change them in place, so that one study does not change the
    files of another.
    """

    def link(a: str, b: str) -> None:
        if Path(a).name in COPIED:
            shutil.copy2(a, b)
            return
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    ignored = shutil.ignore_patterns(*FILES)
    shutil.copytree(source, partial, copy_function=link, ignore=ignored)
    partial.rename(target)


def tables_of(folders: list[Path]) -> Ladder:
    """Return findings and numbers of the rungs in these folders."""
    labels, numbers = [], []
    for folder in folders:
        place, name = RunFolder(folder), folder.name
        findings = read_csv(place.comparison_table("findings"))
        findings = findings.astype(object).where(findings.notna(), "")
        one = findings.drop_duplicates("id").set_index("id")
        labels.append((name, one))
        numbers.append(_numbers(place).assign(rung=name))
    first = labels[0][1]
    wide = first[["section", "paper"]].copy()
    for name, one in labels:
        wide[name] = one["verdict"].reindex(wide.index)
    for name, one in labels:
        words = one["run"].where(one["run"] != "", one["reason"])
        wide[f"{name}, numbers"] = words.reindex(wide.index)
    verdicts = wide[[name for name, _ in labels]]
    wide.insert(2, "holds", [_robust(list(row)) for row in verdicts.to_numpy()])
    return Ladder(wide.reset_index(), pd.concat(numbers, ignore_index=True))


def _robust(verdicts: list[str]) -> str:
    """Return on which rungs a finding holds."""
    judged = [v for v in verdicts if v in ("agrees", "disagrees")]
    if not judged:
        return "never judged"
    if len(set(judged)) > 1:
        return "depends on the method"
    word = "on every rung" if judged[0] == "agrees" else "on no rung"
    return word if len(judged) == len(verdicts) else f"{word} that can be judged"


def _numbers(place: RunFolder) -> pd.DataFrame:
    """Return the numbers of a rung that the paper reports, one per row."""
    rows: list[dict[str, Any]] = []
    r = read_csv(place.comparison_table("correlations"))
    for _, row in r.iterrows():
        what = f"r of {row['variable']}, {row['first']} and {row['second']}"
        rows.append(
            {
                "quantity": what,
                "state": row["state"],
                "value": row["r"],
                "low": row["low"],
                "high": row["high"],
                "n_effective": row["n_effective"],
            }
        )
    totals = read_csv(place.comparison_table("totals"))
    own = totals[(totals["zone"] == "globe") & (totals["stock"] == "cSoilAbove1m")]
    for _, row in own.iterrows():
        rows.append(
            {
                "quantity": f"Pg in 0-100 cm, {row['source']}",
                "state": row["state"],
                "value": row["mean"],
                "low": row["q05"],
                "high": row["q95"],
            }
        )
    path = place.comparison_table("michaelis")
    michaelis = read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()
    for _, row in michaelis.iterrows():
        what = f"Michaelis constant over {row['substrate']}, {row['where']}, {row['model']}"
        rows.append(
            {
                "quantity": what,
                "state": row["state"],
                "value": row["q50"],
                "low": row["q05"],
                "high": row["q95"],
            }
        )
    return pd.DataFrame(rows)


def _write(ladder: Ladder, folder: Path) -> None:
    for name, table in ((FINDINGS, ladder.findings), (NUMBERS, ladder.numbers)):
        with whole_file(folder / name) as temporary:
            table.to_csv(temporary, index=False)
