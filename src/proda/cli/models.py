"""`proda models`: what models there are and what parameters they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app

if TYPE_CHECKING:
    from proda.models.describe import Flow
    from proda.models.model import SoilModel


@app.command(epilog="Examples: `proda models` · `proda models clm5` · `proda models compas --csv`")
def models(
    name: Annotated[str | None, typer.Argument(help="Model whose parameters to show.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """List the models, or show the pools, flows and parameters of one model."""
    from proda.cli.console import console, print_table
    from proda.models.describe import flows
    from proda.models.registry import MODELS, load_model

    if name is None:
        print_table(
            "Models",
            ["name", "model", "pools", "parameters", "variants"],
            [
                (m.name, m.title, len(m.pools), len(m.rows), ", ".join(m.variants))
                for m in MODELS.values()
            ],
            right=(2, 3),
        )
        return
    table = load_model(name).parameters
    shown = ["name", "unit", "lower", "upper", "default", "component", "meaning"]
    if csv:
        typer.echo(table.to_csv(index=False), nl=False)
        return
    model = load_model(name)
    found = flows(model)
    print_table(
        model.title,
        ["pool", "kind", "mixes", "receives from", "gives to"],
        [_pool_row(model, pool, found) for pool in model.pools],
    )
    console.print(f"Source: {model.source}. Equations: docs/theory.md.")
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
