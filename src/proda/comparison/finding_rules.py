"""Rules for judging findings: from numbers of a run to a verdict with its basis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from proda.comparison.evidence import Evidence
from proda.comparison.paper import CORRELATIONS, MICHAELIS_RATIO, PAIR, TOTALS
from proda.comparison.spatial import difference_of_correlations

CLM5, COMPAS = PAIR
WORDS = {"clm5": "CLM5", "compas": "COMPAS"}
ANSWERED = 0.9
"""Minimum share of the land that a total must cover to be judged, mean over members."""
TOLERANCE = 0.10
"""Relative difference below which totals and magnitudes count as the same."""


class FindingVerdict(StrEnum):
    """The verdict of a run on a finding."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "cannot be judged"


@dataclass(frozen=True)
class Judgement:
    """The result of a run: numbers with uncertainty, the verdict, and the reason if undecided."""

    says: str
    verdict: FindingVerdict
    reason: str = ""


Rule = Callable[[Evidence], Judgement]


def decide(says: str, holds: bool) -> Judgement:
    """Return agrees or disagrees."""
    return Judgement(says, FindingVerdict.AGREES if holds else FindingVerdict.DISAGREES)


def _r(row: object) -> str:
    r, low, high, n = (row[k] for k in ("r", "low", "high", "n_effective"))  # type: ignore[index]
    return f"r = {r:.2f} ({low:.2f} to {high:.2f}, n_eff {n:.0f} of {row['n']:,})"  # type: ignore[index]


def correlation_is(variable: str, state: str) -> Rule:
    """Judge whether the paper's r lies in the run's 95 % interval."""

    def judge(e: Evidence) -> Judgement:
        row, paper = e.correlation(variable, state), CORRELATIONS[variable, state]
        if not np.isfinite(row["low"]):
            return Judgement(_r(row), FindingVerdict.UNDECIDED, "too few independent cells")
        return decide(_r(row), bool(row["low"] <= paper <= row["high"]))

    return judge


def correlation_differs_from_0(variable: str, state: str, sign: int = 0) -> Rule:
    """Judge whether r differs from 0 (p < 0.05, modified t test), on the given side."""

    def judge(e: Evidence) -> Judgement:
        row = e.correlation(variable, state)
        if not np.isfinite(row["p"]):
            return Judgement(_r(row), FindingVerdict.UNDECIDED, "too few independent cells")
        says = f"{_r(row)}; p = {row['p']:.2g} (naive {row['p_naive']:.2g})"
        side = sign == 0 or np.sign(row["r"]) == sign
        return decide(says, bool(row["p"] < 0.05 and side))

    return judge


def correlation_rises(variable: str) -> Rule:
    """Judge whether r rises: the 95 % interval of after - before lies above 0 or below."""

    def judge(e: Evidence) -> Judgement:
        before, after = (e.correlation(variable, s) for s in ("before", "after"))
        gain, low, high = difference_of_correlations(
            (before["r"], before["n_effective"]), (after["r"], after["n_effective"])
        )
        says = f"{before['r']:.2f} -> {after['r']:.2f}: {gain:+.2f} ({low:+.2f} to {high:+.2f})"
        if not np.isfinite(low) or low <= 0 <= high:
            return Judgement(
                says, FindingVerdict.UNDECIDED, "the interval of the change contains 0"
            )
        return decide(says, low > 0)

    return judge


def projections_converge(experiment: str) -> Rule:
    """Judge whether the changes that two models project correlate more when constrained."""

    def judge(e: Evidence) -> Judgement:
        missing = "needs projections of both models (the table [projection] of a study)"
        judgements = []
        for state in ("before", "after"):
            rows = e.rows(
                "projections",
                missing,
                first=PAIR[0],
                second=PAIR[1],
                state=state,
                experiment=experiment,
            )
            timed = rows[pd.to_numeric(rows["years"], errors="coerce").notna()]
            judgements.append(timed.iloc[-1])
        before, after = judgements
        gain, low, high = difference_of_correlations(
            (before["r"], before["n_effective"]), (after["r"], after["n_effective"])
        )
        says = (
            f"{experiment}, {after['years']} years: r of the changes {before['r']:.2f} -> "
            f"{after['r']:.2f}: {gain:+.2f} ({low:+.2f} to {high:+.2f}); today's carbon "
            f"{before['r_today']:.2f} -> {after['r_today']:.2f}"
        )
        if not np.isfinite(low) or low <= 0 <= high:
            return Judgement(
                says, FindingVerdict.UNDECIDED, "the interval of the change contains 0"
            )
        return decide(says, low > 0)

    return judge


