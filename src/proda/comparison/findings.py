"""Every finding of P-sections 3 and 4 as a row: the paper's statement, and a rule to judge a run.

The rules read the tables of a comparison; no verdict is fixed here. `rule` describes in words what
the function in the same row computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from proda.comparison import site_rules as at_sites
from proda.comparison.attributed import (
    determinants_shape_pattern,
    transport_improves_little,
    transport_matters_little,
)
from proda.comparison.evidence import Evidence, NotJudged
from proda.comparison.finding_rules import (
    CLM5,
    COMPAS,
    WORDS,
    FindingVerdict,
    Judgement,
    Rule,
    both,
    compas_differs,
    compas_total_slightly_higher,
    compensation,
    correlation_differs_from_0,
    correlation_is,
    correlation_rises,
    michaelis_large,
    no_agreement,
    projections_converge,
    region_above_region,
    region_among_highest,
    region_mean,
    region_rises,
    same_input,
    same_magnitude,
    total_is,
    totals_within_references,
    zone_is_extreme,
)
from proda.comparison.paper import TOTALS
from proda.comparison.projections import OPEN_QUESTION

INSIDE = "the paper's r lies in the run's 95 % interval (Fisher's z with effective n)"
BELOW_0 = "r < 0 with p < 0.05 by the modified t test"
ABOVE_0 = "r > 0 with p < 0.05 by the modified t test"
TOTAL = (
    "within 10 % of the paper's number, or the paper's number lies in the members' 5-95 % range; "
    "undecided if that range is wider than a factor of 2, or less than 90 % of the land has a "
    "result"
)
MEAN = "the region's mean over land lies on that side of the number"
ORDER = (
    "the first mean over land exceeds the second; undecided if the medians have the opposite order"
)
EXTREME = "it is the extreme one of the means of boreal, temperate (north, south) and tropical land"
TOP = "its median exceeds the upper quartile of all land"
SIGN = "sign of the mean difference; undecided if that of the median differs"
NONE = "the 95 % interval of r (effective n) reaches 0 or below"
MOST = "above 100 at more than half of the places"
STOCK = "cSoilAbove1m"


@dataclass(frozen=True)
class Finding:
    """One finding: its name, section, the paper's statement, and the rule in words and as code."""

    name: str
    section: str
    paper: str
    rule: str
    judge: Rule


def _default() -> list[Finding]:
    rows = [
        Finding(
            "default_clm5_boreal",
            "3, Fig 2",
            "CLM5 has more carbon in boreal regions than in the tropics",
            ORDER,
            region_above_region(CLM5, "before", "boreal", "tropics"),
        ),
    ]
    for region in ("East Siberia", "Alaska"):
        rows.append(
            Finding(
                f"default_clm5_{_id(region)}",
                "3, Fig 2",
                f"CLM5: more than 50 kg m-2 in {region}",
                MEAN,
                region_mean(CLM5, "before", region, above=50.0),
            )
        )
    for region in ("Amazon", "Congo", "Indonesia"):
        rows.append(
            Finding(
                f"default_clm5_{_id(region)}",
                "3, Fig 2",
                f"CLM5: less than 10 kg m-2 in {region}",
                MEAN,
                region_mean(CLM5, "before", region, below=10.0),
            )
        )
        rows.append(
            Finding(
                f"default_compas_{_id(region)}",
                "3, Fig 2",
                f"COMPAS: more than 20 kg m-2 in {region}",
                MEAN,
                region_mean(COMPAS, "before", region, above=20.0),
            )
        )
    return rows


def _default_totals() -> list[Finding]:
    return [
        Finding(
            "default_compas_tropics",
            "3, Fig 2",
            "COMPAS stores most in the tropics",
            EXTREME,
            zone_is_extreme(COMPAS, "before", "tropics", STOCK, highest=True),
        ),
        Finding(
            "default_compas_boreal",
            "3, Fig 2",
            "COMPAS: less than 5 kg m-2 in boreal regions",
            MEAN,
            region_mean(COMPAS, "before", "boreal", below=5.0),
        ),
        Finding(
            "default_r",
            "3, Fig 2",
            "r of log SOC between the models -0.026",
            INSIDE,
            correlation_is(STOCK, "before"),
        ),
        Finding(
            "default_r_significant",
            "3",
            "that r is below 0 (d.f. 45,213, P < 0.0001)",
            BELOW_0,
            correlation_differs_from_0(STOCK, "before", -1),
        ),
        *(_total(m, "before") for m in (CLM5, COMPAS)),
        Finding(
            "default_totals_reasonable",
            "3",
            "both totals are reasonable estimates",
            "both between the lowest and the highest reference map, with a tolerance of 10 %",
            totals_within_references,
        ),
    ]


