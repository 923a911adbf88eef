"""Data assimilation at the sites: which sites pass, and which parameters are constrained."""

from __future__ import annotations

from proda.inference.assessment import Assessment, by_band, counts, parameter_ranking
from proda.inference.layer_fit import layer_fit
from proda.inference.stream_fit import data_of, stream_fit
from proda.plots import assimilation as site_plots
from proda.plots import assimilation_sites as plots
from proda.plots.streams import stream_scatter
from proda.study.report.assessments import assessment_of
from proda.study.report.comparison_tables import compared
from proda.study.report.elements import Block, Heading, Notice, Table, Text, not_run
from proda.study.report.map_tables import land_of
from proda.study.report.results import StudyResults

KEY = "assimilation"
WEAK = 0.1
"""Bits; a parameter that gains less at the median site counts as unconstrained."""


def assimilation(study: StudyResults) -> list[Block]:
    """Return tables and figures of every model's assimilation."""
    blocks: list[Block] = []
    for model in study.models:
        blocks.append(Heading(model.upper()))
        assessment = assessment_of(study, model)
        if assessment is None:
            blocks.append(not_run(f"assimilation of {model.upper()}", "diagnosis of it"))
            continue
        if not study.kept(model).is_file():
            blocks.append(
                Notice("The filter has not been run; the limits shown here are those of the paper.")
            )
        blocks += _tables(model, assessment)
        if assessment.sampled.any():
            blocks += _figures(study, model, assessment)
        else:
            blocks.append(Notice("No site has a posterior, so nothing can be drawn."))
    beside = [t for name in ("fit", "parameters") if (t := compared(study, name)) is not None]
    return [*blocks, Heading("Comparison of the models"), *beside] if beside else blocks


def _tables(model: str, assessment: Assessment) -> list[Block]:
    shares, medians = by_band(assessment)
    flags = list(shares.columns[1:])
    shares = shares.rename(columns={f: f"share {f}" for f in flags})
    medians = medians.rename(columns={"pareto_k": "share with k > 0.7", "ess": "effective draws"})
    bands = shares.join(medians).rename_axis("latitude").reset_index()
    ranking = parameter_ranking(assessment).reset_index()
    words = {
        "information_gain": "information gain (bit)",
        "spread_reduction": "share of spread removed",
    }
    shown = ["parameter", "component", "unit", "information_gain", "spread_reduction", "rank_rhat"]
    ranking = ranking[shown].rename(columns=words)
    weak = [r["parameter"] for _, r in ranking.iterrows() if r["information gain (bit)"] < WEAK]
    lost = "; ".join(f"{n:,} {why}" for why, n in counts(assessment).items())
    caveat = [Notice(f"{assessment.caveat}.")] if assessment.caveat else []
    blocks: list[Block] = [*caveat, Text(f"{len(assessment.sites):,} sites: {lost}.")]
    if assessment.sampled.any():
        fit = layer_fit(assessment, assessment.sampled)
        blocks.append(
            Text(
                f"For {fit['layers']:,.0f} measured layers, the efficiency of the logarithms is "
                f"{fit['log_r2']:.2f}; the 90 % interval of the modelled mean contains "
                f"{fit['posterior_90']:.0%} of them. At the median site, {len(weak)} of "
                f"{len(ranking)} parameters gain less than {WEAK} bit from the profile: their "
                "posteriors are about as wide as the "
                f"prior{' (' + ', '.join(weak) + ')' if weak else ''}."
            )
        )
    name = model.upper()
    return [
        *blocks,
        *_of_streams(model, assessment),
        Table(
            f"{model}_sites_by_latitude",
            f"{name}: shares of sites that pass each limit, and medians, by latitude",
            bands,
            "Each limit separately; kept: all limits. Medians over sites with a posterior, of "
            "their worst parameter. k > 0.7: share of sites where PSIS-LOO is unreliable.",
            {"sites": "sites", "acceptance": "acceptance"},
        ),
        Table(
            f"{model}_parameters_by_information",
            f"{name}: information that profiles contain on each parameter, medians over sites",
            ranking,
        ),
    ]


def _of_streams(model: str, assessment: Assessment) -> list[Block]:
    """Return how data beside carbon are met, if the run has any, and which it cannot answer."""
    summary, fit = assessment.summary, stream_fit(assessment.summary)
    lacking = str(summary.attrs.get("streams_not_answered", ""))
    blocks: list[Block] = [Notice(f"Not fitted: {lacking}.")] if lacking else []
    if fit.empty:
        return blocks
    table = Table(
        f"{model}_streams",
        f"{model.upper()}, fitted to {data_of(summary)}: data beside carbon at the sites",
        fit,
        "Of the posterior mean, on the scale of the error. inside90: share of values in the 90 % "
        "interval of the modelled value, without the error of the measurement.",
    )
    return [*blocks, table]


def _figures(study: StudyResults, model: str, assessment: Assessment) -> list[Block]:
    name = model.upper()
    blocks: list[Block] = [
        study.draw(
            plots.site_verdicts(assessment, land_of(study)),
            f"{model}_verdicts_map",
            f"{name}: verdict on every assimilated site (the first limit that it fails).",
            KEY,
        ),
        study.draw(
            plots.convergence_and_fit(assessment),
            f"{model}_convergence_and_fit",
            f"{name}: convergence, effective draws and fit over the sites, with the limits "
            "of the filter.",
            KEY,
        ),
        study.draw(
            plots.information(assessment),
            f"{model}_information",
            f"{name}: information gain of each parameter over the sites.",
            KEY,
        ),
        study.draw(
            plots.layers(assessment),
            f"{model}_layers",
            f"{name}: modelled against measured carbon of the fitted layers.",
            KEY,
        ),
    ]
    if len(stream_fit(assessment.summary)):
        blocks.append(
            study.draw(
                stream_scatter(assessment.summary),
                f"{model}_streams",
                f"{name}: data beside carbon, modelled against measured.",
                KEY,
            )
        )
    some = site_plots.spread_of_fit(assessment, 12)
    if len(some):
        blocks.append(
            study.draw(
                site_plots.profiles(assessment, some),
                f"{model}_profiles",
                f"{name}: profiles from poor to good fit, measured and modelled.",
                KEY,
            )
        )
    return blocks
