"""`proda models`: the available models and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.errors import ModelError

if TYPE_CHECKING:
    from proda.models.describe import Flow
    from proda.models.model import SoilModel


_Name = Annotated[str | None, typer.Argument(help="Model to show: a name, or FILE.py:Class.")]
_Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Check the requirements of every model: conservation, signs, gradient, "
        "transient run, components, calibration. Exit status 1 if a check fails.",
    ),
]
_Diagram = Annotated[
    Path | None,
    typer.Option(help="Draw pools and flows of the model to this file (.png, .pdf, .svg)."),
]
_Quick = Annotated[bool, typer.Option("--quick", help="With --check: skip the calibration.")]


@app.command(
    epilog="Examples: `proda models` · `proda models clm5` · `proda models compas --csv` · "
    "`proda models my_model.py:MyModel --check`"
)
def models(
    name: _Name = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    check: _Check = False,
    diagram: _Diagram = None,
    quick: _Quick = False,
) -> None:
    """List the models, or the pools, flows and parameters of one; check or draw one."""
    from proda.models.registry import load_model

    if diagram is not None:
        if name is None or check or quick or csv:
            raise ModelError(
                "--diagram needs the name of a model, and cannot be combined with other options."
            )
        _draw(load_model(name), diagram)
        return
    if check or quick:
        if name is None or not check or csv:
            raise ModelError(
                "--check needs the name of a model, and can be combined with --quick only."
            )
        _check(load_model(name), calibration=not quick)
        return
    if name is None:
        _print_list()
        return
    model = load_model(name)
    if csv:
        typer.echo(model.parameters.to_csv(index=False), nl=False)
        return
    _print_model(model)


def _print_list() -> None:
    """Print the models of the package and those that are installed."""
    from proda.cli.console import errors, print_table
    from proda.models.registry import MODELS, installed_models

    added, faults = installed_models()
    print_table(
        "Models",
        ["name", "model", "pools", "parameters", "variants"],
        [
            (m.name, m.title, len(m.pools), len(m.rows), ", ".join(m.variants))
            for m in [*MODELS.values(), *added.values()]
        ],
        right=(2, 3),
    )
    for fault in faults:
        errors.print(fault, soft_wrap=True)


def _print_model(model: SoilModel) -> None:
    """Print the pools, flows and parameters of a model."""
    from proda.cli.console import console, print_table
    from proda.models.describe import flows
    from proda.models.outside import provenance

    table = model.parameters
    shown = ["name", "unit", "lower", "upper", "default", "component", "meaning"]
    links = flows(model)
    print_table(
        model.title,
        ["pool", "kind", "mixes", "receives from", "gives to"],
        [_pool_row(model, pool, links) for pool in model.pools],
    )
    equations = "" if provenance(model) else " Equations: docs/theory.md."
    console.print(f"Source: {model.source}.{equations}")
    for what, value in provenance(model).items():
        console.print(f"{what}: {value}", soft_wrap=True)
    if model.needs:
        console.print(f"Needs of the soil: {', '.join(model.needs)}.")
    print_table(
        "Parameters",
        shown,
        [
            [f"{v:g}" if isinstance(v, float) else v for v in row]
            for row in table[shown].itertuples(index=False)
        ],
        right=(2, 3, 4),
    )
    console.print(
        "Components: A transfer, CUE carbon use efficiency, K decomposition, xi environment, "
        "V transport, B input allocation. nan: the default depends on the site."
    )


def _draw(model: SoilModel, path: Path) -> None:
    """Draw a model's pools and flows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.cli.console import console
    from proda.plots.model_diagram import draw_model
    from proda.plots.style import save

    figure = draw_model(model)
    save(figure, path)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


def _check(model: SoilModel, calibration: bool) -> None:
    """Print the checks of a model; exit with status 1 if one fails."""
    from proda.cli.console import console, print_table
    from proda.learning.contract import run_checks

    checks = []
    with console.status("") as status:
        for check in run_checks(model, calibration):
            checks.append(check)
            status.update(f"{len(checks)} checks done, latest: {check.name}")
    print_table(
        f"Checks of {model.name}",
        ["check", "holds", "found", "needed"],
        [(c.name, "yes" if c.holds else "NO", c.result, c.needed) for c in checks],
    )
    if failing := [c.name for c in checks if not c.holds]:
        console.print(f"{len(failing)} of {len(checks)} checks fail.")
        raise typer.Exit(1)
    console.print(f"All {len(checks)} checks pass.")


def _pool_row(model: SoilModel, pool: str, flows: Sequence[Flow]) -> tuple[str, ...]:
    """Return name, kind, mixing, donors and receivers of a pool."""
    kind = "soil" if pool in model.soil_pools else "litter"
    return (
        pool,
        f"{kind}, microbes" if pool in model.microbial_pools else kind,
        "yes" if pool in model.transported else "no",
        ", ".join(flow.donor for flow in flows if flow.receiver == pool),
        ", ".join(flow.receiver for flow in flows if flow.donor == pool),
    )
