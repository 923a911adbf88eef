"""Rules for the paper's findings on data assimilation at sites."""

from __future__ import annotations

import numpy as np
import pandas as pd

from proda.comparison.evidence import Evidence, NotJudged
from proda.comparison.finding_rules import FindingVerdict, Judgement, Rule, decide
from proda.comparison.paper import PAIR, PARAMETER_VALUES

WEAK = 0.10
"""A posterior that is narrower than the prior by less than this share counts as flat."""
SAME_R2 = 0.05
"""Efficiencies with a smaller difference count as similar."""
CONVERGED, LOOSE = ("CUE", "A", "K", "xi"), ("V", "B")
"""Components with constrained and with unconstrained parameters according to the paper."""


def defaults_left(e: Evidence) -> Judgement:
    """Judge whether posteriors differ from defaults: at most sites for some parameter."""
    parts, holds = [], True
    for model in PAIR:
        rows = e.rows("parameters", f"needs the summary of {model}", model=model)
        rows = rows.dropna(subset=["default_outside"])
        if not len(rows):
            raise NotJudged(f"no parameter of {model} has one default for all sites")
        top = rows.sort_values("default_outside").iloc[-1]
        parts.append(
            f"{model}: mean share {rows['default_outside'].mean():.0%}, most "
            f"{top['parameter']} {top['default_outside']:.0%}"
        )
        holds &= bool(top["default_outside"] > 0.5)
    return decide(
        "sites whose 5-95 % interval does not contain the default: " + "; ".join(parts), holds
    )


def weakly_identified(model: str) -> Rule:
    """Judge whether more than half of a model's parameters are hardly constrained at most sites."""

    def judge(e: Evidence) -> Judgement:
        rows = e.rows("parameters", f"needs the summary of {model}", model=model)
        flat = int((rows["spread_reduction"] < WEAK).sum())
        says = f"{flat} of {len(rows)} parameters: posterior less than 10 % narrower (median site)"
        return decide(says, flat > len(rows) / 2)

    return judge


def constrained_components_converge(e: Evidence) -> Judgement:
    """Judge whether parameters of CTE, K, XI gain more information than those of V and B."""
    parts, signs = [], []
    for model in PAIR:
        rows = e.rows("parameters", f"needs the summary of {model}", model=model)
        best = rows.groupby("component")["information_gain"].max()
        tight = best[[c for c in CONVERGED if c in best]]
        loose = best[[c for c in LOOSE if c in best]]
        parts.append(f"{model}: " + ", ".join(f"{c} {v:.2f}" for c, v in best.items()) + " bit")
        signs.append(bool(tight.min() > loose.max()))
    says = "best constrained parameter of each component, median information gain: " + "; ".join(
        parts
    )
    return decide(says, all(signs))


def similar_fit(e: Evidence) -> Judgement:
    """Judge whether both models explain the profiles equally well: log R2 within 0.05."""
    a, b = (e.one("fit", f"needs the summary of {m}", model=m) for m in PAIR)
    if not a["common"]:
        raise NotJudged("no site is kept for both models")
    says = (
        f"log R2 of {a['layers']:,} layers of {a['common']:,} sites: CLM5 {a['log_r2']:.3f}, "
        f"COMPAS {b['log_r2']:.3f}; median NSE {a['nash_sutcliffe']:.2f}, "
        f"{b['nash_sutcliffe']:.2f}"
    )
    return decide(says, bool(abs(a["log_r2"] - b["log_r2"]) <= SAME_R2))


def similar_skill_on_the_map(e: Evidence) -> Judgement:
    """Judge whether both maps explain reference maps equally well: r2 within 0.05, for each map."""
    table = e.rows(
        "references", "needs a reference map", stock="cSoilAbove1m", state="after", zone="globe"
    )
    parts, near = [], []
    for source, rows in table.groupby("source"):
        r = rows.set_index("model")["r_log"]
        if not set(PAIR) <= set(r.index):
            raise NotJudged(f"needs maps of {' and '.join(PAIR)}")
        parts.append(f"{source}: r2 CLM5 {r[PAIR[0]] ** 2:.2f}, COMPAS {r[PAIR[1]] ** 2:.2f}")
        near.append(abs(r[PAIR[0]] ** 2 - r[PAIR[1]] ** 2) <= SAME_R2)
    return decide("; ".join(parts), all(near))


def nonlinear_not_better(e: Evidence) -> Judgement:
    """Judge whether COMPAS is not preferred: the interval of the median is not above 0."""
    row = e.preference().iloc[0]
    return decide(_median(row), bool(row["low"] <= 0))


def equally_effective(e: Evidence) -> Judgement:
    """Judge whether evidence is undecided (|difference| < 3) at most sites."""
    row = e.preference().iloc[0]
    decided = row["share_second_by_3"] + row["share_first_by_3"]
    says = (
        f"|difference| < 3 at {1 - decided:.0%} of sites; COMPAS better by 3 at "
        f"{row['share_second_by_3']:.0%}, CLM5 at {row['share_first_by_3']:.0%}"
    )
    return decide(says, bool(decided < 0.5))


def _median(row: pd.Series) -> str:
    return (
        f"log evidence, COMPAS - CLM5: median {row['median']:+.2f} ({row['low']:+.2f} to "
        f"{row['high']:+.2f}), COMPAS preferred at {row['prefer_second']:.0%} of "
        f"{row['sites']:,} sites"
    )


def differs_by_climate(e: Evidence) -> Judgement:
    """Judge whether the preferred model depends on the zone: intervals of medians do not overlap.

    Zones with at least 20 sites are used, by Köppen class where known, otherwise by latitude.
    """
    e.preference()  # raises the reason if there is no result
    try:
        rows = e.preference(grouping="koppen")
    except NotJudged:
        rows = e.preference(grouping="latitude")
    rows = rows[rows["sites"] >= 20].dropna(subset=["low", "high"])
    if len(rows) < 2:
        raise NotJudged("fewer than two zones with 20 sites")
    says = "median log evidence, COMPAS - CLM5: " + ", ".join(
        f"{r.zone} {r.median:+.2f} ({r.low:+.2f} to {r.high:+.2f}, n {r.sites:.0f})"
        for r in rows.rename(columns={"median": "median"}).itertuples()
    )
    return decide(says, bool(rows["low"].max() > rows["high"].min()))


def parameter_values(model: str) -> Rule:
    """State the number of estimated values; a count for other data cannot confirm a finding."""

    def judge(e: Evidence) -> Judgement:
        rows = e.rows("parameters", f"needs the summary of {model}", model=model)
        n = int(len(rows) * rows["sites"].iloc[0])
        says = f"{n:,} ({len(rows)} parameters at {rows['sites'].iloc[0]:,} sites)"
        ratio = n / PARAMETER_VALUES[model]
        reason = f"the number follows from the choice of sites ({ratio:.1%} here)"
        return Judgement(says, FindingVerdict.UNDECIDED, reason)

    return judge


def compas_harder(e: Evidence) -> Judgement:
    """Judge whether fewer sites converge with COMPAS."""
    a, b = (e.one("fit", f"needs the summary of {m}", model=m) for m in PAIR)
    says = f"converged: CLM5 {a['converged']:.1%}, COMPAS {b['converged']:.1%}"
    noise = np.hypot(*(np.sqrt(x["converged"] * (1 - x["converged"]) / x["sites"]) for x in (a, b)))
    if abs(a["converged"] - b["converged"]) <= 1.96 * noise:
        return Judgement(
            says, FindingVerdict.UNDECIDED, "the difference between the shares may be due to chance"
        )
    return decide(says, bool(b["converged"] < a["converged"]))
