"""The comparison of the files of two or more models: comparison.nc and tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import xarray as xr

from proda import files
from proda.comparison.attributed import read_importance
from proda.comparison.between_routes import between_routes_table
from proda.comparison.budget import reference_table, totals_table
from proda.comparison.choice_of_many import (
    Choice,
    evidence_table,
    joined,
    site_scores,
    stacking_table,
)
from proda.comparison.correlations import cells, correlation_table, vary
from proda.comparison.left_out import left_out_choice, skill_table
from proda.comparison.many import agreement_table, microbes_table, models_table
from proda.comparison.michaelis import michaelis_table, ratios_at_sites
from proda.comparison.model_files import (
    COMPARED,
    STATES,
    ModelFiles,
    OpenedModel,
    common_land,
    grid_of,
    open_models,
    pairs,
    path_if_there,
    states_of,
)
from proda.comparison.paper import PAIR
from proda.comparison.preference import not_comparable, preference_table, site_differences
from proda.comparison.regions import REGIONS, Region, log_ratio, region_table, zonal_table
from proda.comparison.routes import findings_by_route
from proda.comparison.site_fit import fit_table, parameter_table
from proda.comparison.spatial import correlation_test
from proda.errors import ComparisonError
from proda.layout import END_TO_END_MAP, MAP, RunFolder

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all steps."""

CLIMATE = "koppen_class"
"""The covariate that groups sites by climate."""

TABLES = (
    "correlations",
    "regions",
    "zonal",
    "totals",
    "references",
    "michaelis",
    "preference",
    "parameters",
    "fit",
    "compensation",
    "findings",
    "evidence",
    "stacking",
    "skill_left_out",
    "agreement",
    "models",
    "microbes",
    "between_routes",
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of :func:`compare_models`.

    `tables` by name (those of :data:`TABLES`), `maps` on (pair, state, lat, lon), `sites` with the
    differences of the evidence by pair, `michaelis` the ratios at sites by model, `models` the
    opened maps, for figures.
    """

    tables: dict[str, pd.DataFrame]
    maps: xr.Dataset
    sites: dict[tuple[str, str], xr.Dataset]
    michaelis: dict[str, xr.Dataset]
    models: dict[str, OpenedModel]

    @property
    def findings(self) -> pd.DataFrame:
        """Every finding of the paper with the result of this run."""
        return self.tables["findings"]


def compare_models(
    models: Mapping[str, ModelFiles],
    output: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str] | None = None,
    covariates: str | os.PathLike[str] | None = None,
    regions: Mapping[str, Region] | None = None,
    projections: pd.DataFrame | None = None,
    attribution: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two or more models with each other and with the paper, in every available state.

    States are default parameters, parameters after data assimilation, and parameters trained end to
    end. The findings are judged for each route by which profiles constrain the models.

    Parameters
    ----------
    models
        Files of each model, by its name. The paper's findings need "clm5" and "compas".
    output
        Folder for `comparison.nc` and one CSV per table; created if absent.
    reference
        File with reference stocks (`soc_0_100_SOURCE` ..., kg m-2) on the maps' grid.
    covariates
        Table of sites with `koppen_class` (`proda covariates build`), to group sites by climate.
    regions
        Added to :data:`~proda.comparison.regions.REGIONS`; those of the same name are replaced.
    projections
        Agreement of projections of the models
        (:func:`proda.comparison.projections.agreement_table`), for the finding on future change.
    attribution
        Folder of `proda attribute`, by which findings about components are judged.
    progress
        Called after every step.

    Raises
    ------
    ComparisonError
        If the files are inconsistent, or the folder cannot be created.
    FileError, MapError
        If a file cannot be read or is not a map.
    """
    boxes = REGIONS if regions is None else {**REGIONS, **regions}
    opened = open_models(models)
    ahead = sum(len(states_of(opened, pair)) for pair in pairs(opened)) * len(COMPARED) + 7
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, ahead)

    known = None if reference is None else files.load(files.open_dataset(reference), reference)
    site_table = None if covariates is None else read_climate(covariates)
    tables = {"correlations": correlation_table(opened, step)}
    tables["agreement"] = agreement_table(tables["correlations"])
    tables["between_routes"] = between_routes_table(opened)
    tables["models"], tables["microbes"] = models_table(opened), microbes_table(opened)
    tables["regions"] = region_table(opened, boxes)
    step()
    tables["zonal"], tables["totals"] = zonal_table(opened), totals_table(opened, known)
    tables["references"] = pd.DataFrame() if known is None else reference_table(opened, known)
    step()
    at_sites = {n: r for n, m in opened.items() if (r := ratios_at_sites(m)) is not None}
    tables["michaelis"] = michaelis_table(opened, at_sites)
    step()
    why = {pair: not_comparable(opened[pair[0]], opened[pair[1]]) for pair in pairs(opened)}
    sites = {(a, b): site_differences(opened[a], opened[b]) for (a, b), w in why.items() if not w}
    tables["preference"] = preference_table(opened, sites, site_table)
    tables["parameters"], tables["fit"] = parameter_table(opened), fit_table(opened)
    step()
    tables |= choice_tables(opened, site_table)
    step()
    tables["compensation"] = compensation_table(opened)
    tables["projections"] = pd.DataFrame() if projections is None else projections
    lacking = [name.upper() for name in PAIR if name not in opened]
    absent = f"this comparison has no {' and no '.join(lacking)}" if lacking else ""
    known_parts = {} if attribution is None else read_importance(attribution)
    tables["findings"] = findings_by_route({**tables, **known_parts}, opened, why.get(PAIR, absent))
    step()
    maps = difference_maps(opened)
    result = Comparison(tables, maps, sites, at_sites, opened)
    _write(result, Path(output))
    step()
    return result


