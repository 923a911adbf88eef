"""Keep what a study of real data found: docs/real_study.md and its figures (no rows of the data).

proda run examples/real.toml real
python -m benchmarks.study_results real 'What was run.'
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from benchmarks.report import machine
from proda.layout import RunFolder

DOCS = Path(__file__).parents[1] / "docs"
NOTES = Path(__file__).parent / "results" / "real_study_notes.md"
"""Notes written by hand; added at the end."""
FIGURES = {
    "comparison_carbon_before": "Soil carbon to 1 m with default parameters",
    "comparison_carbon_after": "Soil carbon to 1 m constrained by the profiles",
    "comparison_zonal": "Soil carbon along latitude",
    "comparison_components_after": "Components constrained by the profiles",
    "comparison_carbon_end_to_end": "Soil carbon to 1 m, learnt end to end",
    "comparison_components_end_to_end": "Components, learnt end to end",
    "comparison_michaelis": "Michaelis constants over their substrates",
}
METHODS = [
    "default",
    "mean",
    "nearest_site",
    "random_forest",
    "network_untuned",
    "network",
    "network_members",
    "assimilated",
]


def table(frame: pd.DataFrame, digits: int = 2) -> list[str]:
    def cell(value: object) -> str:
        if isinstance(value, float):
            if pd.isna(value):
                return ""
            large = abs(value) >= 1e7
            return (
                f"{value:.1e}"
                if large
                else f"{value:,.0f}"
                if abs(value) >= 100
                else (f"{value:.{digits}f}")
            )
        return str(value).replace("|", "/")

    rows = [[cell(v) for v in row] for row in frame.itertuples(index=False)]
    return [
        "| " + " | ".join(map(str, frame.columns)) + " |",
        "|" + "---|" * len(frame.columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def from_posteriors(run: Path, models: list[str]) -> list[str]:
    """Skill of networks that learnt from posteriors."""
    text = [
        "Networks that learnt from posteriors, cross-validation in 5 folds of blocks of 5 "
        "degrees; log: natural logarithms; site: medians over sites. `assimilated` was fitted "
        "to the profiles.",
        "",
    ]
    for model in models:
        folder = RunFolder(run).network(model)
        skill = pd.read_csv(folder / "skill_carbon.csv")
        skill = skill[(skill["by"] == "all") & skill["method"].isin(METHODS)]
        header = json.loads((folder / "train.json").read_text())
        text += [
            f"{model.upper()}:",
            "",
            *table(
                skill[
                    [
                        "method",
                        "lost",
                        "log_r2",
                        "rmse_log",
                        "nse",
                        "rmse",
                        "bias",
                        "site_nse",
                        "site_nse_positive",
                        "site_rmse_log",
                    ]
                ]
            ),
        ]
        text += [
            "90 % intervals of carbon, measurement error included, hold of the layers left "
            "out: "
            + "; ".join(
                f"{kind} {found['coverage']:.1%}"
                for kind, found in header["spread_of_carbon"].items()
            )
            + ".",
            "",
        ]
    return text


def end_to_end(run: Path, models: list[str]) -> list[str]:
    """Skill of networks that learnt end to end, and of every rival."""
    text = [
        "Networks that learnt end to end, and what a user could take instead; log: natural "
        "logarithms; site: medians over sites.",
        "",
    ]
    columns = [
        "method",
        "by",
        "group",
        "layers",
        "lost",
        "log_r2",
        "rmse_log",
        "bias_log",
        "site_rmse_log",
        "interval90",
    ]
    for model in models:
        skill = pd.read_csv(RunFolder(run).end_to_end(model) / "skill_carbon.csv")
        whole = skill["by"] == "all"
        parts = (skill["method"] == "network") & skill["by"].isin(("depth", "soil", "zone"))
        text += [f"{model.upper()}:", "", *table(skill.loc[whole | parts, columns], 3)]
    return text


def main() -> None:
    run, title = Path(sys.argv[1]), sys.argv[2]
    place = RunFolder(run)
    record = json.loads(place.record_file.read_text())
    names = sorted(p.name for p in run.glob("*/") if place.default_map(p.name).is_file())
    assimilated = [m for m in names if (place.network(m) / "skill_carbon.csv").is_file()]
    learnt = [m for m in names if (place.end_to_end(m) / "skill_carbon.csv").is_file()]
    read = {p.stem: pd.read_csv(p) for p in place.comparison.glob("*.csv") if p.stat().st_size > 2}
    whole = sum(s["seconds"] for s in record["stages"].values())
    text = [
        "# A real study",
        "",
        title + " Aggregated results only.",
        "",
        f"    python -m benchmarks.study_results RUN '{title}'",
        "",
        machine(),
        f"The stages took {whole / 60:.0f} minutes in all.",
        "",
        "## Cost",
        "",
        *table(
            pd.DataFrame(
                [
                    {
                        "stage": n,
                        "what came out": s["note"],
                        "s": s["seconds"],
                        "GB memory": s["peak_memory_bytes"] / 1e9,
                        "GB disk": s["disk_bytes"] / 1e9,
                    }
                    for n, s in record["stages"].items()
                ]
            )
        ),
    ]
    correlations = read["correlations"]
    text += [
        "## Do the models agree?",
        "",
        "Correlation over land of the two models (logarithms where it says so), its 95 % interval "
        "with the effective number of independent cells.",
        "",
        *table(
            correlations[
                [
                    "variable",
                    "scale",
                    "state",
                    "r",
                    "low",
                    "high",
                    "n",
                    "n_effective",
                    "concordance",
                ]
            ]
        ),
        "## Soil carbon, Pg",
        "",
    ]
    totals = read["totals"]
    globe = totals[(totals["zone"] == "globe") & (totals["stock"] != "cSoil")]
    text += [*table(globe[["source", "state", "stock", "mean", "sd", "q05", "q95"]], 0)]
    if "references" in read:
        beside = read["references"]
        beside = beside[(beside["stock"] == "cSoilAbove1m") & (beside["state"] != "before")]
        text += [
            "Beside reference maps, 0-100 cm, learnt from profiles (bias in kg m-2):",
            "",
            *table(
                beside[
                    [
                        "source",
                        "model",
                        "state",
                        "zone",
                        "total",
                        "reference_total",
                        "bias",
                        "r_log",
                    ]
                ]
            ),
        ]
    text += ["## Carbon of profiles left out", ""]
    text += from_posteriors(run, assimilated) if assimilated else []
    text += end_to_end(run, learnt) if learnt else []
    for name, head, columns in (
        (
            "preference",
            "Which structure do profiles prefer? Log evidence of the second model less "
            "that of the first, by site",
            [
                "first",
                "second",
                "zone",
                "sites",
                "median",
                "low",
                "high",
                "share_first_by_3",
                "share_second_by_3",
            ],
        ),
        ("evidence", "Log densities of the same data by every model, all sites", None),
        ("stacking", "Stacking weights, all sites", None),
        ("microbes", "Microbes, share of soil carbon", None),
        (
            "michaelis",
            "Michaelis constants over substrate",
            ["model", "state", "where", "substrate", "n", "share_over_100", "q05", "q50", "q95"],
        ),
    ):
        if name not in read or read[name].empty:
            continue
        own = read[name]
        if name == "preference":
            own = own[(own["criterion"] == "log_evidence") & (own["sites"] > 0)]
        if name in ("evidence", "stacking"):
            own = own[own["grouping"] == "all"]
        if len(own):
            text += [f"## {head}", "", *table(own if columns is None else own[columns])]
    text += ["## Findings of the paper", ""]
    findings = read["findings"].fillna("")
    for route, own in findings.groupby("route", sort=False):
        counts = own["verdict"].value_counts()
        text.append(f"{route}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}.")
    columns = ["section", "paper", "route", "run", "verdict", "reason"]
    text += ["", *table(findings[columns])]
    for stem, title in FIGURES.items():
        for path in sorted((run / "figures").glob(f"{stem}*.png")):
            target = DOCS / "images" / f"real_{path.name}"
            shutil.copyfile(path, target)
            text += [f"![{title}](images/{target.name})", ""]
    if assimilated and NOTES.is_file():
        text += [NOTES.read_text()]
    (DOCS / "real_study.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