def no_agreement(variable: str) -> Rule:
    """Judge whether there is no agreement after: the interval contains 0, or r is at most 0."""

    def judge(e: Evidence) -> Judgement:
        row = e.correlation(variable, "after")
        if not np.isfinite(row["low"]):
            return Judgement(_r(row), FindingVerdict.UNDECIDED, "too few independent cells")
        return decide(_r(row), bool(row["low"] <= 0))

    return judge


def total_is(model: str, state: str) -> Rule:
    """Judge whether the total is within 10 % of the paper's, or that in the members' range."""

    def judge(e: Evidence) -> Judgement:
        row, paper = e.total(model, state), TOTALS[model, state]
        says, inside = f"{row['mean']:,.0f} Pg C", False
        if np.isfinite(row["q05"]):
            says += f" ({row['q05']:,.0f} to {row['q95']:,.0f})"
            inside = row["q05"] <= paper <= row["q95"]
        says += f", {row['mean'] / paper - 1:+.0%}, of {row['answered']:.1%} of the land"
        if not row["answered"] >= ANSWERED:
            return Judgement(says, FindingVerdict.UNDECIDED, "much of the land has no result")
        if inside and row["q95"] > 2.0 * row["q05"]:
            return Judgement(
                says, FindingVerdict.UNDECIDED, "the members differ by more than a factor of 2"
            )
        return decide(says, bool(inside or abs(row["mean"] / paper - 1) <= TOLERANCE))

    return judge


def region_mean(
    model: str, state: str, region: str, above: float | None = None, below: float | None = None
) -> Rule:
    """Judge whether a region's mean stock (kg m-2, 0-100 cm) is above or below a number."""

    def judge(e: Evidence) -> Judgement:
        row = e.region(model, state, region)
        says = f"mean {row['mean']:.1f}{_members(row)}, median {row['median']:.1f} kg m-2"
        high = above is None or row["mean"] > above
        return decide(says, bool(high and (below is None or row["mean"] < below)))

    return judge


def _members(row: object) -> str:
    low, high = row.get("mean_q05", np.nan), row.get("mean_q95", np.nan)  # type: ignore[attr-defined]
    return f" ({low:.1f} to {high:.1f})" if np.isfinite(low) else ""


def region_above_region(
    model: str, state: str, high: str, low: str, variable: str = "cSoilAbove1m"
) -> Rule:
    """Judge whether one region's mean exceeds another's."""

    def judge(e: Evidence) -> Judgement:
        a, b = (e.region(model, state, name, variable) for name in (high, low))
        says = (
            f"{high} {a['mean']:.3g}{_members(a)}, {low} {b['mean']:.3g}{_members(b)}; "
            f"medians {a['median']:.3g}, {b['median']:.3g}"
        )
        if (a["mean"] > b["mean"]) != (a["median"] > b["median"]):
            return Judgement(
                says, FindingVerdict.UNDECIDED, "means and medians have different orders"
            )
        return decide(says, bool(a["mean"] > b["mean"]))

    return judge


def zone_is_extreme(model: str, state: str, zone: str, variable: str, highest: bool) -> Rule:
    """Judge whether a zone has the highest (lowest) mean of boreal, temperate and tropics."""

    def judge(e: Evidence) -> Judgement:
        zones = ("boreal", "northern temperate", "tropics", "southern temperate")
        means = {z: e.region(model, state, z, variable)["mean"] for z in zones}
        says = ", ".join(f"{z} {m:.3g}" for z, m in means.items())
        best = (max if highest else min)(means, key=lambda z: means[z])
        return decide(says, best == zone)

    return judge


def region_among_highest(model: str, region: str) -> Rule:
    """Judge whether a region's median stock after exceeds that of three quarters of the land."""

    def judge(e: Evidence) -> Judgement:
        row, globe = e.region(model, "after", region), e.region(model, "after", "globe")
        says = f"median {row['median']:.1f}; a quarter of land above {globe['q75']:.1f} kg m-2"
        return decide(says, bool(row["median"] > globe["q75"]))

    return judge


def region_rises(model: str, region: str) -> Rule:
    """Judge whether a region's mean stock is larger after than before."""

    def judge(e: Evidence) -> Judgement:
        before, after = (e.region(model, s, region)["mean"] for s in ("before", "after"))
        return decide(f"{before:.1f} -> {after:.1f} kg m-2", bool(after > before))

    return judge