def choice_tables(
    models: Mapping[str, OpenedModel], covariates: pd.DataFrame | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of the models that the data prefer, by zone.

    Parameters
    ----------
    models
        Models with their summaries and networks; maps are not needed.
    covariates
        Covariates of the sites with `koppen_class`; None: zones of latitude.

    Returns
    -------
    `evidence`, `stacking` (:mod:`proda.comparison.choice_of_many`) and `skill_left_out`
    (:func:`proda.comparison.left_out.skill_table`).
    """
    choice: Choice = joined(site_scores(models, covariates), left_out_choice(models, covariates))
    return {
        "evidence": evidence_table(choice),
        "stacking": stacking_table(choice),
        "skill_left_out": skill_table(models),
    }


def difference_maps(models: Mapping[str, OpenedModel]) -> xr.Dataset:
    """Return differences (second - first) and log ratios on (pair, state, lat, lon)."""
    names = pairs(models)
    states = tuple(s for s in STATES if any(s in states_of(models, pair) for pair in names))
    first = grid_of(models)
    shape = (len(names), len(states), first.sizes["lat"], first.sizes["lon"])
    land = {
        (pair, state): common_land(models, pair, (state,)) > 0
        for pair in names
        for state in states_of(models, pair)
    }
    data = {}
    for variable in COMPARED:
        difference, ratio = (np.full(shape, np.nan, np.float32) for _ in range(2))
        for i, pair in enumerate(names):
            for state in states_of(models, pair):
                k = states.index(state)
                x, y = (models[m].maps[state][variable].transpose("lat", "lon") for m in pair)
                here = land[pair, state]
                difference[i, k] = (y - x).where(here).to_numpy()
                ratio[i, k] = log_ratio(x, y).where(here).to_numpy()
        units = str(first[variable].attrs.get("units", ""))
        words = str(first[variable].attrs.get("long_name", variable)).removesuffix(
            ", ensemble mean"
        )
        data[f"{variable}_difference"] = (
            ("pair", "state", "lat", "lon"),
            difference,
            {"units": units, "long_name": f"{words}: second model minus first"},
        )
        data[f"{variable}_log_ratio"] = (
            ("pair", "state", "lat", "lon"),
            ratio,
            {"units": "1", "long_name": f"{words}: ln(second model / first)"},
        )
    return xr.Dataset(
        data,
        coords={
            "pair": [f"{b} - {a}" for a, b in names],
            "state": list(states),
            "lat": first["lat"],
            "lon": first["lon"],
        },
        attrs={"Conventions": "CF-1.11", "title": f"Comparison of {', '.join(models)}"},
    )


def compensation_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Correlate the pairs' log ratios of K and of CTE over land, to see if they compensate."""
    rows = []
    for first, second in pairs(models):
        for state in states_of(models, (first, second)):
            land = common_land(models, (first, second), (state,), with_carbon=True)
            cte, k = (
                log_ratio(*(models[m].maps[state][v] for m in (first, second)))
                for v in ("CTE", "K")
            )
            (x, y, lat, lon, w), _ = cells(cte, k, land, log=False)
            if not vary(x, y):
                continue
            test = asdict(correlation_test(x, y, lat, lon, w))
            rows.append({"first": first, "second": second, "state": state, **test})
    return pd.DataFrame(rows)


def site_dataset(sites: Mapping[tuple[str, str], xr.Dataset]) -> xr.Dataset:
    """Join the pairs' differences at sites on (pair, site); NaN where a pair lacks a site."""
    if not sites:
        return xr.Dataset()
    parts = [
        d.drop_attrs(deep=False).expand_dims(pair=[f"{b} - {a}"]) for (a, b), d in sites.items()
    ]
    coords = pd.concat([d[["latitude", "longitude"]].to_dataframe() for d in sites.values()])
    coords = coords[~coords.index.duplicated()][["latitude", "longitude"]]
    bare = [p.drop_vars(["latitude", "longitude"]) for p in parts]
    joined = xr.concat(bare, dim="pair", join="outer")
    where = coords.loc[joined["site"].to_numpy()]
    return joined.assign_coords({n: ("site", where[n].to_numpy()) for n in where})


def files_of_run(run: str | os.PathLike[str]) -> dict[str, ModelFiles]:
    """Return the models of a run folder: every folder in it with a constrained map.

    Raises
    ------
    ComparisonError
        If there are fewer than two.
    """
    place = RunFolder(Path(run))
    files_by_model = {
        model: ModelFiles(
            maps=path_if_there(place.map(model)),
            default=path_if_there(place.default_map(model)),
            summary=path_if_there(place.summary(model)),
            sites=path_if_there(place.site_table(model)),
            forcing=path_if_there(place.sites),
            end_to_end=path_if_there(place.end_to_end_map(model)),
            network=path_if_there(place.network(model)),
            end_to_end_network=path_if_there(place.end_to_end(model)),
        )
        for model in sorted(folder.name for folder in place.path.glob("*/"))
        if place.map(model).is_file() or place.end_to_end_map(model).is_file()
    }
    if len(files_by_model) < 2:
        held = ", ".join(files_by_model) or "none"
        raise ComparisonError(
            f"{place.path}: contains maps of {len(files_by_model)} models ({held}); a comparison "
            f"needs two or more. Maps are expected as MODEL/{MAP} or MODEL/{END_TO_END_MAP}."
        )
    return files_by_model


def covariates_of_run(folder: str | os.PathLike[str]) -> Path | None:
    """Return the covariates at the sites of a run folder, if they have climate classes."""
    path = path_if_there(RunFolder(Path(folder)).covariates)
    if path is None or CLIMATE not in pq.read_schema(path).names:
        return None
    return path


def projections_of_run(folder: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Return the agreement of the projections of a run folder, if there are any."""
    path = path_if_there(RunFolder(Path(folder)).projections_table("agreement"))
    return None if path is None else pd.read_csv(path)


def read_climate(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read covariates of sites with their climate class.

    Raises
    ------
    ComparisonError
        If the table cannot be read, or lacks sites or classes.
    """
    return files.read_parquet(path, needed=("site", CLIMATE), kind=ComparisonError)


def _write(result: Comparison, folder: Path) -> None:
    files.write_tables({name: result.tables[name] for name in TABLES}, folder, ComparisonError)
    sites = site_dataset(result.sites)
    joined = result.maps.assign({f"site_{n}": sites[n] for n in sites.data_vars})
    files.write_netcdf(joined, folder / "comparison.nc")
