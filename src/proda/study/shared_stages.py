"""The stages that serve all models: profiles, forcing and covariates, comparison and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import cf, files
from proda.attribution import attribute_maps, maps_of_run, sites_of_run
from proda.comparison.compare_models import (
    compare_models,
    covariates_of_run,
    files_of_run,
    projections_of_run,
)
from proda.comparison.model_files import AFTER, END_TO_END, ROUTES, ModelFiles
from proda.comparison.truth import truth_table
from proda.drivers import climate as climate_driver
from proda.drivers import covariates as covariate_driver
from proda.drivers import nearest_cells
from proda.drivers.climate_input import join_drainage, open_climate
from proda.drivers.forcing_rules import rules_named
from proda.drivers.properties import add_properties
from proda.drivers.site_tables import read_sites
from proda.errors import StudyError
from proda.layout import left_out_of
from proda.maps.map_variables import STOCKS
from proda.maps.totals import open_map
from proda.observations.build import build
from proda.plots.attribution import figures as attribution_figures
from proda.plots.comparison import figures
from proda.plots.figure_files import save_figure, saved_figures
from proda.plots.truth import truth_figure
from proda.study.folder import StudyFolder
from proda.study.report.attribution_figures import save_attribution_figures
from proda.study.report.comparison_figures import save_comparison_figures
from proda.study.report.write_report import write_report
from proda.study.stage import Context
from proda.study.twin import TwinWorld, open_twin_world


def profiles(context: Context) -> str:
    """Read, check and pool the measured profiles (`proda profiles build`)."""
    folder = context.folder
    steps = context.reporter.progress
    summary = build(
        folder.settings.profiles,
        folder.profiles,
        lambda what, done, total: steps(done, total, what),
    )
    kept, read = summary.total("profile", "kept"), summary.total("profile")
    return f"{kept:,} of {read:,} profiles"


def forcing(context: Context) -> str:
    """Estimate the forcing from climate where it is not there, and take that of the sites."""
    folder = context.folder
    chosen = folder.settings.forcing
    if chosen.climate is not None:
        dataset = open_climate(chosen.climate, chosen.names)
        source = f"{chosen.climate.name}: {dataset.attrs.get('title', 'no title')}"
        if chosen.drainage is not None:
            dataset = join_drainage(dataset, chosen.drainage)
        estimated = climate_driver.from_climate(
            dataset, chosen.w_floor, source, rules_named(chosen.rules)
        )
        if folder.settings.needed_properties():
            soil = cf.open_grid(folder.settings.covariates.grid)
            estimated = add_properties(estimated, soil, limit_km=chosen.limit_km)
        files.write_zarr(estimated, folder.forcing, context.reporter.steps("tasks"))
    table = read_sites(folder.profile_table)
    grid = files.open_dataset(folder.forcing)
    _check_properties(folder, grid)
    dataset, nearest = nearest_cells.forcing_at_sites(grid, table, chosen.limit_km)
    files.write_dataset(dataset, folder.sites)
    nearest_cells.write_left_out(nearest, left_out_of(folder.sites))
    return f"{dataset.sizes['site']:,} of {len(table):,} sites"


def _check_properties(folder: StudyFolder, grid: xr.Dataset) -> None:
    """Refuse a file of forcing without the properties of the soil that a model needs."""
    needed = folder.settings.needed_properties()
    if missing := [name for name in needed if name not in grid]:
        raise StudyError(
            f"{folder.forcing}: lacks {', '.join(missing)}, which the models of this study need. "
            f"Add them: proda forcing add-properties {folder.forcing} "
            f"{folder.settings.covariates.grid} OUT, and name OUT as forcing.file."
        )


def covariates(context: Context) -> str:
    """Sample the covariates at the sites."""
    folder = context.folder
    chosen = folder.settings.covariates
    grid = covariate_driver.open_covariates(chosen.grid)
    rows = read_sites(folder.profile_table)
    table, nearest = covariate_driver.at_sites(grid, rows, chosen.limit_km)
    covariate_driver.write_table(table, folder.covariates)
    nearest_cells.write_left_out(nearest, left_out_of(folder.covariates))
    shares = covariate_driver.missing_shares(table, grid)
    lacking = int(np.count_nonzero(np.asarray(shares) > 0.0))
    return f"{len(table):,} sites x {len(shares)} covariates, {lacking} with gaps"


def attribution(context: Context) -> str:
    """Attribute each map to the components of the model (`proda attribute`)."""
    place = context.folder
    settings, learning = place.settings, place.settings.learning
    wanted = {ROUTES[END_TO_END]: learning.through, ROUTES[AFTER]: learning.posterior}
    # Maps of other models and routes may remain from earlier settings.
    maps = [
        each if learning.through else replace(each, constant=None)
        for each in maps_of_run(place.path)
        if each.name in settings.study.models and wanted[each.route]
    ]
    result = attribute_maps(
        maps,
        place.attribution,
        forcing=place.forcing,
        covariates=settings.covariates.grid,
        sites=sites_of_run(place.path),
        sample=settings.attribution.sample,
        input_variation=settings.attribution.input_variation,
        responses=settings.attribution.responses,
        seed=settings.study.seed,
        progress=context.reporter.steps("steps"),
    )
    _remove_figures(place, "attribution_")
    save_attribution_figures(attribution_figures(result), place.figures)
    differences = result.tables["differences"]
    pairs = 0 if differences.empty else differences.groupby(["first", "second", "route"]).ngroups
    return f"{len(maps)} maps, {pairs} pairs of models"


def comparison(context: Context) -> str:
    """Compare the models with each other and with the paper (`proda compare`)."""
    place = context.folder
    _remove_figures(place, "comparison_", "truth")
    result = compare_models(
        _files_of_routes(place),
        place.comparison,
        reference=place.settings.maps.reference,
        covariates=covariates_of_run(place.path),
        projections=projections_of_run(place.path) if place.settings.projection.run else None,
        attribution=place.attribution if place.settings.attribution.compute else None,
        progress=context.reporter.steps("steps"),
    )
    save_comparison_figures(figures(result), place.figures)
    if place.settings.study.truth is not None:
        _against_truth(context)
    parts = []
    for route, own in result.findings.groupby("route", sort=False):
        counts = own["verdict"].value_counts()
        parts.append(f"{route}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}")
    return "; ".join(parts)


def _files_of_routes(place: StudyFolder) -> dict[str, ModelFiles]:
    """Return the files of the study's routes; others may remain from earlier settings."""
    learning, files_by_route = place.settings.learning, {}
    of_run = files_of_run(place.path)
    for model in place.settings.study.models:
        there = of_run[model]
        if not learning.through:
            there = replace(there, end_to_end=None, end_to_end_network=None)
        if not learning.posterior:
            there = replace(there, maps=None, summary=None, sites=None, network=None)
        files_by_route[model] = there
    return files_by_route


