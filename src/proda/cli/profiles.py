"""`proda profiles`: read and check measured soil profiles, and summarise the result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proda.cli.app import app
from proda.cli.console import console, errors, print_table, progress
from proda.cli.options import LandBehind, Plots, option, optional
from proda.observations.build_settings import BuildSettings

if TYPE_CHECKING:
    import pandas as pd

    from proda.observations.build_steps import Report
    from proda.observations.build_summary import Summary
    from proda.observations.profile_settings import ProfileSettings

profiles = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read and check measured soil profiles.",
)
app.add_typer(profiles, name="profiles")

_FOLDER_READERS = ("tidy", "wosis2019", "wosis2023", "israd")
"""Readers that need only a folder."""

_SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", "-s", help="TOML file with sources and rules (docs/profiles.md)."),
]
_SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="READER:PATH, a source with its default settings; repeat for several, the most "
        f"reliable first. Readers: {', '.join(_FOLDER_READERS)}. Instead of --settings.",
    ),
]


@profiles.command(
    epilog="Examples:\n\n"
    "`proda profiles build out --source wosis2019:WoSIS_2019_September`\n\n"
    "`proda profiles build out --settings profiles.toml --land-mask land.nc`"
)
def build(
    out: Annotated[Path, typer.Argument(help="Folder for the tables; created if absent.")],
    settings: _SettingsOption = None,
    source: _SourceOption = None,
    land_mask: Path | None = option(BuildSettings, "land_mask"),
    pedotransfer: str | None = optional("pedotransfer", BuildSettings),
) -> None:
    """Read all sources, apply the rules, compute stocks, write the tables.

    Writes profiles.parquet, layers.parquet, rejected.parquet (every profile and layer that is left
    out, with its reason) and summary.json, all of them or none.
    """
    from proda.observations.build import build as run

    chosen = _settings(settings, source, land_mask, pedotransfer)
    with _report() as report:
        summary = run(chosen, out, report)
    _print(summary)
    console.print(
        f"Written: {out}/profiles.parquet, layers.parquet, rejected.parquet, summary.json",
        soft_wrap=True,
    )


@profiles.command(
    epilog="Examples:\n\n"
    "`proda profiles check --source israd:israd/`\n\n"
    "`proda profiles check --settings profiles.toml`"
)
def check(
    settings: _SettingsOption = None,
    source: _SourceOption = None,
    land_mask: Path | None = option(BuildSettings, "land_mask"),
    pedotransfer: str | None = optional("pedotransfer", BuildSettings),
) -> None:
    """Run the same checks as `build` without writing, and count what would be used.

    The first error in a file stops the command, with file, line, column and exit status 2.
    """
    from proda.observations.build import build as run

    chosen = _settings(settings, source, land_mask, pedotransfer)
    with _report() as report:
        summary = run(chosen, None, report)
    _print(summary)


@profiles.command(
    epilog="Examples:\n\n"
    "`proda profiles summary out`\n\n"
    "`proda profiles summary out --figures figures --zones covariates_halfdeg.nc`"
)
def summary(
    folder: Annotated[Path, typer.Argument(help="Folder that `proda profiles build` wrote.")],
    figures: Plots = None,
    zones: Annotated[
        Path | None,
        typer.Option(
            help="File with koppen_class, for the climate zones of the depth figure; "
            "by default belts of latitude."
        ),
    ] = None,
    land_mask: LandBehind = None,
) -> None:
    """Print the counts of a build, check them against its tables, and draw the figures."""
    from proda.observations.build_summary import read_summary, verify

    summary = read_summary(folder)
    verify(summary, folder)
    _print(summary)
    if figures is not None:
        for path in _draw(folder, figures, zones, land_mask):
            console.print(f"Drawn: {path}", soft_wrap=True)


def _settings(
    path: Path | None, sources: list[str] | None, land_mask: Path | None, pedotransfer: str | None
) -> ProfileSettings:
    from proda.errors import ObservationError
    from proda.observations.profile_settings import from_mapping, read_settings

    changes: dict[str, Any] = {}
    if land_mask is not None:
        changes["land_mask"] = land_mask
    if pedotransfer is not None:
        changes["pedotransfer"] = pedotransfer
    if (path is None) == (not sources):
        raise ObservationError("Give either --settings FILE or --source READER:PATH.")
    if path is not None:
        read = read_settings(path).model_dump()
        return from_mapping({**read, **changes}, str(path))
    given = []
    for text in sources or ():
        reader, _, folder = text.partition(":")
        if not folder:
            raise ObservationError(f"--source {text}: give READER:PATH, such as tidy:profiles.")
        if reader not in _FOLDER_READERS:
            raise ObservationError(
                f"--source {text}: expected one of the readers {', '.join(_FOLDER_READERS)}; "
                "ncscd and "
                "csv need a column mapping in a settings file (--settings, docs/profiles.md)."
            )
        given.append({"reader": reader, "name": reader, "folder": folder})
    return from_mapping({"source": given, **changes}, "--source")


@contextlib.contextmanager
def _report() -> Iterator[Report]:
    """Show one bar per stage on stderr."""
    with progress("") as bar:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield report


def _print(built: Summary) -> None:
    for level in ("profile", "layer"):
        _print_counts(
            f"{level.capitalize()}s by reason (in the order of the rules) and source",
            built.table(level),
        )
    origins = ("measured", "pedotransfer", "stock given")
    print_table(
        "Density of the kept layers",
        ["", *origins],
        [
            [group, *(f"{n.get(origin, 0):,}" for origin in origins)]
            for group, n in built.density_origin.items()
        ],
        right=(1, 2, 3),
    )
    if built.fits:
        _print_fits(built)
    for note in built.notes:
        errors.print(f"Note: {note}", highlight=False, soft_wrap=True)


def _print_counts(title: str, table: pd.DataFrame) -> None:
    """Print counts; on a narrow terminal as several tables, so that nothing is truncated."""
    first = max(map(len, table.index)) + 4
    widths = [max(len(str(name)), *(len(f"{n:,}") for n in table[name])) + 2 for name in table]
    start = 0
    while start < len(widths):
        end, width = start, first
        while end < len(widths) and (end == start or width + widths[end] <= console.width):
            width += widths[end]
            end += 1
        part = table.iloc[:, start:end]
        print_table(
            title if start == 0 else "",
            ["", *part.columns],
            [
                [name, *(f"{n:,}" for n in row)]
                for name, row in zip(part.index, part.to_numpy().tolist(), strict=True)
            ],
            right=range(1, end - start + 1),
        )
        start = end


def _print_fits(built: Summary) -> None:
    constants, quality = [], []
    for fit in built.fits:
        name = fit.name + (" (used)" if fit.name == built.pedotransfer else "")
        constants.append([name, f"{fit.alpha:.4f}", f"{fit.beta:.4f}", f"{fit.gamma:.5f}"])
        if fit.errors:
            alpha, beta, gamma = fit.errors
            errors_of = [f"{alpha:.4f}", f"{beta:.4f}", f"{gamma:.5f}"]
            constants.append(["  standard error", *errors_of])
        organic = "" if fit.organic_ratio is None else f"{fit.organic_ratio:.2f}"
        quality.append(
            [
                name,
                f"{fit.r2:.3f}",
                f"{fit.rmse:.3f}",
                f"{fit.bias:+.3f}",
                f"{fit.log_rms:.2f}",
                organic,
            ]
        )
    n, organic_layers = built.fits[0].n, built.fits[0].n_organic
    title = "Bulk density (g cm-3) = alpha + beta exp(-gamma OM), OM in g kg-1"
    print_table(title, ["", "alpha", "beta", "gamma"], constants, right=range(1, 4))
    columns = ["", "R2", "RMSE", "bias", "ln rms", "organic"]
    print_table("", columns, quality, right=range(1, 6))
    console.print(
        f"Over {n:,} layers with both. ln rms: of estimated over measured. organic: "
        f"median of that ratio in {organic_layers:,} layers above 120 g kg-1 carbon.",
        highlight=False,
        soft_wrap=True,
    )


def _draw(
    folder: Path, figures: Path, zones: Path | None, land_mask: Path | None
) -> Iterator[Path]:
    import matplotlib as mpl
    import pandas as pd

    mpl.use("Agg")
    from proda.latitude import belts
    from proda.observations import zones as climate
    from proda.observations.build_summary import read_build
    from proda.observations.land import open_land_mask
    from proda.plots import profiles as draw
    from proda.plots.style import save_all

    names = [
        "profile_id",
        "upper_depth",
        "lower_depth",
        "soc",
        "soc_stock",
        "fine_earth_density",
        "density_origin",
    ]
    built, sites, layers = read_build(folder, names)
    sites["group"] = sites["collection"].where(sites["collection"].notna(), sites["source"])
    land = open_land_mask(land_mask, tolerance=0.0).grid() if land_mask is not None else None
    lat, lon = sites["lat"].to_numpy(), sites["lon"].to_numpy()
    zone = belts(lat) if zones is None else climate.koeppen(lat, lon, zones)
    by_profile = pd.Series(zone, index=sites["profile_id"])
    by_profile = by_profile[by_profile != climate.UNKNOWN]
    by = "latitude" if zones is None else "Köppen climate"
    drawn = {
        "profiles_map": lambda: draw.site_map(sites, land),
        "carbon_with_depth": lambda: draw.carbon_with_depth(layers, by_profile, by),
    }
    both = layers[(layers["density_origin"] == "measured") & layers["soc"].notna()]
    if built.fits and len(both):
        drawn["pedotransfer_fit"] = lambda: draw.pedotransfer_fit(
            both["soc"].to_numpy(), both["fine_earth_density"].to_numpy(), built.fits
        )
    return save_all(drawn, figures)