def _total(model: str, state: str) -> Finding:
    name = "default" if state == "before" else "after"
    total = TOTALS[model, state]
    return Finding(
        f"{name}_total_{model}",
        "3",
        f"{WORDS[model]}: {total:,.0f} Pg C "
        f"in 0-100 cm, {'default' if state == 'before' else 'after assimilation'}",
        TOTAL,
        total_is(model, state),
    )


def _after() -> list[Finding]:
    return [
        Finding(
            "posteriors_leave_defaults",
            "3, Fig S2",
            "posteriors at sites can be far from the defaults",
            "for both models some parameter's 5-95 % interval misses its default at most sites",
            at_sites.defaults_left,
        ),
        *(
            Finding(
                f"after_boreal_{m}",
                "3, Fig 3",
                f"{WORDS[m]} has more carbon in boreal regions than in the tropics",
                ORDER,
                region_above_region(m, "after", "boreal", "tropics"),
            )
            for m in (CLM5, COMPAS)
        ),
        *(
            Finding(
                f"after_high_{m}_{_id(region)}",
                "3, Fig 3",
                f"{WORDS[m]}: {region} is among the regions of highest carbon",
                TOP,
                region_among_highest(m, region),
            )
            for m, regions in (
                (CLM5, ("western Siberian lowlands", "Alaska", "Canadian Shield", "East Siberia")),
                (COMPAS, ("western Siberian lowlands", "Alaska", "Canadian Shield")),
            )
            for region in regions
        ),
    ]


def _after_by_region() -> list[Finding]:
    return [
        Finding(
            "after_tropics_rise",
            "3, Fig 3",
            "CLM5: tropical carbon increases, to an average above 10 kg m-2",
            "mean larger after than before, and above 10",
            both(region_rises(CLM5, "tropics"), region_mean(CLM5, "after", "tropics", above=10.0)),
        ),
        Finding(
            "after_r",
            "3, Fig 3",
            "r of log SOC between the models 0.51",
            INSIDE,
            correlation_is(STOCK, "after"),
        ),
        Finding(
            "after_r_significant",
            "3",
            "that r is above 0 (d.f. 45,213, P < 0.0001)",
            ABOVE_0,
            correlation_differs_from_0(STOCK, "after", +1),
        ),
        Finding(
            "r_rises",
            "3, 4.1",
            "data assimilation makes the simulated carbon converge (-0.026 -> 0.51)",
            "the 95 % interval of the change of r lies above 0; undecided if it contains 0",
            correlation_rises(STOCK),
        ),
        Finding(
            "after_compas_tropics",
            "3, Fig 3",
            "COMPAS has more carbon in the tropics than CLM5",
            SIGN,
            compas_differs("tropics", STOCK, more=True),
        ),
        Finding(
            "after_compas_east_siberia",
            "3, Fig 3",
            "COMPAS has less carbon in East Siberia than CLM5",
            SIGN,
            compas_differs("East Siberia", STOCK, more=False),
        ),
        *(_total(m, "after") for m in (CLM5, COMPAS)),
        Finding(
            "after_total_order",
            "3",
            "the total of COMPAS is slightly higher (1507 against 1469 Pg C)",
            "higher, by at most 10 %",
            compas_total_slightly_higher,
        ),
    ]


