"""Predictions of all methods at held-out places: the skill of an end-to-end training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda.layout import HELD_OUT_PARAMETERS, SKILL_CARBON
from proda.learning.boosted_residual import (
    BoostedResidual,
    crossed_residual,
    fit_share,
    write_residual,
)
from proda.learning.calibrated import crossed, intervals_of
from proda.learning.carbon import default_carbon, held_out_carbon
from proda.learning.carbon_baselines import BOOSTING, Baseline, fit_baseline
from proda.learning.carbon_sites import CarbonSites, layer_table
from proda.learning.conformal import Intervals
from proda.learning.end_to_end import physical
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.families import TrainedFamilies
from proda.learning.stream_skill import held_out_streams, stream_skill
from proda.learning.unseen import (
    Answer,
    answer_of_carbon,
    answer_of_members,
    groups,
    least_log,
    skill_table,
)

NETWORK, CONSTANT, DEFAULT = "network", "constant", "default"
RESIDUAL = "network_and_residual"
"""The network's carbon with a share of its difference from boosting."""
HELD_OUT = "held_out.parquet"
STREAM_SKILL, HELD_OUT_STREAMS = "skill_streams.csv", "held_out_streams.parquet"


@dataclass(frozen=True)
class PlacesLeftOut:
    """Carbon at held-out places, and the errors there.

    `skill` has one row for each method and group of layers (:func:`skill_table`); `rows` every
    measured layer with the prediction of each method, kg m-3; `parameters` those of every site;
    `stocks` the coverage of the intervals of stocks.
    """

    skill: pd.DataFrame
    rows: pd.DataFrame
    parameters: pd.DataFrame
    intervals: dict[str, Intervals]
    stocks: dict[str, Any]
    residual: BoostedResidual | None
    streams: pd.DataFrame | None = None
    """Every value beside carbon (:func:`held_out_streams`); None: nothing was learnt from any."""

    @cached_property
    def skill_of_streams(self) -> pd.DataFrame | None:
        """How each method meets data beside carbon (:func:`stream_skill`), if there are any."""
        return None if self.streams is None else stream_skill(self.streams)

    def write(self, folder: Path) -> None:
        """Write the tables, and the residual if there is one, into the folder of a network."""
        if self.residual is not None:
            write_residual(folder, self.residual)
        self.skill.to_csv(folder / SKILL_CARBON, index=False)
        self.rows.to_parquet(folder / HELD_OUT, index=False)
        self.parameters.to_parquet(folder / HELD_OUT_PARAMETERS, index=False)
        if self.streams is not None and self.skill_of_streams is not None:
            self.streams.to_parquet(folder / HELD_OUT_STREAMS, index=False)
            self.skill_of_streams.to_csv(folder / STREAM_SKILL, index=False)


def judge_places_left_out(
    sites: CarbonSites,
    trained: TrainedFamilies,
    fold: Int[np.ndarray, " site"],
    fitted: Mapping[str, Baseline],
    residual: bool,
    settings: EndToEndSettings,
    tell: Callable[[str], None],
) -> PlacesLeftOut:
    """Evaluate every method at the sites of each fold, fitted without that fold.

    Parameters
    ----------
    fold
        Fold of each site.
    fitted
        Baselines fitted to all sites, by name; each is fitted again without each fold.
    residual
        Whether a share of boosting is kept too.
    """
    tell("held-out places")
    model = sites.layers.model
    members = {
        f: physical(trained.shares(f, np.flatnonzero(fold == f)), model)
        for f in np.unique(fold).tolist()
    }
    answers = _left_out_answers(sites, trained, members, fold, tuple(fitted), settings)
    kept = None
    if residual:
        kept, answers = _with_residual(sites, answers, fold, fitted[BOOSTING], trained.n_inputs)
    scale = trained.error_scale()
    intervals = intervals_of(sites, answers, scale)
    answers, stocks = crossed(sites, answers, fold, scale)
    return PlacesLeftOut(
        skill_table(sites, answers, groups(sites)),
        _rows(sites, answers, fold),
        _unseen_parameters(sites, fold, members),
        intervals,
        stocks,
        kept,
        _streams(sites, trained, members, fold),
    )


def _streams(
    sites: CarbonSites,
    trained: TrainedFamilies,
    members: Mapping[int, np.ndarray],
    fold: np.ndarray,
) -> pd.DataFrame | None:
    """Predict the data beside carbon at held-out places, if networks have learnt from any."""
    if not trained.tables:
        return None
    model = sites.layers.model
    return held_out_streams(
        sites.layers,
        trained.tables,
        fold,
        members,
        {f: physical(trained.constants[f], model) for f in members},
        {f: trained.stream_parameters(f, model) for f in members},
    )


def baseline_answer(
    baseline: Baseline, sites: CarbonSites, inputs: Float[np.ndarray, "site input"]
) -> Answer:
    """Carbon by a method without a soil model."""
    site, depth, _ = layer_table(sites)
    carbon = np.exp(baseline.predict(inputs, site, depth)) / 1000.0
    return Answer(carbon, np.ones(len(sites), bool), np.zeros(len(carbon)))


