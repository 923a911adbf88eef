"""Maps in, tables and a netCDF file of what their components do out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd
import xarray as xr

from proda import files
from proda.attribution.attribution_inputs import AttributedMap, PathLike, SiteFiles, open_attributed
from proda.attribution.difference import Difference, attribute_difference
from proda.attribution.members_at_places import at_sites
from proda.attribution.response import attribute_response
from proda.attribution.single import SAMPLE, STEPS, MapAttribution, Single, attribute_one, job_of
from proda.errors import MapError
from proda.layout import ATTRIBUTION_MAPS
from proda.projection.experiments import experiments_named

TABLES = ("importance", "coalitions", "zones", "differences", "swaps", "responses")
Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps."""


@dataclass(frozen=True)
class Attribution:
    """What the components of some maps do.

    `tables`: `importance` (one row per model, route, method, component and measure), `coalitions`
    (what all 64 are worth), `zones` (Shapley values of the stock by zone), `differences` and
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
    """Say which component makes each map what it is, and why maps of two models differ.

    Parameters
    ----------
    maps
        Maps of networks with what replaces their components; those of one route are compared.
    output
        Folder to write: one CSV per table and `attribution.nc`; made if absent.
    forcing
        On the grid of the maps.
    covariates
        On the same grid: then the members of the networks tell a spread.
    sites
        Measured profiles: then components are also judged by the skill there.
    sample
        Cells on which every member is run.
    input_variation
        Standard deviation over mean of the carbon input, by which the published method perturbs
        it; None leaves the input out of that method.
    responses
        Idealised experiments of `proda project`: then the difference of two models' changes, at
        the new steady state, is also attributed.
    seed
        Of the signs of that perturbation.
    progress
        Called after every step.

    Raises
    ------
    FileError, MapError, LearningError, ParameterError
        Naming the file that is absent, damaged or does not fit, or an unknown experiment.
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
    for given in maps:
        opened = open_attributed(given, forcing)
        job = job_of(
            opened,
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
