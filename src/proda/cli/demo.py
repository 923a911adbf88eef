"""`proda demo`: both models on made-up columns, printed and plotted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proda.cli.app import app


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path("proda-demo"),
) -> None:
    """Run both models on six made-up columns, print a table and draw a figure."""
    import proda
    from proda.cli.column import MEAN_ROOT_BETA
    from proda.cli.console import console, print_table
    from proda.files import write_netcdf
    from proda.models.registry import MODELS
    from proda.plots.columns import columns, stock
    from proda.plots.style import save

    folder.mkdir(parents=True, exist_ok=True)
    forcing = proda.Forcing.from_dataset(proda.example_columns())
    results, parts = {}, {}
    for name in MODELS:
        model = proda.load_model(name)
        values = proda.default_parameters(
            model, forcing, MEAN_ROOT_BETA if name == "clm5" else None
        )
        results[name] = proda.steady_state(model, values, forcing, "physical")
        parts[name] = proda.components(model, values, forcing, "physical")
        write_netcdf(results[name].merge(parts[name]), folder / f"{name}.nc")
    rows = [
        (
            site, name, f"{stock(results[name])[i]:.1f}",
            f"{float(parts[name]['residence_time'][i]):.0f}",
            *(f"{float(parts[name][c][i]):.3f}" for c in ("CTE", "K", "XI", "V", "B")),
            f"{float(parts[name]['I'][i]):.0f}",
        )
        for i, site in enumerate(forcing.site)
        for name in MODELS
    ]  # fmt: skip
    print_table(
        "Two models with their default parameters on made-up columns",
        ["site", "model", "soil C to 1 m\nkg m-2", "residence\nyr", "CTE\n1", "K\nyr-1", "XI\n1",
         "V\nyr-1", "B\n1", "I\ng m-2 yr-1"],
        rows,
        right=range(2, 10),
    )  # fmt: skip
    save(columns(results), folder / "columns.png")
    console.print(f"Written to {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