def residual_answer(
    network: Answer,
    sites: CarbonSites,
    residual: BoostedResidual,
    inputs: Float[np.ndarray, "site input"],
) -> Answer:
    """Carbon of a network with the boosted residual."""
    site, depth, _ = layer_table(sites)
    added = residual.predict(inputs, site, depth, least_log(network))
    return _added(network, added)


def _added(network: Answer, residual: np.ndarray) -> Answer:
    return Answer(np.exp(least_log(network) + residual), network.feasible, network.spread)


def _with_residual(
    sites: CarbonSites,
    answers: dict[str, Answer],
    fold: np.ndarray,
    boosting: Baseline,
    inputs: int,
) -> tuple[BoostedResidual, dict[str, Answer]]:
    """Fit the share of boosting at all held-out layers, and evaluate it on the other folds."""
    site, _, carbon = layer_table(sites)
    known, expected = least_log(answers[NETWORK]), least_log(answers[BOOSTING])
    goal, used = np.log(carbon / 1000.0), sites.layers.used
    added = crossed_residual(known, expected, goal, site, fold[site], used)
    use = used & np.isfinite(known)
    share = fit_share(known[use], expected[use], goal[use], site[use])
    ordered = {NETWORK: answers[NETWORK], RESIDUAL: _added(answers[NETWORK], added)}
    return BoostedResidual(share, boosting, inputs), ordered | answers


def fit_to_sites(
    name: str, sites: CarbonSites, inputs: np.ndarray, settings: EndToEndSettings
) -> Baseline:
    """Fit a baseline to the layers of some sites."""
    site, depth, carbon = layer_table(sites)
    used = sites.layers.used
    return fit_baseline(
        name, inputs, site[used], depth[used], carbon[used], settings.hidden, settings.seed
    )


def _left_out_answers(
    sites: CarbonSites,
    trained: TrainedFamilies,
    members: Mapping[int, np.ndarray],
    fold: np.ndarray,
    baselines: tuple[str, ...],
    settings: EndToEndSettings,
) -> dict[str, Answer]:
    """Carbon at every site by methods fitted without its fold."""
    n, layers = len(sites.layers.row_site), sites.layers
    names = (NETWORK, CONSTANT, *baselines)
    carbon = {name: np.full(n, np.nan) for name in names}
    spread = {name: np.zeros(n) for name in names}
    feasible = {name: np.zeros(len(sites), bool) for name in names}
    for f, own_members in members.items():
        test, rest = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        inputs = trained.inputs.of(f)
        own, known = sites.select(test), sites.select(rest)
        one = np.tile(physical(trained.constants[f], layers.model), (len(test), 1))
        answers = {
            NETWORK: answer_of_members(own.layers, own_members),
            CONSTANT: answer_of_carbon(held_out_carbon(own.layers, one, CONSTANT)),
        }
        for name in baselines:
            answers[name] = baseline_answer(
                fit_to_sites(name, known, inputs[rest], settings), own, inputs[test]
            )
        rows = np.isin(layers.row_site, test)
        for name, answer in answers.items():
            carbon[name][rows], spread[name][rows] = answer.carbon, answer.spread
            feasible[name][test] = answer.feasible
    out = {name: Answer(carbon[name], feasible[name], spread[name]) for name in names}
    return out | {DEFAULT: answer_of_carbon(default_carbon(layers))}


def _unseen_parameters(
    sites: CarbonSites, fold: np.ndarray, members: Mapping[int, np.ndarray]
) -> pd.DataFrame:
    """Return the mean parameters of every site by networks trained without it."""
    rows = sites.layers.model.rows
    values = np.full((len(sites), len(rows)), np.nan)
    for f, own in members.items():
        values[fold == f] = own.mean(axis=0)
    columns = {row.name: values[:, j] for j, row in enumerate(rows)}
    return pd.DataFrame({"site": sites.layers.profiles.site, "fold": fold, **columns})


def _rows(sites: CarbonSites, answers: dict[str, Answer], fold: np.ndarray) -> pd.DataFrame:
    """Every measured layer with the prediction of each method, kg m-3."""
    p, site = sites.layers.profiles, sites.layers.row_site
    columns: dict[str, Any] = {
        "site": p.site[site],
        "upper": p.upper,
        "lower": p.lower,
        "fold": fold[site],
        "latitude": p.latitude[site],
        "longitude": p.longitude[site],
        "used": sites.layers.used,
        "observed": p.carbon / 1000.0,
    }
    for name, answer in answers.items():
        columns[name] = answer.carbon
    for name in (NETWORK, RESIDUAL):
        if name not in answers:
            continue
        for end, values in (("lower", answers[name].lower), ("upper", answers[name].upper)):
            if values is not None:
                columns[f"{name}_{end}"] = np.exp(values) / 1000.0
    return pd.DataFrame(columns)
