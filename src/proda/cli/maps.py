"""`proda map`: a model on every land cell; `proda totals`: several maps side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from proda.cli.app import app
from proda.cli.options import (
    Cluster,
    CovariatesOption,
    ForcingGrid,
    MeanOf,
    NetworkOption,
    Plots,
    Workers,
    option,
)
from proda.maps.map_settings import MapSettings

if TYPE_CHECKING:
    import xarray as xr

    from proda.maps.network_parameters import CellCovariates
    from proda.maps.run_map import MapResult
    from proda.simulate import Progress

_Reference = Annotated[
    Path | None, typer.Option(help="File with other maps of soil carbon on the same grid.")
]
_ReferenceVariable = Annotated[
    list[str] | None,
    typer.Option(
        help="Variable of the reference: NAME, or STOCK=NAME; "
        "repeatable. By default all variables whose name contains the depth."
    ),
]


_Model = Annotated[
    str | None,
    typer.Option(
        help="Model by name, or FILE.py:Class; by default that of the network or of the kept sites."
    ),
]
_Variant = Annotated[str | None, typer.Option(help="Variant of the model: default, or published.")]
_Draws = Annotated[
    bool,
    typer.Option(
        "--draws/--members",
        help="Use calibrated draws, whose spread covers the error, or the networks as trained.",
    ),
]
_Residual = Annotated[
    bool,
    typer.Option(
        "--residual",
        help="Also map carbon with the boosted residual added (`proda train --residual`), "
        "which carries no mechanism.",
    ),
]
_Missing = Annotated[
    str,
    typer.Option(help="Cells with a missing covariate: leave_out, or median (fill and count)."),
]
_Default = Annotated[
    bool, typer.Option("--default", help="Use the model's default parameters everywhere.")
]
_PlantTypes = Annotated[
    Path | None, typer.Option(help="With --default: grid of plant functional types.")
]
_PlantTypeVariable = Annotated[str | None, typer.Option(help="The variable of that grid.")]
_Constant = Annotated[
    Path | None,
    typer.Option(help="Use the calibrated constant of a network trained with --model."),
]
_Bounds = Annotated[str, typer.Option(help="Limits of parameters: physical, or prior.")]


@app.command(
    "map",
    epilog="Examples:\n\n"
    "`proda map forcing.zarr clm5.nc --network network --covariates covariates_grid.nc`\n\n"
    "`proda map forcing.zarr default.nc --model clm5 --default`\n\n"
    "`proda map forcing.zarr mean.nc --mean-of kept.nc`",
)
def map_(
    forcing: ForcingGrid,
    out: Annotated[Path, typer.Argument(help="Map to write (.nc).")],
    model: _Model = None,
    variant: _Variant = None,
    network: NetworkOption = None,
    covariates: CovariatesOption = None,
    draws: _Draws = True,
    residual: _Residual = False,
    missing: _Missing = "leave_out",
    default: _Default = False,
    b: float | None = option(MapSettings, "b", "--b"),
    plant_types: _PlantTypes = None,
    plant_type_variable: _PlantTypeVariable = None,
    b_table: Annotated[Path | None, typer.Option(help="CSV with the columns type, b.")] = None,
    mean_of: MeanOf = None,
    constant: _Constant = None,
    bounds: _Bounds = "physical",
    chunk: int = option(MapSettings, "chunk"),
    ages: bool = option(MapSettings, "ages", "--ages"),
    workers: Workers = None,
    cluster: Cluster = None,
    plots: Plots = None,
    reference: _Reference = None,
    reference_variable: _ReferenceVariable = None,
) -> None:
    """Run a model on every land cell and write one CF netCDF file.

    Parameters come from a network (--network), or are the model's defaults (--default), the mean of
    the accepted sites (--mean-of), or the constant that was calibrated on all profiles
    (--constant). Repeat the command to resume an interrupted run.
    """
    from proda.blocks.executor import executor_of
    from proda.errors import MapError

    sources = _Sources(network, default, mean_of, constant)
    of_network: dict[str, Any] = {
        "covariates": covariates,
        "missing": missing,
        "draws": draws,
        "residual": residual,
    }
    of_default: dict[str, Any] = {
        "b": b,
        "plant_types": plant_types,
        "plant_type_variable": plant_type_variable,
        "b_table": b_table,
    }
    _check_options(sources, of_network, of_default, bounds)
    others = _references(reference, reference_variable)
    common: dict[str, Any] = {"bounds": bounds, "chunk": chunk, "ages": ages}
    if workers is not None and cluster is not None:
        raise MapError("Give --workers or --cluster, not both.")
    with executor_of(workers or 1, cluster) as executor, progress_of_cells("Mapping") as step:
        common |= {"progress": step, "executor": executor}
        result, known = _map(forcing, out, sources, model, variant, of_network, of_default, common)
    _print_map(out, result, known, others, plots)


@app.command(
    epilog="Example: `proda totals clm5.nc compas.nc --reference reference.nc --plots figures`",
)
def totals(
    maps: Annotated[list[Path], typer.Argument(help="Maps of `proda map`, on one grid.")],
    reference: _Reference = None,
    reference_variable: _ReferenceVariable = None,
    plots: Plots = None,
    output: Annotated[Path | None, typer.Option(help="Write the totals as CSV.")] = None,
) -> None:
    """Compare maps: totals by zone beside reference maps, correlation and bias, latitudes."""
    from proda.cli.console import console
    from proda.cli.map_tables import print_comparison, print_totals
    from proda.files import whole_file
    from proda.maps.reference_maps import against_references, beside, between
    from proda.maps.totals import open_map

    names = _labels(maps)
    datasets = {name: open_map(path) for name, path in zip(names, maps, strict=True)}
    others = _references(reference, reference_variable)
    table = beside(datasets, others)
    print_totals(table)
    if others:
        print_comparison(against_references(datasets, others))
    if len(datasets) > 1:
        print_comparison(between(datasets), "each other, 0-100 cm")
    if output is not None:
        with whole_file(output) as temporary:
            table.to_csv(temporary)
        console.print(f"Written: {output}", soft_wrap=True)
    if plots is not None:
        from proda.plots.map_set import draw_latitudes

        for path in draw_latitudes(datasets, plots, others):
            console.print(f"Drawn: {path}", soft_wrap=True)


class _Sources(NamedTuple):
    """Possible sources of the parameters, of which exactly one is given."""

    network: Path | None
    default: bool
    mean_of: Path | None
    constant: Path | None


def _check_options(
    sources: _Sources, of_network: dict[str, Any], of_default: dict[str, Any], bounds: str
) -> None:
    """Refuse several sources of parameters, options of another source, and unknown choices."""
    from proda.errors import MapError

    if sum(source not in (None, False) for source in sources) != 1:
        raise MapError(
            "Give one of --network NETWORK, --default, --mean-of KEPT.nc and --constant NETWORK."
        )
    _only(
        sources.network is not None,
        "--network",
        covariates=of_network["covariates"],
        missing=of_network["missing"] != "leave_out",
        members=not of_network["draws"],
        residual=of_network["residual"],
    )
    _only(sources.default, "--default", **of_default)
    _choice("bounds", bounds, ("physical", "prior"))
    _choice("missing", of_network["missing"], ("leave_out", "median"))


def _map(
    forcing: Path,
    out: Path,
    sources: _Sources,
    model: str | None,
    variant: str | None,
    of_network: dict[str, Any],
    of_default: dict[str, Any],
    common: dict[str, Any],
) -> tuple[MapResult, CellCovariates | None]:
    """Write the map with the parameters of the given source; return also a network's covariates."""
    from proda.errors import MapError
    from proda.maps import map_from_files

    if sources.network is not None:
        if of_network["covariates"] is None:
            raise MapError("--network needs --covariates GRID.nc, from which it predicts.")
        mapped = map_from_files.map_network(
            forcing,
            out,
            network=sources.network,
            model=model,
            variant=variant,
            **of_network,
            **common,
        )
        return mapped.result, mapped.covariates
    if sources.constant is not None:
        _only(False, "--network, --default and --mean-of", model=model, variant=variant)
        return map_from_files.map_constant(forcing, out, network=sources.constant, **common), None
    if sources.mean_of is not None:
        mean = map_from_files.map_mean(forcing, out, kept=sources.mean_of, model=model, **common)
        return mean, None
    if model is None:
        raise MapError("--default needs --model; see `proda models`.")
    default = map_from_files.map_default(
        forcing, out, model=model, variant=variant or "default", **of_default, **common
    )
    return default, None


