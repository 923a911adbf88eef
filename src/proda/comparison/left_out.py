"""Predictions of networks for profiles at held-out places: densities and skill.

The predictive density of a layer is that of end-to-end training: Student's t with 4 degrees of
freedom in ln carbon about the prediction, with one scale for each class of depth. That scale is
estimated for every model from its own errors at places of other folds, so that larger errors reduce
its density, and no model is evaluated on its training data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from proda import files
from proda.comparison.choice_of_many import Choice, Scores, blocks_of
from proda.comparison.model_files import END_TO_END, ROUTES, OpenedModel
from proda.comparison.preference import climate_of
from proda.comparison.stacking import groups_of_blocks
from proda.errors import ComparisonError
from proda.layout import SKILL_CARBON
from proda.learning import from_posteriors as of_posteriors
from proda.learning import places_left_out as through
from proda.learning.carbon import ASSIMILATED, MEMBERS, depth_names
from proda.learning.carbon_baselines import BASELINES
from proda.learning.carbon_loss import DEGREES
from proda.learning.conformal import LEAST, depth_classes
from proda.learning.unseen import CEILING

KEY = ["site", "upper", "lower", "turn"]
SKILL_COLUMNS = (
    "route",
    "model",
    "method",
    "by",
    "group",
    "sites",
    "layers",
    "lost",
    "log_r2",
    "rmse_log",
    "bias_log",
    "mean_site_log_r2",
    "interval90",
)
_BY = ("all", "depth", "zone", "koeppen", "soil")


def left_out_measure(state: str) -> str:
    """Return the name of the measure of a route."""
    return f"places left out, {ROUTES[state]}"


def left_out_choice(models: Mapping[str, OpenedModel], covariates: pd.DataFrame | None) -> Choice:
    """Return the log densities of held-out layers, by route, for routes that two models have.

    Raises
    ------
    ComparisonError, FileError
        If networks were evaluated on different profiles, or a file is damaged.
    """
    scores: list[Scores] = []
    reasons: dict[tuple[str, str], str] = {}
    places = _known_places(models, covariates)
    for state in ROUTES:
        given = {n: m.networks[state] for n, m in models.items() if state in m.networks}
        if not given:
            continue
        measure = left_out_measure(state)
        reasons |= {(measure, n): f"no network of {n} was given" for n in models if n not in given}
        tables = {n: read_layers(path, state) for n, path in given.items()}
        without = [n for n, table in tables.items() if table is None]
        reasons |= {(measure, n): f"the network of {n} was trained without folds" for n in without}
        there = {n: table for n, table in tables.items() if table is not None}
        if len(there) > 1:
            scores.append(left_out_scores(measure, there, covariates, places))
        else:
            reasons |= {
                (measure, n): "no other model has predictions at places left out" for n in there
            }
    return Choice(tuple(scores), reasons)


def read_layers(folder: str | os.PathLike[str], state: str) -> pd.DataFrame | None:
    """Read the held-out measured layers of a network's folder with its predictions.

    Returns
    -------
    `site`, `upper`, `lower` (m), `turn` (among layers of one depth), `observed`, `predicted` (kg
    m-3, NaN without a steady state), and `fold`, `latitude`, `longitude` where the file has them;
    layers in bedrock are left out. None if the network was trained without folds.
    """
    root = Path(folder)
    path = root / (through.HELD_OUT if state == END_TO_END else of_posteriors.HELD_OUT)
    if not path.is_file():
        return None
    if state == END_TO_END:
        table = files.read_parquet(
            path, needed=("site", "upper", "lower", "fold", "used", "observed", through.NETWORK)
        )
        table = table.rename(columns={through.NETWORK: "predicted"})
    else:
        with files.open_dataset(path, result=True) as opened:
            if "row_modelled" not in opened:
                return None
            layers = files.load(
                opened[
                    [
                        "row_site",
                        "row_upper",
                        "row_lower",
                        "row_used",
                        "row_observed",
                        "row_modelled",
                    ]
                ],
                path,
            )
        own = layers["row_modelled"].sel(carbon_method=MEMBERS)
        table = pd.DataFrame(
            {
                n: layers[f"row_{n}"].to_numpy()
                for n in ("site", "upper", "lower", "used", "observed")
            }
        )
        table["predicted"] = own.to_numpy()
    table = table[table["used"].astype(bool)].assign(site=table["site"].astype(str))
    table["turn"] = table.groupby(["site", "upper", "lower"]).cumcount()
    kept = [*KEY, "observed", "predicted", "fold", "latitude", "longitude"]
    return table[[n for n in kept if n in table]].reset_index(drop=True)


def left_out_scores(
    measure: str,
    tables: Mapping[str, pd.DataFrame],
    covariates: pd.DataFrame | None = None,
    places: pd.DataFrame | None = None,
) -> Scores:
    """Return the log densities of every model for the layers that were held out from all of them.

    Parameters
    ----------
    measure
        Its name.
    tables
        Of :func:`read_layers`, by model.
    covariates
        Climate of the sites, if known.
    places
        `site`, `latitude`, `longitude`, where the tables lack them.

    Raises
    ------
    ComparisonError
        If the models were evaluated on different measurements, or have no layer in common.
    """
    names = tuple(tables)
    joined = _common_layers(tables)
    predicted = joined[[f"predicted {n}" for n in names]].to_numpy(np.float64)
    answered = np.isfinite(predicted).all(axis=1)
    lost = joined["site"][~answered].nunique()
    joined, predicted = joined[answered].reset_index(drop=True), predicted[answered]
    place = _places(joined["site"], tables[names[0]], places)
    block = blocks_of(place["latitude"].to_numpy(), place["longitude"].to_numpy())
    if not np.isfinite(place["latitude"]).all():  # of one site all layers are one block
        block = np.where(block < 0, -1 - pd.factorize(joined["site"])[0], block)
    depth = 0.5 * (joined["upper"] + joined["lower"]).to_numpy()
    off = np.log(joined["observed"].to_numpy(np.float64))[:, None] - np.log(
        np.maximum(predicted, LEAST)
    )
    weight = 1.0 / joined.groupby("site")["site"].transform("size").to_numpy(np.float64)
    values = np.stack(
        [cross_density(column, depth, groups_of_blocks(block), weight) for column in off.T], axis=1
    )
    return Scores(
        measure,
        names,
        values,
        joined["site"].to_numpy(),
        _groups(place, depth, covariates),
        block,
        None,
        lost,
    )


def _common_layers(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the layers that were held out from every model, with each model's prediction."""
    names = tuple(tables)
    joined = tables[names[0]][[*KEY, "observed"]]
    for name in names:
        one = tables[name][[*KEY, "observed", "predicted"]].rename(
            columns={"predicted": f"predicted {name}", "observed": "other"}
        )
        joined = joined.merge(one, on=KEY, how="inner")
        if not np.allclose(joined["other"], joined["observed"], rtol=1e-6):
            raise ComparisonError(
                f"The networks of {names[0]} and {name} were evaluated on different measurements "
                "of the same layers; train both on the same profiles."
            )
        joined = joined.drop(columns="other")
    if joined.empty:
        raise ComparisonError(
            f"The networks of {', '.join(names)} have no measured layer in common; train them on "
            "the same profiles."
        )
    return joined