def compas_differs(region: str, variable: str, more: bool) -> Rule:
    """Judge the sign of COMPAS minus CLM5 after, where mean and median agree on it."""

    def judge(e: Evidence) -> Judgement:
        row = e.difference("after", region, variable)
        clm5, compas = (e.region(m, "after", region, variable)["mean"] for m in PAIR)
        says = (
            f"CLM5 {clm5:.3g}, COMPAS {compas:.3g}; difference: mean {row['mean']:+.3g}, "
            f"median {row['median']:+.3g}"
        )
        if np.sign(row["mean"]) != np.sign(row["median"]):
            return Judgement(says, FindingVerdict.UNDECIDED, "mean and median differ in sign")
        return decide(says, bool((row["mean"] > 0) == more))

    return judge


def same_magnitude(variable: str, same: bool) -> Rule:
    """Judge whether the models' means after are within 10 % of each other (not, if not `same`)."""

    def judge(e: Evidence) -> Judgement:
        clm5, compas = (e.region(m, "after", "globe", variable)["mean"] for m in PAIR)
        row = e.correlation(variable, "after")
        says = (
            f"CLM5 {clm5:.3g}, COMPAS {compas:.3g} ({compas / clm5 - 1:+.0%}); concordance "
            f"{row['concordance']:.2f}, slope {row['slope']:.2f}"
        )
        return decide(says, bool((abs(compas / clm5 - 1) <= TOLERANCE) == same))

    return judge


def michaelis_large(substrate: str, where: str) -> Rule:
    """Judge whether the Michaelis constant exceeds 100 times its substrate at most places."""

    def judge(e: Evidence) -> Judgement:
        needs = f"needs {COMPAS} with " + (
            "its summary and forcing at sites" if where == "sites" else "maps"
        )
        row = e.one(
            "michaelis", needs, model=COMPAS, state="after", where=where, substrate=substrate
        )
        says = (
            f"{row['share_over_100']:.0%} over {MICHAELIS_RATIO:g}; median {row['q50']:,.0f} "
            f"(5-95 %: {row['q05']:,.0f} to {row['q95']:,.0f}), n = {row['n']:,}"
        )
        return decide(says, bool(row["share_over_100"] > 0.5))

    return judge


def totals_within_references(e: Evidence) -> Judgement:
    """Judge whether both default totals lie between the lowest and highest reference, +-10 %."""
    table = e.rows(
        "totals",
        state="measured",
        stock="cSoilAbove1m",
        zone="globe",
        missing="needs a reference map",
    )
    low, high = table["mean"].min(), table["mean"].max()
    means = [e.total(m, "before")["mean"] for m in PAIR]
    says = (
        f"CLM5 {means[0]:,.0f}, COMPAS {means[1]:,.0f}; references {low:,.0f} to {high:,.0f} Pg C"
    )
    inside = [(1 - TOLERANCE) * low <= m <= (1 + TOLERANCE) * high for m in means]
    return decide(says, all(inside))


def compas_total_slightly_higher(e: Evidence) -> Judgement:
    """Judge whether COMPAS's total after exceeds CLM5's, by up to 10 %."""
    a, b = (e.total(m, "after") for m in PAIR)
    ratio = b["mean"] / a["mean"] - 1
    says = f"CLM5 {a['mean']:,.0f}, COMPAS {b['mean']:,.0f} Pg C ({ratio:+.1%})"
    return decide(says, bool(0 < ratio <= TOLERANCE))


def same_input(e: Evidence) -> Judgement:
    """Judge whether both models get the same carbon input at every cell."""
    row = e.correlation("I", "after")
    says = f"concordance {row['concordance']:.6f}, root mean square difference {row['rmse']:.2g}"
    return decide(says + " g m-2 yr-1", bool(row["concordance"] > 0.9999))


def compensation(e: Evidence) -> Judgement:
    """Judge whether K differs more where CTE does: r of the two log ratios over land above 0."""
    row = e.one(
        "compensation", "needs maps of clm5 and compas", first=CLM5, second=COMPAS, state="after"
    )
    if not np.isfinite(row["p"]):
        return Judgement(_r(row), FindingVerdict.UNDECIDED, "too few independent cells")
    return decide(f"{_r(row)}; p = {row['p']:.2g}", bool(row["p"] < 0.05 and row["r"] > 0))


def both(*rules: Rule) -> Rule:
    """Judge a finding with several statements, which must all hold."""

    def judge(e: Evidence) -> Judgement:
        judgements = [rule(e) for rule in rules]
        says = "; ".join(f.says for f in judgements)
        if any(f.verdict == FindingVerdict.DISAGREES for f in judgements):
            return Judgement(says, FindingVerdict.DISAGREES)
        open_ = [f.reason for f in judgements if f.verdict == FindingVerdict.UNDECIDED]
        if open_:
            return Judgement(says, FindingVerdict.UNDECIDED, "; ".join(open_))
        return Judgement(says, FindingVerdict.AGREES)

    return judge
