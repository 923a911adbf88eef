"""Attribute maps to their components: tables and a netCDF file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import cf, files
from proda.attribution.attribution_inputs import AttributedMap, PathLike, SiteFiles, open_attributed
from proda.attribution.difference import Difference, attribute_difference
from proda.attribution.members_at_places import at_sites
from proda.attribution.response import attribute_response
from proda.attribution.single import SAMPLE, STEPS, MapAttribution, Single, attribute_one, job_of
from proda.errors import MapError
from proda.layout import ATTRIBUTION_MAPS
from proda.maps.cells import land_cells
from proda.projection.experiments import experiments_named

TABLES = ("importance", "coalitions", "zones", "differences", "swaps", "responses")
Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps."""


@dataclass(frozen=True)
class Attribution:
    """The attribution of some maps to their components.

    `tables`: `importance` (one row per model, route, method, component and measure), `coalitions`
    (the values of all 64), `zones` (Shapley values of the stock by zone), `differences` and
    `swaps` of pairs of models, `responses` of pairs to experiments. `maps`: Shapley values of ln
    carbon by cell.
    """

    tables: dict[str, pd.DataFrame]
    maps: xr.Dataset


def attribute_maps(
    maps: Sequence[AttributedMap],
    output: PathLike,
    *,
    forcing: PathLike,
    covariates: PathLike | None = None,
    sites: SiteFiles | None = None,
    sample: int = SAMPLE,
    input_variation: float | None = None,
    responses: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Attribution:
    """Attribute maps, and the differences between maps of two models, to components.

    Parameters
    ----------
    maps
        Maps of networks, with the values that replace their components; maps of one route are
        compared.
    output
        Folder to write: one CSV per table and `attribution.nc`; created if absent.
    forcing
        Forcing on the grid of the maps.
    covariates
        Covariates on the same grid; with them, the members of the networks give a spread.
    sites
        Measured profiles; with them, the skill at the profiles is also attributed.
    sample
        Cells on which every member is run.
    input_variation
        Ratio of standard deviation to mean of the carbon input, by which the published method
        perturbs it; None excludes the input from that method.
    responses
        Idealised experiments of `proda project`; with them, the difference between the changes of
        two models, at the new steady state, is also attributed.
    seed
        Seed of the signs of that perturbation.
    progress
        Called after every step.

    Raises
    ------
    FileError, MapError, LearningError, ParameterError
        Naming the file that is absent, damaged or inconsistent, or an unknown experiment.
    """
    if not maps:
        raise MapError("No map to attribute.")
    jobs: list[MapAttribution] = []
    routes = [m.route for m in maps]
    n_pairs = sum(a == b for a, b in combinations(routes, 2))
    experiments = experiments_named(responses)
    total, done = STEPS * len(maps) + n_pairs * (1 + len(experiments)), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    singles: list[Single] = []
    cells = land_cells(cf.open_grid(forcing))
    grid = cells.forcing(np.arange(len(cells)))
    for given in maps:
        opened = open_attributed(given, cells, forcing)
        job = job_of(
            opened,
            grid,
            sites=None if sites is None else at_sites(given, opened.model, sites),
            covariates=None if given.network is None else covariates,
            sample=sample,
            input_variation=input_variation,
            seed=seed,
        )
        singles.append(attribute_one(job, step))
        jobs.append(job)
    differences: list[Difference] = []
    answers: list[pd.DataFrame] = []
    for a, b in combinations(jobs, 2):
        if a.opened.files.route == b.opened.files.route:
            differences.append(attribute_difference(a, b))
            step()
            for experiment in experiments:
                answers.append(attribute_response(a, b, experiment))
                step()
    result = _joined(jobs, singles, differences, answers)
    _write(result, Path(output))
    return result


def _joined(
    jobs: list[MapAttribution],
    singles: list[Single],
    differences: list[Difference],
    responses: list[pd.DataFrame],
) -> Attribution:
    def stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    tables = {
        "importance": stacked([s.importance for s in singles]),
        "coalitions": stacked([s.coalitions for s in singles]),
        "zones": stacked([s.zones for s in singles]),
        "differences": stacked([d.table for d in differences]),
        "swaps": stacked([d.coalitions for d in differences]),
        "responses": stacked(responses),
    }
    names = pd.Index([f"{j.opened.files.name}, {j.opened.files.route}" for j in jobs], name="map")
    grid = xr.concat([s.maps for s in singles], names)
    if differences:
        pairs = pd.Index(
            [
                f"{d.table['second'].iloc[0]} - {d.table['first'].iloc[0]}, "
                f"{d.table['route'].iloc[0]}"
                for d in differences
            ],
            name="pair",
        )
        grid = xr.merge([grid, xr.concat([d.maps for d in differences], pairs)])
    grid = grid.assign_attrs(Conventions="CF-1.11", title="Attribution of maps to components")
    grid["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
    grid["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
    return Attribution(tables, grid)


def _write(result: Attribution, folder: Path) -> None:
    files.write_tables({name: result.tables[name] for name in TABLES}, folder, MapError)
    files.write_netcdf(result.maps, folder / ATTRIBUTION_MAPS)
