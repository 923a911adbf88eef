"""`proda attribute`: which component determines a map, and the difference between two maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, formatted, print_table, progress
from proda.cli.options import Plots
from proda.layout import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from proda.attribution import AttributedMap, Attribution


_Maps = Annotated[
    list[Path],
    typer.Argument(metavar="MAPS...", help="Maps of networks, or the folder of a study."),
]
_Network = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER: network of a model's map; by default that of the study."),
]
_Kept = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FILE: posteriors of the accepted sites (`proda diagnose`)."),
]
_Forcing = Annotated[
    Path | None, typer.Option(help="Forcing on the grid; by default that of the study.")
]
_Covariates = Annotated[
    Path | None,
    typer.Option(
        help="Covariates on the grid, for the spread of the members; by default those of the study."
    ),
]
_Sample = Annotated[
    int, typer.Option(min=10, help="Cells on which every member is run for the spread.")
]
_InputVariation = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Ratio of standard deviation to mean of the carbon input, for the published method.",
    ),
]
_Response = Annotated[
    list[str] | None,
    typer.Option(
        help="Experiment of `proda project`, such as plus_4K: say why two models respond "
        "differently to it; repeat for several."
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder to write; by default RUN/attribution."),
]


@app.command(
    epilog="Examples:\n\n`proda attribute run`\n\n"
    "`proda attribute run/clm5/end_to_end/maps.nc run/compas/end_to_end/maps.nc -o attribution "
    "--plots figures`\n\n"
    "`proda attribute clm5.nc --network clm5=clm5_network --forcing forcing.zarr -o attribution`"
    "\n\n"
    "`proda attribute run --response plus_4K`"
)
def attribute(
    maps: _Maps,
    network: _Network = None,
    kept: _Kept = None,
    forcing: _Forcing = None,
    covariates: _Covariates = None,
    sample: _Sample = 5_000,
    input_variation: _InputVariation = None,
    response: _Response = None,
    output: _Output = None,
    plots: Plots = None,
) -> None:
    """Attribute maps to the components of a model (transfer, decomposition, environment ...).

    Computes Shapley values of the six components for carbon, the pattern of its map and the skill
    at profiles; the published replacement of one component at a time; and, for two models, the
    components that cause the difference between their maps.
    """
    from proda.attribution import attribute_maps
    from proda.attribution.attribution_inputs import (
        covariates_grid_of_run,
        forcing_of_run,
        run_of,
        sites_of_run,
    )
    from proda.errors import MapError

    folder = maps[0] if maps[0].is_dir() else run_of(maps[0])
    entries = _entries(maps, folder, _named(network), _named(kept))
    if forcing is None and folder is None:
        raise MapError("Give the forcing on the grid of the maps (--forcing).")
    if folder is not None:
        forcing = forcing or forcing_of_run(folder)
        covariates = covariates or covariates_grid_of_run(folder)
    if output is None and maps[0].is_dir():
        output = RunFolder(maps[0]).attribution
    if output is None:
        raise MapError("Give the folder to write: --output FOLDER.")
    assert forcing is not None
    with progress("steps") as bar:
        task = bar.add_task("Attributing", total=None)
        result = attribute_maps(
            entries,
            output,
            forcing=forcing,
            covariates=covariates,
            sites=None if folder is None else sites_of_run(folder),
            sample=sample,
            input_variation=input_variation,
            responses=tuple(response or ()),
            progress=lambda done, ahead: bar.update(task, completed=done, total=ahead),
        )
    print_attribution(result)
    console.print(f"Written: {output}", soft_wrap=True)
    if plots is not None:
        _draw(result, plots)


def _entries(
    maps: list[Path], folder: Path | None, network: dict[str, Path], kept: dict[str, Path]
) -> list[AttributedMap]:
    """Return the requested maps, with their networks."""
    from dataclasses import replace

    from proda.attribution.attribution_inputs import AttributedMap, maps_of_run
    from proda.errors import MapError
    from proda.maps.totals import open_map

    of_run = {} if folder is None else {Path(m.maps).resolve(): m for m in maps_of_run(folder)}
    if len(maps) == 1 and maps[0].is_dir():
        entries = list(of_run.values())
    else:
        entries = []
        for path in maps:
            if path.is_dir():
                raise MapError(f"{path}: give one folder of a study, or files of maps.")
            with open_map(path) as opened:
                name = str(opened.attrs.get("model", path.stem))
            entries.append(of_run.get(path.resolve(), AttributedMap(name, path)))
    if odd := sorted((set(network) | set(kept)) - {m.name for m in entries}):
        raise MapError(
            f"No map of {', '.join(odd)} is given; the maps are of "
            f"{', '.join(m.name for m in entries)}."
        )
    return [
        replace(m, network=network.get(m.name, m.network), kept=kept.get(m.name, m.kept))
        for m in entries
    ]


def _named(pairs: list[str] | None) -> dict[str, Path]:
    from proda.errors import MapError

    given = {}
    for text in pairs or []:
        name, equals, path = text.partition("=")
        if not (equals and name and path):
            raise MapError(f"{text!r}: write it as NAME=PATH, such as clm5=run/clm5/network.")
        given[name] = Path(path)
    return given


def print_attribution(result: Attribution) -> None:
    """Print the attribution of each map, and of the differences between models."""
    table = result.tables["importance"]
    for (model, route), rows in table.groupby(["model", "route"], sort=False):
        _print_one(f"{str(model).upper()}, {route}", rows)
    differences = result.tables["differences"]
    pairs = (
        differences.groupby(["first", "second", "route"], sort=False) if len(differences) else ()
    )
    for (first, second, route), rows in pairs:
        print_table(
            f"{second} - {first}, {route}: parts of the difference",
            ["swapped", "component", "carbon (Pg)", "members", "pattern"],
            [
                [way, component, *_cells(part, {"stock": "+,.0f"}), *_cells(part, PATTERN)[:1]]
                for (way, component), part in rows.groupby(["way", "component"], sort=False)
            ],
            right=(2, 3, 4),
        )
    print_responses(result.tables["responses"])


def print_responses(table: pd.DataFrame) -> None:
    """Print why models respond differently to an experiment."""
    if not len(table):
        return
    pairs = ["first", "second", "route", "experiment"]
    for (first, second, route, experiment), rows in table.groupby(pairs, sort=False):
        swapped = rows[rows["way"] == "parameters"].iloc[0]
        print_table(
            f"{second} - {first}, {route}: parts of the difference of their changes, {experiment}",
            ["swapped", "component", "measure", "value", "unit"],
            [
                [row["way"], row["component"], row["measure"], f"{row['value']:+.3g}", row["unit"]]
                for _, row in rows.iterrows()
            ],
            right=(3,),
        )
        console.print(
            f"Change in 0-100 cm at the new steady state: {first} "
            f"{swapped['first_change']:+,.0f} Pg, {second} {swapped['second_change']:+,.0f} Pg. "
            f"Correlation of the maps of change: {swapped['r']:.2f}; with the shared parameters of "
            f"{first} in both {swapped['r_first']:.2f}, of {second} {swapped['r_second']:.2f}.",
            soft_wrap=True,
        )


FORMS = {"stock": "+,.0f", "moved": ",.0f", "variance": "+.3f", "log_r2": "+.3f"}
PATTERN = {"pattern": "+.2f"}


def _cells(rows: pd.DataFrame, forms: dict[str, str]) -> list[str]:
    """Return value and range of each measure of one component."""
    cells = []
    for measure, form in forms.items():
        row = rows[rows["measure"] == measure].iloc[0]
        low, high = (formatted(row[end], form) for end in ("q05", "q95"))
        cells += [formatted(row["value"], form), "" if low == "-" else f"{low} to {high}"]
    return cells


def _print_one(title: str, rows: pd.DataFrame) -> None:
    own = rows[rows["method"] == "shapley"]
    forms = {m: form for m, form in FORMS.items() if (own["measure"] == m).any()}
    print_table(
        f"{title}: Shapley values ({rows['share_common'].iloc[0]:.1%} of the cells)",
        ["component", *(column for m in forms for column in (m, "members"))],
        [[str(name), *_cells(part, forms)] for name, part in own.groupby("component", sort=False)],
        right=range(1, 1 + 2 * len(forms)),
    )
    published = rows[rows["method"] == "published"]
    words = {"stock": "carbon changed (Pg)", "nse": "loss of NSE"}
    there = [m for m in words if (published["measure"] == m).any()]
    if there:
        forms = {m: ",.0f" if m == "stock" else "+.3f" for m in there}
        print_table(
            f"{title}: published, one component replaced at a time",
            ["component", *(words[m] for m in there)],
            [
                [str(name), *_cells(part, forms)[::2]]
                for name, part in published.groupby("component", sort=False)
            ],
            right=range(1, 1 + len(there)),
        )


def _draw(result: Attribution, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.plots.attribution import figures
    from proda.plots.style import save_all

    for path in save_all(figures(result), folder):
        console.print(f"Drawn: {path}", soft_wrap=True)