def _print_map(
    path: Path,
    result: MapResult,
    known: CellCovariates | None,
    others: dict[tuple[str, str], xr.DataArray],
    plots: Path | None,
) -> None:
    """Print what was computed and the totals of a map beside references, and draw it."""
    from proda.cli.console import console
    from proda.cli.map_tables import print_comparison, print_reasons, print_totals
    from proda.maps.reference_maps import against_references, beside
    from proda.maps.totals import open_map

    if result.chunks_reused:
        console.print(f"{result.chunks_reused} of {result.chunks} chunks were already computed.")
    for why in result.chunks_redone:
        console.print(f"Computed again: {why}", style="yellow")
    print_reasons(result.cells_by_reason, result.members_by_reason, result.n_members)
    if known is not None:
        _print_covariates(known)
    with open_map(path) as opened:
        dataset = opened.load()
    maps = {path.stem: dataset}
    print_totals(beside(maps, others))
    if others:
        print_comparison(against_references(maps, others))
    console.print(f"Written: {path}", soft_wrap=True)
    if plots is not None:
        from proda.plots.map_set import draw_map

        for figure in draw_map(dataset, plots, path.stem, others):
            console.print(f"Drawn: {figure}", soft_wrap=True)


def _labels(paths: list[Path]) -> list[str]:
    """Return the names of the files, with their folder where two have the same name."""
    from proda.errors import MapError

    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}/{stem}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    if len(set(names)) < len(names):
        raise MapError("Two of the maps have the same name. Give each file once.")
    return names


