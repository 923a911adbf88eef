"""`proda forcing`: from CLM history files, from climate, at sites, summary, plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, print_table, progress
from proda.cli.numbers import number, whole_number
from proda.cli.options import option
from proda.drivers.forcing_settings import ClimateSettings, NearestSettings
from proda.layout import left_out_of

if TYPE_CHECKING:
    import xarray as xr

    from proda.drivers.forcing_summary import ForcingSummary
    from proda.drivers.nearest_cells import Nearest

forcing_app = typer.Typer(
    no_args_is_help=True, help="Create, sample and describe the forcing of soil columns."
)
app.add_typer(forcing_app, name="forcing")

_Out = Annotated[Path, typer.Argument(help="Zarr store to write; an existing one is replaced.")]


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    with progress(unit) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@forcing_app.command(
    "from-climate",
    epilog="Example: `proda forcing from-climate climate_halfdeg.nc forcing.zarr`",
)
def from_climate(
    climate: Annotated[Path, typer.Argument(help="Annual climate on lat, lon (netCDF or Zarr).")],
    out: _Out,
    w_floor: float = option(ClimateSettings, "w_floor"),
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="OURS=THEIRS, for a variable with another name in the file."),
    ] = None,
    rules: str = option(ClimateSettings, "rules"),
    drainage: Path | None = option(ClimateSettings, "drainage"),
) -> None:
    """Estimate forcing from annual climate; the file's attributes state how.

    Soil temperature is an annual wave damped with depth, the water scalar follows from saturation,
    texture and freezing, and litter inputs from NPP. `docs/drivers.md` states every rule.
    """
    from proda.drivers import climate as driver
    from proda.drivers.climate_input import join_drainage, open_climate
    from proda.drivers.forcing_rules import rules_named
    from proda.errors import ForcingError

    chosen = rules_named(rules)
    names = {}
    for pair in name or []:
        ours, equals, theirs = pair.partition("=")
        if not equals:
            raise ForcingError(f"--name {pair}: expected OURS=THEIRS.")
        names[ours] = theirs
    dataset = open_climate(climate, names)
    source = f"{climate.name}: {dataset.attrs.get('title', 'no title')}"
    if drainage is not None:
        dataset = join_drainage(dataset, drainage)
    result = driver.from_climate(dataset, w_floor, source, chosen)
    with _bar("Estimating forcing", "tasks") as step:
        summary = _write_judged(result, out, step)
    _print_summary(out, summary)


@forcing_app.command(
    "from-clm",
    epilog="Example: `proda forcing from-clm run.clm2.h0.19*.nc forcing.zarr --surface surfdata.nc "
    "--years 1901-1920`",
)
def from_clm(
    history: Annotated[
        list[Path], typer.Argument(help="Monthly history files, then the Zarr store to write.")
    ],
    surface: Annotated[
        Path | None, typer.Option(help="Surface data with nbedrock or zbedrock, and sand.")
    ] = None,
    years: Annotated[str, typer.Option(help="FIRST-LAST; by default all years in the files.")] = "",
    litter: Annotated[
        str,
        typer.Option(help="Litter inputs: auto, turnover, litterfall, npp, or a recipe (.toml)."),
    ] = "auto",
    npp_shares: Annotated[
        str, typer.Option(help="Shares of NPP for CWD,ML,CL,LL; with --litter npp.")
    ] = "",
    w_floor: Annotated[
        float, typer.Option(help="Minimum of the water scalar where it is derived from SOILPSI.")
    ] = 0.0,
) -> None:
    """Compute the monthly climatology of CLM/CESM history files (20 years in the study)."""
    from proda.drivers import clm
    from proda.errors import ForcingError

    *paths, out = history
    if not paths or out.suffix != ".zarr":
        raise ForcingError("Give the history files, and last the store to write, OUT.zarr.")
    period = None
    if years:
        first, _, last = years.partition("-")
        try:
            period = (whole_number(first), whole_number(last))
        except ValueError as error:
            raise ForcingError(
                f"--years {years}: expected FIRST-LAST, such as 1901-1920."
            ) from error
    shares = None
    if npp_shares:
        try:
            shares = [number(s) for s in npp_shares.split(",")]
        except ValueError as error:
            raise ForcingError(f"--npp-shares {npp_shares}: expected four numbers.") from error
    with _bar("Averaging", "files, each once per block") as step:  # the headers are read first
        result = clm.from_clm(paths, surface, period, litter, shares, w_floor, step)
        summary = _write_judged(result, out)
    _print_summary(out, summary)


@forcing_app.command(
    "at-sites",
    epilog="Example: `proda forcing at-sites forcing.zarr profiles.parquet sites.zarr`",
)
def at_sites(
    forcing: Annotated[Path, typer.Argument(help="Forcing on a grid (Zarr or netCDF).")],
    sites: Annotated[
        Path, typer.Argument(help="CSV or Parquet with site (or profile_id), latitude, longitude.")
    ],
    out: Annotated[Path, typer.Argument(help="Forcing of the sites to write (.zarr or .nc).")],
    limit_km: float = option(NearestSettings, "limit_km"),
) -> None:
    """Sample forcing at each site from the nearest usable cell, and record the distance.

    Sites without one are listed with their reason in OUT.left_out.csv.
    """
    from proda import cf, files
    from proda.drivers import nearest_cells
    from proda.drivers.forcing_summary import summarise
    from proda.drivers.site_tables import read_sites
    from proda.forcing import Forcing

    table = read_sites(sites)
    with console.status(f"Sampling {len(table):,} sites"):
        dataset, nearest = nearest_cells.forcing_at_sites(cf.open_grid(forcing), table, limit_km)
        Forcing.from_dataset(dataset)  # checked before an older file is replaced
        summary = summarise(dataset)
        files.write_dataset(dataset, out)
    left_out = left_out_of(out)
    nearest_cells.write_left_out(nearest, left_out)
    print_sites(nearest, len(table), left_out)
    _print_summary(out, summary)


@forcing_app.command(
    "add-properties",
    epilog="Example: `proda forcing add-properties sites.nc covariates.nc with_clay.nc --profiles "
    "profiles/layers.parquet`",
)
def add_properties(
    forcing: Annotated[Path, typer.Argument(help="Forcing on a grid or at sites.")],
    covariates: Annotated[
        Path, typer.Argument(help="Grid with clay_0cm, clay_30cm, clay_100cm and so on.")
    ],
    out: Annotated[Path, typer.Argument(help="Forcing to write (.zarr or .nc).")],
    profiles: Annotated[
        Path | None,
        typer.Option(
            help="Layers of measured profiles (Parquet); their measurements take precedence."
        ),
    ] = None,
    limit_km: float = option(NearestSettings, "limit_km"),
) -> None:
    """Add clay, silt, pH, bulk density and coarse fragments, which some models need."""
    from proda import cf, files
    from proda.drivers import properties
    from proda.drivers.forcing_summary import summarise

    layers = None
    if profiles is not None:
        layers = files.read_parquet(profiles)
    with console.status("Adding properties of the soil"):
        dataset = properties.add_properties(
            cf.open_grid(forcing), cf.open_grid(covariates), layers, limit_km
        )
        summary = summarise(dataset)
        files.write_dataset(dataset, out)
    _print_summary(out, summary)


@forcing_app.command("summary", epilog="Example: `proda forcing summary forcing.zarr`")
def summary(
    forcing: Annotated[Path, typer.Argument(help="Forcing on a grid or at sites.")],
) -> None:
    """Print the source of the forcing, its ranges, cells by reason, and litter totals."""
    from proda import cf
    from proda.drivers.forcing_summary import summarise

    _print_summary(forcing, summarise(cf.open_grid(forcing)))


@forcing_app.command(
    "plot",
    epilog="Examples: `proda forcing plot forcing.zarr out.png --lat 68.6 --lon -149.6`, "
    "`proda forcing plot sites.zarr out.png --site 42`",
)
def plot(
    forcing: Annotated[Path, typer.Argument(help="Forcing on a grid or at sites.")],
    out: Annotated[Path, typer.Argument(help="Figure to write (.png, .pdf or .svg).")],
    lat: Annotated[float | None, typer.Option(help="Latitude; the nearest usable cell.")] = None,
    lon: Annotated[float | None, typer.Option(help="Longitude.")] = None,
    site: Annotated[str | None, typer.Option(help="Name of a site.")] = None,
) -> None:
    """Draw the forcing of one place by depth and month."""
    from proda import cf
    from proda.drivers import nearest_cells
    from proda.plots import style
    from proda.plots.forcing import forcing_at_place

    dataset = cf.open_grid(forcing)
    column = nearest_cells.one_place(dataset, lat, lon, site)
    style.save(forcing_at_place(column), out)
    far = column.attrs["distance_km"]
    console.print(f"{column.attrs['place']}, {far:.1f} km from the requested place. Written: {out}")


def print_sites(nearest: Nearest, n: int, left_out: Path) -> None:
    """Print how many sites were sampled, and left out by reason; the counts add up."""
    rows = [(reason, f"{count:,}") for reason, count in nearest.counts().items()]
    print_table("Sites", ["", "sites"], [*rows, ("all", f"{n:,}")], right=[1])
    if len(nearest.left_out):
        console.print(f"Sites left out, with the reason: {left_out}")


def _write_judged(
    dataset: xr.Dataset, out: Path, step: Callable[[int, int], None] | None = None
) -> ForcingSummary:
    """Write a store, summarise it, and only then replace an older one."""
    from proda import cf, files
    from proda.drivers.forcing_summary import summarise

    with files.whole_folder(out) as temporary:
        files.write_zarr(dataset, temporary, step)
        return summarise(cf.open_grid(temporary))


def _print_summary(path: Path, summary: ForcingSummary) -> None:
    shown = (
        "title",
        "estimated",
        "source",
        "comment",
        "rules",
        "climatology_years",
        "litter_input_from",
        "w_scalar_from",
        "w_scalar_floor",
        "nbedrock_from",
        "sand_from",
        "missing_by_variable",
        "sampling",
        "reading_notes",
    )
    rows = [(k, summary.attrs[k]) for k in shown if summary.attrs.get(k, "{}") != "{}"]
    print_table(f"{path}: {summary.size}", ["attribute", "value"], rows)
    print_table(
        "Values",
        ["variable", "unit", "minimum", "mean", "maximum", "missing"],
        [
            (
                name,
                r["unit"],
                f"{r['min']:.4g}",
                f"{r['mean']:.4g}",
                f"{r['max']:.4g}",
                f"{r['missing']:,}",
            )
            for name, r in summary.ranges.iterrows()
        ],
        right=[2, 3, 4, 5],
    )
    if summary.status:
        total = sum(summary.status.values())
        cells = [(name, f"{count:,}") for name, count in summary.status.items()]
        print_table("Cells", ["reason", "cells"], [*cells, ("all", f"{total:,}")], right=[1])
    if summary.litter_total:
        pools = [(pool, f"{value:.3f}") for pool, value in summary.litter_total.items()]
        total_input = sum(summary.litter_total.values())
        print_table(
            "Carbon input, area-weighted",
            ["pool", "Pg yr-1"],
            [*pools, ("all", f"{total_input:.3f}")],
            right=[1],
        )
    if summary.distance_km:
        print_table(
            "Distance from site to cell centre",
            ["", "km"],
            [(k, f"{v:.1f}") for k, v in summary.distance_km.items()],
            right=[1],
        )