def _components() -> list[Finding]:
    rows = []
    for name, words, r in (
        ("CTE", "carbon transfer efficiency", 0.52),
        ("K", "baseline decomposition", 0.55),
        ("XI", "environmental modifier", 0.80),
    ):
        rows += [
            Finding(
                f"{name}_r",
                "3, Fig 4",
                f"{words}: r = {r:.2f}",
                INSIDE,
                correlation_is(name, "after"),
            ),
            Finding(
                f"{name}_converges",
                "3, 4.1",
                f"{words}: patterns converge",
                ABOVE_0,
                correlation_differs_from_0(name, "after", +1),
            ),
        ]
    rows += [
        Finding(
            f"CTE_boreal_{m}",
            "3, Fig 4",
            f"{WORDS[m]}: higher carbon transfer efficiency in boreal regions than in the tropics",
            ORDER,
            region_above_region(m, "after", "boreal", "tropics", "CTE"),
        )
        for m in (CLM5, COMPAS)
    ]
    rows += [
        Finding(
            f"{name}_boreal_{m}",
            "3, Fig 4",
            f"{WORDS[m]}: {words} in boreal regions",
            EXTREME,
            zone_is_extreme(m, "after", "boreal", name, highest),
        )
        for name, words, highest in (
            ("K", "highest baseline decomposition", True),
            ("XI", "lowest environmental modifier", False),
        )
        for m in (CLM5, COMPAS)
    ]
    rows += [
        Finding(
            f"{name}_no_agreement",
            "3, 4.1, Fig 4",
            f"{words}: no agreement afterwards",
            NONE,
            no_agreement(name),
        )
        for name, words in (("B", "carbon input allocation"), ("V", "vertical transport"))
    ]
    return rows


def _further_components() -> list[Finding]:
    return [
        Finding(
            "XI_magnitude",
            "3, Fig 4",
            "the models agree on the size of the environmental modifier",
            "global means within 10 % of each other",
            same_magnitude("XI", True),
        ),
        Finding(
            "CTE_clm5_higher",
            "3, Fig 4",
            "CLM5 has the higher carbon transfer efficiency",
            SIGN,
            compas_differs("globe", "CTE", more=False),
        ),
        Finding(
            "K_clm5_lower",
            "3, Fig 4",
            "CLM5 has the lower baseline decomposition rate",
            SIGN,
            compas_differs("globe", "K", more=True),
        ),
        Finding(
            "CTE_K_off_1_to_1",
            "3, 4.3",
            "transfer efficiency and baseline decomposition are off the 1:1 line",
            "global means differ by more than 10 %, both",
            both(same_magnitude("CTE", False), same_magnitude("K", False)),
        ),
        Finding(
            "compensation",
            "3",
            "transfer efficiency and decomposition may compensate each other",
            "over land, ln(COMPAS/CLM5) of the two correlate: " + ABOVE_0,
            compensation,
        ),
        Finding(
            "same_input",
            "3, Fig 4",
            "both models get the same plant carbon input",
            "concordance above 0.9999",
            same_input,
        ),
        Finding(
            "litter_to_soil",
            "3, Fig S3",
            "COMPAS passes more litter carbon to mineral soil than CLM5",
            SIGN,
            compas_differs("globe", "litter_to_soil", more=True),
        ),
    ]


def _kinetics() -> list[Finding]:
    rows = [
        Finding(
            f"michaelis_{substrate}_{where}",
            "3, Fig 5",
            f"Michaelis constant of {process} over 100 times {substrate} at most {where}",
            MOST,
            michaelis_large(substrate, where),
        )
        for substrate, process in (("mSOC", "decomposition"), ("DOC", "assimilation"))
        for where in ("sites", "land")
    ]
    return [
        *rows,
        Finding(
            "multiplicative",
            "3, 4.2",
            "so COMPAS is first order in both substrates",
            "all of these constants at sites",
            both(michaelis_large("mSOC", "sites"), michaelis_large("DOC", "sites")),
        ),
    ]


def _discussion() -> list[Finding]:
    return [
        Finding(
            "similar_performance",
            "4.2",
            "after assimilation both models explain the variability of soil carbon alike",
            "log R2 at the sites kept for both within 0.05",
            at_sites.similar_fit,
        ),
        Finding(
            "similar_performance_map",
            "4.2",
            "the same, on the map",
            "r2 of logarithms with each reference map within 0.05",
            at_sites.similar_skill_on_the_map,
        ),
        Finding(
            "nonlinear_not_better",
            "4.2",
            "COMPAS is not more accurate than CLM5",
            "the 95 % interval of the median difference of log evidence is not above 0",
            at_sites.nonlinear_not_better,
        ),
        Finding(
            "equally_effective",
            "4.2, 5",
            "first-order kinetics are as effective as Michaelis-Menten",
            "log evidence differs by less than 3 at most sites",
            at_sites.equally_effective,
        ),
        Finding(
            "structures_by_region",
            "4.2",
            "some structures suit certain climates better",
            "median differences of log evidence of two climates have 95 % intervals apart",
            at_sites.differs_by_climate,
        ),
    ]