def cross_density(
    off: Float[np.ndarray, " row"],
    depth: Float[np.ndarray, " row"],
    group: Int[np.ndarray, " row"],
    weight: Float[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """Return the log density of each layer's ln carbon, its scale from layers of other groups.

    Parameters
    ----------
    off
        ln measured minus ln predicted.
    depth
        Middle of the layer, m.
    group
        Layers of the same group are not used for each other's scale.
    weight
        Of each layer in the estimate.
    """
    density, kind = np.empty(len(off)), depth_classes(depth)
    for g in np.unique(group):
        here, others = group == g, group != g
        others = others if others.any() else here  # all data are in one block
        for k in np.unique(kind[here]):
            known = others & (kind == k)
            known = known if known.any() else others
            scale = student_scale(off[known], weight[known])
            own = here & (kind == k)
            density[own] = stats.t.logpdf(off[own] / scale, DEGREES) - np.log(scale)
    return density


def student_scale(off: Float[np.ndarray, " row"], weight: Float[np.ndarray, " row"]) -> float:
    """Return the maximum-likelihood scale of Student's t about 0, by fixed-point iteration."""
    square = np.asarray(off, dtype=np.float64) ** 2
    now = max(float(np.average(square, weights=weight)), 1e-12)
    for _ in range(200):
        pull = (DEGREES + 1.0) / (DEGREES + square / now)
        new = max(float(np.average(pull * square, weights=weight)), 1e-12)
        if abs(new - now) <= 1e-10 * now:
            break
        now = new
    return float(np.sqrt(new))


def _known_places(
    models: Mapping[str, OpenedModel], covariates: pd.DataFrame | None
) -> pd.DataFrame | None:
    """Return the places of sites from the covariates or an assimilation."""
    columns = ["site", "latitude", "longitude"]
    if covariates is not None and set(columns) <= set(covariates):
        return covariates[columns]
    for model in models.values():
        if model.summary is not None:
            return model.summary[["latitude", "longitude"]].to_dataframe().reset_index()[columns]
    return None


def _places(site: pd.Series, table: pd.DataFrame, places: pd.DataFrame | None) -> pd.DataFrame:
    """Return the place of each layer's site, NaN where it is unknown."""
    known = table if "latitude" in table else places
    if known is None:
        known = pd.DataFrame({"site": [], "latitude": [], "longitude": []})
    one = known.assign(site=known["site"].astype(str)).drop_duplicates("site").set_index("site")
    coordinates = one[["latitude", "longitude"]].reindex(site).reset_index()
    return coordinates.astype({"latitude": np.float64, "longitude": np.float64})


def _groups(
    place: pd.DataFrame, depth: np.ndarray, covariates: pd.DataFrame | None
) -> pd.DataFrame:
    if np.isfinite(place["latitude"]).all():
        sites = place.set_index("site").to_xarray()
        groups = climate_of(sites, covariates).reset_index(drop=True)
    else:
        groups = pd.DataFrame(index=place.index)
    return groups.assign(depth=depth_names(depth))


def skill_table(models: Mapping[str, OpenedModel]) -> pd.DataFrame:
    """Return the skill of every model's networks at held-out places, by zone and route.

    Returns
    -------
    pandas.DataFrame
        `route`, `model`, `method`, `by` and `group` (as in the networks' own tables), `sites`,
        `layers`, `lost`, `log_r2`, `rmse_log`, `bias_log`, and for networks trained end to end
        `mean_site_log_r2` and `interval90`. Methods without a soil model and the ceiling appear
        once for each route, from the first model that has them, under the model "none".
    """
    parts = []
    for state, route in ROUTES.items():
        once: set[str] = set()
        for name, model in models.items():
            if state not in model.networks:
                continue
            path = Path(model.networks[state]) / SKILL_CARBON
            if not path.is_file():
                continue
            table = files.read_csv(path, what="table of skill", kind=ComparisonError)
            if not {"method", "by", "group", "log_r2"} <= set(table):
                raise ComparisonError(f"{path}: not a table of skill by group; train again.")
            own = table[~table["method"].isin(once) & table["by"].isin(_BY)]
            common = own["method"].isin([*BASELINES, CEILING])
            once |= set(own.loc[common, "method"])
            own = own[own["method"] != ASSIMILATED]  # it was fitted to the profile
            parts.append(
                own.assign(route=route, model=np.where(common.reindex(own.index), "none", name))
            )
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return joined.reindex(columns=list(SKILL_COLUMNS))
