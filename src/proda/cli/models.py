"""`proda models`: what models there are and what parameters they have."""

from __future__ import annotations

from typing import Annotated

import typer

from proda.cli.app import app


@app.command(epilog="Examples: `proda models` · `proda models clm5` · `proda models compas --csv`")
def models(
    name: Annotated[str | None, typer.Argument(help="Model whose parameters to show.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """List the models, or the parameters of one."""
    from proda.cli.console import console, print_table
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
    print_table(
        MODELS[name].title,
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
