"""Do two models agree because data say so? Refits end to end, and their correlations.

    python -m benchmarks.identification FOLDER --profiles PROFILES --sites SITES.nc
        --covariates SITES.parquet --forcing FORCING.zarr --grid COVARIATES.nc
        [--model clm5 --model compas] [--each 3] [--every 4] [--set epochs=30 ...]

Each model is trained end to end `--each` times in every kind of refit: other seeds (and validation
blocks), start at the defaults instead of the calibrated constant, random starts, a bootstrap of
5-degree blocks, no pull to the start, and random starts without the pull. Every refit is mapped on
every n-th row and column of half-degree cells. FOLDER keeps `refits_MODEL.nc`, which is not made
again (an interrupted training resumes), then the tables, the figure and the report. With
`--only MODEL` one model is refitted and not compared; in a synthetic world `--truth FILE` then says
how the refits agree with each other and with the truth.
"""

from __future__ import annotations

import argparse
import time
from ast import literal_eval
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.report import machine, write_report
from proda import files
from proda.comparison.identification import (
    ALL,
    BETWEEN,
    identification_table,
    mean_table,
    pair_table,
    parameter_table,
    truth_correlations,
)
from proda.comparison.refit_runs import refit_model
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.refits import KINDS, kinds_named
from proda.learning.train import Progress
from proda.maps.totals import open_map
from proda.plots.identification import identification_figure
from proda.plots.style import save

POSTERIOR = {"cSoilAbove1m": 0.54, "CTE": 0.10, "K": 0.58, "XI": 0.87, "B": 0.63, "V": 0.12}
"""Correlations after assimilation by the posterior route (docs/real_study.md)."""


def refits(given: argparse.Namespace, model: str) -> xr.Dataset:
    """Refit and map a model, or read what is there."""
    path = given.folder / f"refits_{model}.nc"
    if path.is_file():
        return files.load(files.open_netcdf(path), path)
    begun = time.perf_counter()

    def told(p: Progress) -> None:
        print(
            f"{model} {p.stage} {p.epoch}/{p.epochs} validation "
            f"{np.round(p.validation_loss, 3)} {time.perf_counter() - begun:.0f} s",
            flush=True,
        )

    found = refit_model(
        given.covariates,
        profiles=given.profiles,
        forcing=given.sites,
        grid_covariates=given.grid,
        grid_forcing=given.forcing,
        model=model,
        settings=parsed(given.set),
        kinds=kinds_named(given.kind),
        each=given.each,
        every=given.every,
        checkpoints=given.folder,
        on_progress=told,
        on_stage=lambda what: print(
            f"{model}: {what}, {time.perf_counter() - begun:.0f} s", flush=True
        ),
    )
    found = found.assign_attrs(seconds=time.perf_counter() - begun)
    files.write_netcdf(found, path)
    return found


def parsed(words: list[str]) -> EndToEndSettings:
    """Return the default settings with what `--set NAME=VALUE` changes."""
    changed = {}
    for text in words:
        name, equals, value = text.partition("=")
        if not equals or name not in EndToEndSettings().as_dict():
            raise SystemExit(f"--set {text}: write NAME=VALUE with a setting of EndToEndSettings.")
        changed[name] = literal_eval(value)
    return EndToEndSettings(**changed)


def _cell(row: pd.Series) -> str:
    if row["pairs"] == 1:
        return f"{row['median']:.2f}"
    return f"{row['median']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"


def _wide(table: pd.DataFrame) -> list[str]:
    """Kinds down, variables across."""
    names = list(dict.fromkeys(table["variable"]))
    kinds = list(dict.fromkeys(table["kind"]))
    cells = {(r["kind"], r["variable"]): _cell(r) for _, r in table.iterrows()}
    return [
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| {kind} | " + " | ".join(cells.get((kind, n), "") for n in names) + " |"
            for kind in kinds
        ),
    ]


def _validation(trained: xr.Dataset) -> str:
    loss, lost = trained["validation_loss"], trained["lost"]
    if not np.isfinite(loss).any():
        return "no validation sites."
    return (
        f"validation loss {float(loss.min()):.3f} to {float(loss.max()):.3f}, at most "
        f"{float(lost.max()):.1%} of the validation sites without a steady state."
    )


