"""From profiles, forcing and covariates to a network in a folder, without any assimilation."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from proda import files
from proda.drivers.rules import rules_of
from proda.errors import LearningError
from proda.layout import HELD_OUT_PARAMETERS, TRAINING, training_of
from proda.learning import carbon_baselines
from proda.learning.applicability import fit_range
from proda.learning.archive import versions, write_archive
from proda.learning.boosted_residual import (
    BoostedResidual,
    crossed_residual,
    fit_share,
    write_residual,
)
from proda.learning.calibrated import crossed, intervals_of
from proda.learning.carbon import default_carbon, held_out_carbon
from proda.learning.carbon_baselines import BASELINES, BOOSTING, Baseline, fit_baseline
from proda.learning.carbon_sites import CarbonSites, read_carbon_sites
from proda.learning.end_to_end import (
    default_share,
    error_scale,
    fit_constants,
    named,
    physical,
    problem_of,
    starts_of,
    train_through,
)
from proda.learning.end_to_end_inputs import EndToEndInputs, end_to_end_inputs, with_covariates
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.ensemble import Ensemble
from proda.learning.families import Family, correcting_runs
from proda.learning.features import Missing
from proda.learning.inverted_inputs import inverted_inputs
from proda.learning.splits import NO_FOLD, plan, random_folds, spatial_folds
from proda.learning.store import save_ensemble
from proda.learning.train import Progress
from proda.learning.unseen import (
    Answer,
    answer_of_carbon,
    answer_of_members,
    groups,
    least_log,
    skill_table,
)
from proda.learning.unseen_file import write_unseen
from proda.models.outside import provenance
from proda.validation_settings import END_TO_END, FOLDS, SPLIT, Split

"""How sites are divided into folds: whole blocks of the map, or at random."""

NETWORK, CONSTANT, DEFAULT = "network", "constant", "default"
RESIDUAL = "network_and_residual"
"""The network's carbon, and gradient boosting of what it leaves."""
BASELINE_FILE = "baselines.npz"
FORCING_RULES = "forcing_rules"
"""Entry of `TRAINING` with the rules by which the forcing was estimated."""
SKILL, HELD_OUT, LEFT_OUT = "skill_carbon.csv", "held_out.parquet", "left_out.csv"


@dataclass(frozen=True)
class ThroughResult:
    """What an end-to-end training wrote."""

    folder: Path
    ensemble: Ensemble
    constant: dict[str, float]
    """Calibrated constant: one value per parameter, physical units."""
    skill: pd.DataFrame | None
    """Of sites left out (`skill_table`); None without folds."""
    left_out: pd.DataFrame
    seconds: float