def _remove_figures(place: StudyFolder, *starts: str) -> None:
    """Remove the figures of an earlier run of a stage, which may have had another route."""
    for stem, _ in list(saved_figures(place.figures)):
        if stem.startswith(starts):
            for ending in ("json", "png", "pdf"):
                (place.figures / f"{stem}.{ending}").unlink(missing_ok=True)


def _against_truth(context: Context) -> None:
    """Compare the maps of each route with the truth, where the world is synthetic.

    The profiles were generated from the truth of one model. There is no truth for the parameters
    and components of other models, only for their carbon.
    """
    place = context.folder
    world = open_twin_world(place.settings.study.truth or "")
    learning = place.settings.learning
    states = ((END_TO_END, learning.through), (AFTER, learning.posterior))
    tables = [_route_against_truth(place, world, state) for state, there in states if there]
    files.write_csv(pd.concat(tables), place.comparison_table("truth"))


def _route_against_truth(place: StudyFolder, world: TwinWorld, state: str) -> pd.DataFrame:
    """Draw the maps of one route against the truth, and return their table."""
    truth, route = _loaded(world.truth(world.measured_model)), ROUTES[state]
    stocks = [stock.name for stock in STOCKS if stock.lower is not None]
    maps, tables = {}, []
    for model in place.settings.study.models:
        through = state == END_TO_END
        mapped = _loaded(place.end_to_end_map(model) if through else place.map(model))
        spread = mapped if through else _loaded(place.spread(model))
        names = None if model == world.measured_model else stocks
        maps[model] = (mapped, truth, spread)
        table = truth_table(mapped, truth, names, spread)
        tables.append(table.assign(model=model, route=route))
    range_of = "the networks" if state == END_TO_END else "joint draws"
    caption = (
        f"Values recovered by the study {route} in every land cell, with the 5-95 % range of "
        f"{range_of} (grey), against the truth (line: equal). The profiles were generated with "
        f"{world.measured_model.upper()}; every other model is wrong by construction, and only its "
        "carbon can be compared."
    )
    figure = truth_figure(maps, world.measured_model, route)
    stem = "truth_end_to_end" if state == END_TO_END else "truth"
    save_figure(figure, place.figures, stem, caption, "truth")
    return pd.concat(tables)


def _loaded(path: Path) -> xr.Dataset:
    with open_map(path) as opened:
        return files.load(opened, path)


def report(context: Context) -> str:
    """Write the report (`proda report`)."""
    path = write_report(context.folder.path, progress=context.reporter.steps("sections"))
    return f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"