def report(given: argparse.Namespace, found: dict[str, xr.Dataset]) -> None:
    """Write tables, figure and report."""
    first, second = found.values()
    pairs = pair_table(first, second)
    table, means = identification_table(pairs), mean_table(first, second)
    parameters = pd.concat([parameter_table(d) for d in found.values()], ignore_index=True)
    for name, each in (
        ("identification", table),
        ("pairs", pairs),
        ("means", means),
        ("parameters", parameters),
    ):
        each.round(4).to_csv(given.folder / f"{name}.csv", index=False)
    save(identification_figure(pairs, means), given.folder / "identification.png")
    between = table[table["of"] == BETWEEN]
    paper = between[between["kind"] == ALL].set_index("variable")["paper"]
    lines = [
        "# Do CLM5 and COMPAS agree because data say so?",
        "",
        f"    {_command(given)}",
        "",
        machine(),
        "",
    ]
    for model, data in found.items():
        trained = data.isel(refit=data["trained"].to_numpy())
        lines.append(
            f"{model}: {trained.sizes['refit']} refits of {data.attrs['sites']:,} sites, "
            f"{data.sizes['cell']:,} cells, {float(data.attrs.get('seconds', np.nan)):.0f} s; "
            f"{_validation(trained)} "
            f"Settings: {data.attrs['settings']}."
        )
        lines.append("")
    lines += [
        "## Between the models: median (lowest to highest) over pairs of refits",
        "",
        *_wide(between),
    ]
    for label, values in (("paper, after", paper), ("posterior route", pd.Series(POSTERIOR))):
        lines.append(
            f"| {label} | "
            + " | ".join(
                f"{values.get(n, np.nan):.2f}".replace("nan", "none")
                for n in dict.fromkeys(between["variable"])
            )
            + " |"
        )
    lines += [
        "",
        "Correlation of the mean maps, with the number of independent cells:",
        "",
        "| | r | 95 % | cells | effective |",
        "|---|---|---|---|---|",
        *(
            f"| {r['variable']} | {r['r']:.2f} | {r['low']:.2f} to {r['high']:.2f} | "
            f"{r['n']:,.0f} | {r['n_effective']:.0f} |"
            for _, r in means.iterrows()
        ),
    ]
    for model in found:
        lines += ["", f"## Between refits of {model}", "", *_wide(table[table["of"] == model])]
    lines += [
        "",
        "## Parameters: spread between refits",
        "",
        "Shares of the prior range, all trained refits; columns as in `parameter_table`.",
        "",
    ]
    for model in found:
        mine = parameters[(parameters["model"] == model) & (parameters["kind"] == ALL)]
        text = mine.drop(columns=["model", "kind", "refits"]).round(3).to_string(index=False)
        lines += [f"{model}:", "", *("    " + line for line in text.splitlines()), ""]
    write_report(given.folder / "identification.md", lines)


def report_truth(given: argparse.Namespace, found: xr.Dataset) -> None:
    """Write how refits of one model agree with each other and with the truth."""
    with open_map(given.truth) as opened:
        right = truth_correlations(found, files.load(opened, given.truth))
    table = identification_table(pair_table(found))
    right.round(4).to_csv(given.folder / f"truth_{given.only}.csv", index=False)
    words = right.assign(pairs=right["refits"])
    level = right[right["kind"] == ALL].set_index("variable")["level"]
    write_report(
        given.folder / f"truth_{given.only}.md",
        [
            f"## Refits of {given.only} in a world whose truth is known",
            "",
            f"    {_command(given)}",
            "",
            machine(),
            "",
            "Between refits: median (lowest to highest)",
            "",
            *_wide(table),
            "",
            "With the truth:",
            "",
            *_wide(words),
            "| level, ln(refit / truth) | " + " | ".join(f"{v:+.2f}" for v in level) + " |",
        ],
    )


def _command(given: argparse.Namespace) -> str:
    words = [f"--each {given.each}", f"--every {given.every}", *(f"--set {s}" for s in given.set)]
    if given.kind != [kind.name for kind in KINDS]:
        words += [f"--kind '{name}'" for name in given.kind]
    return "python -m benchmarks.identification FOLDER " + " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("profiles", "sites", "covariates", "forcing", "grid"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", action="append")
    parser.add_argument("--only")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    given.kind = given.kind or [kind.name for kind in KINDS]
    given.folder.mkdir(exist_ok=True)
    if given.only:
        found = refits(given, given.only)
        if given.truth is not None:
            report_truth(given, found)
        return
    models = given.model or ["clm5", "compas"]
    report(given, {model: refits(given, model) for model in models})


if __name__ == "__main__":
    main()