def train_end_to_end(
    covariates: str | os.PathLike[str],
    network: str | os.PathLike[str],
    *,
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    model: str,
    variant: str = "default",
    settings: EndToEndSettings | None = None,
    folds: int = FOLDS,
    fold_members: int = END_TO_END,
    split: Split = SPLIT,
    baselines: tuple[str, ...] = BASELINES,
    residual: bool = False,
    missing: Missing = "leave_out",
    progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> ThroughResult:
    """Train networks through the soil model on all profiles, and judge them by places left out.

    An interrupted call resumes from its checkpoint, a hidden folder beside `network`, when it is
    repeated with the same data and settings.

    Parameters
    ----------
    covariates
        Covariates of the sites (.parquet), of `proda covariates build --sites`.
    network
        Folder to write; a network there is replaced, anything else refused.
    profiles, forcing
        Folder of `proda profiles build`, and forcing at these sites.
    model, variant
        The soil model.
    settings
        Default: ours.
    folds, fold_members, split
        Folds left out in turn (0: none, and then no skill and no intervals), networks in each,
        and how sites are divided.
    baselines
        Methods without a soil model to compare with.
    residual
        Also keep a product that carries no mechanism: the network's carbon and a share of what
        boosting expects beyond it. It needs folds, at which the share is found.
    missing
        Sites that lack a covariate: "leave_out" lists them, "median" fills them in.

    Raises
    ------
    FileError, LearningError
        Naming what is absent, damaged or does not fit.
    """
    begun = time.monotonic()
    tell = on_stage or (lambda _: None)
    settings = EndToEndSettings() if settings is None else settings
    if split not in get_args(Split):
        raise LearningError(f"split = {split!r}; choose one of {', '.join(get_args(Split))}.")
    if unknown := sorted(set(baselines) - set(BASELINES)):
        raise LearningError(
            f"Unknown baseline: {', '.join(unknown)}; known: {', '.join(BASELINES)}."
        )
    if residual and not folds:
        raise LearningError(
            f"A residual needs folds: it is fitted at held-out sites; folds = {folds}."
        )
    if residual and BOOSTING not in baselines:
        raise LearningError(f"A residual is a share of the baseline {BOOSTING}; name it, too.")
    tell("reading")
    target = Path(network)
    table = files.read_parquet(covariates, needed=("site",))
    sites = read_carbon_sites(profiles, forcing, table, model, variant)
    network_settings = settings.network()
    sites, filled = with_covariates(sites, settings, missing)
    fold = _folds(sites, folds, split, settings) if folds else None
    p = sites.layers.profiles
    design = plan(p.latitude, p.longitude, network_settings, fold, fold_members if folds else 0)
    correcting = correcting_runs(design, settings)
    tell("preparing")
    problem = problem_of(sites.layers, settings)
    firsts = np.array([int(np.flatnonzero(design.fold == f)[0]) for f in np.unique(design.fold)])
    tell("calibrated constant")
    default = default_share(sites.layers)
    constants, _ = fit_constants(problem, default, design.select(firsts), settings, progress)
    of_fold = dict(zip(design.fold[firsts].tolist(), constants, strict=True))
    inputs = end_to_end_inputs(sites, of_fold, settings, missing)
    tell("training")
    checkpoint = training_of(target)
    seeing = design.select(np.flatnonzero(~correcting))
    trained = train_through(
        inputs.by_fold,
        problem,
        starts_of(seeing, of_fold, default, settings),
        seeing,
        settings,
        checkpoint / "first",
        progress,
    )
    families = [Family(trained, lambda fold: (inputs.of(fold), None))]
    further = None
    if correcting.any():
        tell("inversion of boosted carbon")
        # two folds would leave nothing to learn from beside a fold and a group
        group = fold if fold is not None and folds > 2 else _folds(sites, FOLDS, split, settings)
        own_fold = np.full(len(sites), NO_FOLD - 1) if fold is None else fold
        further = inverted_inputs(sites, inputs, of_fold, own_fold, group, settings)
        tell("training on the inversion")
        own = design.select(np.flatnonzero(correcting))
        corrected = train_through(
            further.by_fold,
            problem,
            further.start[np.searchsorted(further.folds, own.fold)],
            own,
            settings.inverted(),
            checkpoint / "inverted",
            progress,
            offset=further.offset,
        )
        families.append(Family(corrected, further.of))
    del problem
    wholes = [
        one.trained.select(np.flatnonzero(one.trained.plan.fold == NO_FOLD)) for one in families
    ]
    names = tuple(row.name for row in sites.layers.model.rows)
    ensemble = Ensemble(
        wholes[0].networks,
        inputs.features,
        fit_range(inputs.table, inputs.features),
        None,
        sites.layers.model.name,
        sites.layers.model.variant,
        names,
        np.array([row.lower for row in sites.layers.model.rows]),
        np.array([row.upper for row in sites.layers.model.rows]),
        network_settings,
        len(sites),
        pd.concat([whole.table() for whole in wholes], ignore_index=True),
        inputs.reference,
        provenance(sites.layers.model),
        None if further is None else further.members(wholes[1].networks),
    )
    values = named(of_fold[NO_FOLD], sites.layers.model)
    scales = np.concatenate([error_scale(whole) for whole in wholes])
    scale = np.exp(np.log(scales).mean(axis=0))
    tell("methods without a soil model")
    fitted = [_fit(name, sites, inputs.of(NO_FOLD), settings) for name in baselines]
    skill, intervals, rows, stocks, left = None, {}, None, {}, None
    unseen: pd.DataFrame | None = None
    if fold is not None:
        tell("places left out")
        answers = _left_out_answers(sites, inputs, fold, families, of_fold, baselines, settings)
        if residual:
            tell("residual")
            trees = fitted[baselines.index(BOOSTING)]
            n_inputs = inputs.by_fold.shape[2]
            left, answers = _with_residual(sites, answers, fold, trees, n_inputs)
        intervals = intervals_of(sites, answers, scale)
        answers, stocks = crossed(sites, answers, fold, scale)
        skill = skill_table(sites, answers, groups(sites))
        rows = _rows(sites, answers, fold)
        unseen = _unseen_parameters(sites, fold, families)
    result = ThroughResult(
        target, ensemble, values, skill, sites.left_out, time.monotonic() - begun
    )
    header = {
        "route": "end-to-end",
        "model": sites.layers.model.name,
        "variant": variant,
        **provenance(sites.layers.model),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "inputs": {
            "covariates": str(covariates),
            "profiles": str(profiles),
            "forcing": str(forcing),
        },
        FORCING_RULES: rules_of(forcing),
        "settings": settings.as_dict(),
        "cross_validation": {"folds": folds, "members": fold_members, "split": split},
        "stocks_left_out": stocks,
        "sites": len(sites),
        "left_out": len(sites.left_out),
        "left_out_by_reason": sites.left_out["reason"].value_counts().to_dict(),
        "filled": filled,
        "constant_covariates": list(inputs.features.constant),
        "seconds": round(result.seconds, 1),
    }

    def beside(folder: Path) -> None:
        write_unseen(
            folder, values, scale.tolist(), {name: one.as_dict() for name, one in intervals.items()}
        )
        (folder / TRAINING).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        write_archive(
            folder / BASELINE_FILE, {"kind": "baselines"}, carbon_baselines.as_arrays(fitted)
        )
        if left is not None:
            write_residual(folder, left)
        sites.left_out.to_csv(folder / LEFT_OUT, index=False)
        if skill is not None and rows is not None:
            skill.to_csv(folder / SKILL, index=False)
            rows.to_parquet(folder / HELD_OUT, index=False)
        if unseen is not None:
            unseen.to_parquet(folder / HELD_OUT_PARAMETERS, index=False)

    tell("writing")
    save_ensemble(ensemble, target, beside)
    shutil.rmtree(checkpoint, ignore_errors=True)
    return result


def layer_table(sites: CarbonSites) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the site, the middle depth (m) and the carbon (g m-3) of every measured layer."""
    p = sites.layers.profiles
    return sites.layers.row_site, 0.5 * (p.upper + p.lower), p.carbon


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
    """Carbon of a network, and boosting of what networks leave."""
    site, depth, _ = layer_table(sites)
    added = residual.predict(inputs, site, depth, least_log(network))
    return _added(network, added)


def _added(network: Answer, residual: np.ndarray) -> Answer:
    return Answer(np.exp(least_log(network) + residual), network.found, network.spread)


def _with_residual(
    sites: CarbonSites,
    answers: dict[str, Answer],
    fold: np.ndarray,
    boosting: Baseline,
    inputs: int,
) -> tuple[BoostedResidual, dict[str, Answer]]:
    """Find the share of boosting at all layers left out, and judge it by folds it has not seen."""
    site, _, carbon = layer_table(sites)
    known, expected = least_log(answers[NETWORK]), least_log(answers[BOOSTING])
    goal, used = np.log(carbon / 1000.0), sites.layers.used
    added = crossed_residual(known, expected, goal, site, fold[site], used)
    use = used & np.isfinite(known)
    share = fit_share(known[use], expected[use], goal[use], site[use])
    ordered = {NETWORK: answers[NETWORK], RESIDUAL: _added(answers[NETWORK], added)}
    return BoostedResidual(share, boosting, inputs), ordered | answers


def _folds(
    sites: CarbonSites, k: int, split: Split, settings: EndToEndSettings
) -> Int[np.ndarray, " site"]:
    p = sites.layers.profiles
    if split == "random":
        return random_folds(len(sites), k, settings.seed)
    degrees = float(split.partition("-")[0])
    return spatial_folds(p.latitude, p.longitude, k, degrees, settings.seed)


def _fit(name: str, sites: CarbonSites, inputs: np.ndarray, settings: EndToEndSettings) -> Baseline:
    site, depth, carbon = layer_table(sites)
    used = sites.layers.used
    return fit_baseline(
        name, inputs, site[used], depth[used], carbon[used], settings.hidden, settings.seed
    )


def _left_out_answers(
    sites: CarbonSites,
    all_inputs: EndToEndInputs,
    fold: np.ndarray,
    families: list[Family],
    constants: dict[int, np.ndarray],
    baselines: tuple[str, ...],
    settings: EndToEndSettings,
) -> dict[str, Answer]:
    """Carbon at every site by methods that have not seen its fold."""
    n, layers = len(sites.layers.row_site), sites.layers
    names = (NETWORK, CONSTANT, *baselines)
    carbon = {name: np.full(n, np.nan) for name in names}
    spread = {name: np.zeros(n) for name in names}
    found = {name: np.zeros(len(sites), bool) for name in names}
    for f in np.unique(fold).tolist():
        test, rest = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        inputs = all_inputs.of(f)
        own, known = sites.select(test), sites.select(rest)
        shares = np.concatenate([one.shares(f, test) for one in families])
        members = physical(shares, layers.model)
        one = np.tile(physical(constants[f], layers.model), (len(test), 1))
        answers = {
            NETWORK: answer_of_members(own.layers, members),
            CONSTANT: answer_of_carbon(held_out_carbon(own.layers, one, CONSTANT)),
        }
        for name in baselines:
            answers[name] = baseline_answer(
                _fit(name, known, inputs[rest], settings), own, inputs[test]
            )
        rows = np.isin(layers.row_site, test)
        for name, answer in answers.items():
            carbon[name][rows], spread[name][rows] = answer.carbon, answer.spread
            found[name][test] = answer.found
    out = {name: Answer(carbon[name], found[name], spread[name]) for name in names}
    return out | {DEFAULT: answer_of_carbon(default_carbon(layers))}


def _unseen_parameters(
    sites: CarbonSites, fold: np.ndarray, families: list[Family]
) -> pd.DataFrame:
    """Return the parameters of every site by networks that have not seen it: their mean."""
    model = sites.layers.model
    values = np.full((len(sites), len(model.rows)), np.nan)
    for f in np.unique(fold).tolist():
        test = np.flatnonzero(fold == f)
        shares = np.concatenate([one.shares(f, test) for one in families])
        values[test] = physical(shares, model).mean(axis=0)
    columns = {row.name: values[:, j] for j, row in enumerate(model.rows)}
    return pd.DataFrame({"site": sites.layers.profiles.site, "fold": fold, **columns})


def _rows(sites: CarbonSites, answers: dict[str, Answer], fold: np.ndarray) -> pd.DataFrame:
    """Every measured layer beside what each method says of it, kg m-3."""
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
