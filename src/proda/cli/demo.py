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
        b = MEAN_ROOT_BETA if name == "clm5" else None
        values = proda.default_parameters(model, forcing, b)
        results[name] = proda.steady_state(model, values, forcing, "physical")
        parts[name] = proda.components(model, values, forcing, "physical")
        write_netcdf(
            results[name].assign(parts[name].drop_vars("reason").data_vars),
            folder / f"{name}.nc",
        )
    rows = [
        (
            site, name, f"{stock(results[name])[i]:.1f}",
            f"{float(parts[name]['residence_time'][i]):.0f}",
            *(f"{float(parts[name][c][i]):.2f}" for c in ("CTE", "K", "XI", "V", "B")),
        )
        for i, site in enumerate(forcing.site)
        for name in MODELS
    ]  # fmt: skip
    print_table(
        "Default parameters, made-up columns: carbon to 1 m, residence time, components",
        ["site", "model", "kg m-2", "yr", "CTE", "K", "XI", "V", "B"],
        rows,
        right=range(2, 9),
    )
    save(columns(results), folder / "columns.png")
    console.print(f"Written to {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