def _discussion_of_parameters() -> list[Finding]:
    return [
        Finding(
            "constrained_converge",
            "4.1, 4.3",
            "parameters of components that converge are "
            "better constrained than those of transport and allocation",
            "for both models, the "
            "best constrained parameter of CTE, K and XI each gains more than any of V, B",
            at_sites.constrained_components_converge,
        ),
        *(
            Finding(
                f"weak_identifiability_{m}",
                "4.3, Fig S2",
                f"{WORDS[m]}: more than half of the parameters are weakly identified (at one site)",
                "median posterior less than 10 % narrower than the prior, for more than half",
                at_sites.weakly_identified(m),
            )
            for m in (CLM5, COMPAS)
        ),
        *(
            Finding(
                f"parameter_values_{m}",
                "4.3",
                f"{WORDS[m]}: {n} million parameter values optimised",
                "none",
                at_sites.parameter_values(m),
            )
            for m, n in ((CLM5, "1.41"), (COMPAS, "1.37"))
        ),
    ]


def _discussion_of_components() -> list[Finding]:
    return [
        Finding(
            "transport_matters_little",
            "4.1, 4.3",
            "transport and input allocation matter less for global carbon at steady state",
            "for both models, V and B each redistribute less carbon over land than CTE, K and XI "
            "each (Shapley values of every cell); the published replacement is given for "
            "comparison",
            transport_matters_little,
        ),
        Finding(
            "transport_improves_little",
            "4.3",
            "transport and input allocation are less responsible for improved simulations",
            "for both models, V and B each add less to log R2 at profiles than CTE, K and XI each "
            "(Shapley values)",
            transport_improves_little,
        ),
        *(
            Finding(
                f"components_shape_{m}",
                "4.1, 4.3",
                f"{WORDS[m]}: CTE, K and XI explain the pattern of carbon",
                "together they add more than V, B and I to the variance of ln carbon over land "
                "(Shapley values)",
                determinants_shape_pattern(m),
            )
            for m in (CLM5, COMPAS)
        ),
        Finding(
            "future",
            "4.3",
            "whether the models also converge in predicted change is an open question (judged: "
            "they do)",
            "4 K warmer: the 95 % interval of the rise of r between their changes, from default to "
            "constrained parameters, lies above 0; undecided if it contains 0",
            projections_converge(OPEN_QUESTION),
        ),
        Finding(
            "compas_harder",
            "2.1",
            "fewer sites converge with COMPAS (59,476 against 66,935 of 72,377)",
            "smaller share with a mean Gelman-Rubin statistic below the "
            "filter's limit; undecided within chance",
            at_sites.compas_harder,
        ),
    ]


def _id(region: str) -> str:
    return region.lower().replace(" ", "_")


FINDINGS: tuple[Finding, ...] = (
    *_default(),
    *_default_totals(),
    *_after(),
    *_after_by_region(),
    *_components(),
    *_further_components(),
    *_kinetics(),
    *_discussion(),
    *_discussion_of_parameters(),
    *_discussion_of_components(),
)


def findings_table(evidence: Evidence, findings: tuple[Finding, ...] = FINDINGS) -> pd.DataFrame:
    """Judge every finding by its rule.

    Returns
    -------
    pandas.DataFrame
        `id`, `section` (of the paper), `paper`, `run` (numbers with uncertainty), `verdict`,
        `reason` (where it cannot be judged) and `rule`.
    """
    rows = []
    for finding in findings:
        try:
            judgement = finding.judge(evidence)
        except NotJudged as why:
            judgement = Judgement("", FindingVerdict.UNDECIDED, str(why))
        rows.append(
            {
                "id": finding.name,
                "section": finding.section,
                "paper": finding.paper,
                "run": judgement.says,
                "verdict": str(judgement.verdict),
                "reason": judgement.reason,
                "rule": finding.rule,
            }
        )
    return pd.DataFrame(rows)
