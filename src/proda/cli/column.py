"""`proda column`: simulate the columns of a forcing file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.numbers import number

if TYPE_CHECKING:
    import xarray as xr

    from proda.forcing import Forcing
    from proda.models.model import SoilModel
    from proda.parameters import Bounds

MAX_ROWS = 20

_Forcing = Annotated[Path | None, typer.Argument(help="Forcing at sites (netCDF or Zarr).")]
_Model = Annotated[str, typer.Option(help="Model by name (see `proda models`), or FILE.py:Class.")]
_Variant = Annotated[str, typer.Option(help="Variant of the model: default, or published.")]
_Parameters = Annotated[
    Path | None,
    typer.Option(help="netCDF file with one variable per parameter (prefix param_ allowed)."),
]
_Set = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE for all sites; repeatable.")
]
_Ages = Annotated[
    bool,
    typer.Option(
        "--ages", help="Add the mean age of carbon (column, pools, layers) and its transit time."
    ),
]
_Output = Annotated[Path | None, typer.Option(help="Write the result to this file (netCDF).")]
_Plot = Annotated[
    Path | None, typer.Option(help="Draw the result to this file (.png, .pdf, .svg).")
]


@app.command(
    epilog="Examples: `proda column forcing.nc --model compas --output steady.nc --plot steady.png`"
    " · `proda column --example --model clm5 --set q10=2 --set b=0.95`"
)
def column(
    forcing: _Forcing = None,
    example: Annotated[
        bool, typer.Option("--example", help="Use six built-in example columns.")
    ] = False,
    model: _Model = "clm5",
    variant: _Variant = "default",
    parameters: _Parameters = None,
    set_: _Set = None,
    components: Annotated[
        bool, typer.Option("--components", help="Add the system-level components.")
    ] = False,
    ages: _Ages = False,
    output: _Output = None,
    plot: _Plot = None,
) -> None:
    """Simulate the steady state of every column of a forcing file.

    Parameters have the model's default values unless a file or `--set` gives others.
    """
    import proda
    from proda.cli.console import console, progress
    from proda.errors import ForcingError
    from proda.files import open_dataset, write_netcdf

    if (forcing is None) == (not example):
        raise ForcingError("Give one forcing file, or pass --example for the built-in columns.")
    loaded = proda.load_model(model, variant)
    sites = proda.Forcing.from_dataset(
        proda.example_columns() if forcing is None else open_dataset(forcing)
    )
    values, bounds = _parameters(loaded, sites, parameters, _settings(loaded, set_ or []))
    with progress("sites") as bar:
        task = bar.add_task(f"{model} ({variant})", total=len(sites))
        result = proda.steady_state(
            loaded, values, sites, bounds, lambda done, _: bar.update(task, completed=done)
        )
    if components:
        extra = proda.components(loaded, values, sites, bounds)
        result = result.assign(extra.drop_vars("reason").data_vars)
    if ages:
        from proda.simulate import ages as ages_of

        extra_ages = ages_of(loaded, values, sites, bounds)
        result = result.assign(extra_ages.drop_vars("reason").data_vars)
    _summary(result)
    if ages:
        _print_ages(result)
    if output is not None:
        write_netcdf(result, output)
        console.print(f"Written: {output}")
    if plot is not None:
        from proda.plots.columns import columns
        from proda.plots.style import save

        save(columns({loaded.name: result}), plot)
        console.print(f"Drawn: {plot}")


def _print_ages(result: xr.Dataset) -> None:
    from proda.cli.console import formatted, print_table

    names = ("mean_age_0_30", "mean_age_0_100", "mean_age_soil", "mean_age", "transit_time")
    solved = (result["reason"] == 0).to_numpy()
    rows = [
        (site, *(formatted(float(result[n][i]) if solved[i] else math.nan, ".4g") for n in names))
        for i, site in enumerate(result["site"].to_numpy()[:MAX_ROWS])
    ]
    titles = [
        "site",
        "soil, 0-30 cm\nyr",
        "soil, 0-1 m\nyr",
        "soil\nyr",
        "column\nyr",
        "transit time\nyr",
    ]
    print_table("Mean age of carbon at steady state", titles, rows, right=(1, 2, 3, 4, 5))


def _settings(model: SoilModel, pairs: list[str]) -> dict[str, float]:
    from proda.errors import ParameterError

    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            settings[name] = number(text)
        except ValueError as error:
            raise ParameterError(f"--set {pair}: expected NAME=NUMBER.") from error
        if not equals or name not in model.parameters.index:
            known = ", ".join(model.parameters.index)
            raise ParameterError(f"--set {pair}: {model.name} has the parameters {known}.")
    return settings


def _parameters(
    model: SoilModel, forcing: Forcing, path: Path | None, settings: dict[str, float]
) -> tuple[xr.Dataset, Bounds]:
    """Return parameter values and their bounds."""
    from proda.cli.console import console
    from proda.default_b import b_where_needed
    from proda.files import load, open_netcdf
    from proda.simulate import default_parameters

    if path is not None:
        with open_netcdf(path) as opened:
            given = load(opened, path)
        given = given.rename(
            {n: str(n).removeprefix("param_") for n in given if str(n).startswith("param_")}
        )
        names = [row.name for row in model.rows if row.name in given]
        return given[names].assign(settings), "prior"
    b = settings.get("b")
    if b is None and (b := b_where_needed(model.rows)) is not None:
        console.print(
            f"b = {b}, the mean over all vegetation (Jackson et al. 1996); "
            "change it with --set b=VALUE."
        )
    values = default_parameters(model, forcing, b)
    return values.assign(settings), "physical"


def _summary(result: xr.Dataset) -> None:
    from proda.cli.console import console, formatted, print_table
    from proda.models.registry import load_recorded
    from proda.plots.columns import stock

    to_1m, whole = stock(result), stock(result, 0.0, 100.0)
    reasons, respired = result["reason"].to_numpy(), result["respiration"].to_numpy()
    words = {
        code: name.replace("_", " ")
        for code, name in load_recorded(result.attrs, "this result").reasons().items()
    }
    rows = []
    for i, site in enumerate(result["site"].to_numpy()[:MAX_ROWS]):
        reason = words[int(reasons[i])]
        solved = reasons[i] == 0
        rows.append(
            (
                site,
                formatted(to_1m[i] if solved else math.nan, ".2f"),
                formatted(whole[i] if solved else math.nan, ".2f"),
                f"{float(result['carbon_input'][i]):.1f}",
                formatted(respired[i] if solved else math.nan, ".1f"),
                reason,
            )
        )
    print_table(
        f"Soil carbon of {result.attrs['model']} ({result.attrs['variant']}) at steady state",
        [
            "site",
            "0-1 m\nkg m-2",
            "column\nkg m-2",
            "input\ng m-2 yr-1",
            "respired\ng m-2 yr-1",
            "state",
        ],
        rows,
        right=(1, 2, 3, 4),
    )
    if len(reasons) > MAX_ROWS:
        console.print(f"... and {len(reasons) - MAX_ROWS} more sites.")
    counts = [f"{int((reasons == code).sum())} {word}" for code, word in words.items()]
    console.print(f"{len(reasons)} sites: " + ", ".join(c for c in counts if not c.startswith("0")))