def _only(given: bool, option: str, **others: Any) -> None:
    """Refuse options that have no effect without another one."""
    from proda.errors import MapError

    if given:
        return
    if odd := [name for name, value in others.items() if value not in (None, False)]:
        raise MapError(f"--{odd[0].replace('_', '-')} needs {option}.")


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    from proda.errors import MapError

    if value not in known:
        raise MapError(f"--{option} {value}: expected {' or '.join(known)}.")


def _references(
    path: Path | None, variables: list[str] | None
) -> dict[tuple[str, str], xr.DataArray]:
    from proda import cf
    from proda.cli.console import errors
    from proda.drivers.grids import NOTES
    from proda.errors import MapError
    from proda.maps.reference_maps import reference_maps

    if path is None:
        if variables:
            raise MapError("--reference-variable needs --reference FILE.")
        return {}
    references = reference_maps(cf.open_grid(path), variables or (), str(path))
    for note in dict.fromkeys(str(data.attrs.get(NOTES, "")) for data in references.values()):
        if note:
            errors.print(note, style="yellow", soft_wrap=True, markup=False)
    return references


@contextmanager
def progress_of_cells(what: str) -> Iterator[Progress]:
    """Show a bar that counts cells; yield the callback for the numbers done and in total."""
    from proda.cli.console import progress

    with progress("cells") as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_covariates(known: CellCovariates) -> None:
    from proda.cli.console import console, print_table

    n = len(known.covered)
    rows: list[tuple[str, str, str]] = [
        (what, f"{count:,}", f"{count / n:.1%}")
        for what, count in (
            ("with all covariates", int(known.covered.sum())),
            ("without", int((~known.covered).sum())),
            ("outside the training range", int(known.outside_training.sum())),
        )
    ]
    rows += [(f"{name} missing", f"{k:,}", f"{k / n:.1%}") for name, k in known.lacking.items()]
    rows += [(f"{name} filled", f"{k:,}", f"{k / n:.1%}") for name, k in known.filled.items()]
    rows += [
        (f"{name} of unknown class", f"{k:,}", f"{k / n:.1%}") for name, k in known.unseen.items()
    ]
    print_table("Covariates of the land cells", ["", "cells", "share"], rows, right=(1, 2))
    if known.outside_training.any():
        console.print("outside_training in the file marks where the network extrapolates.")
