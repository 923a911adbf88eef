"""Keep what a study of real data found: docs/real_study.md and its figures (no rows of the data).

proda run examples/real.toml real
python -m benchmarks.study_results real
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from benchmarks.report import machine

DOCS = Path(__file__).parents[1] / "docs"
NOTES = Path(__file__).parent / "results" / "real_study_notes.md"
"""What was looked into by hand; put at the end."""
FIGURES = {
    "comparison_carbon_before": "Soil carbon to 1 m with default parameters",
    "comparison_carbon_after": "Soil carbon to 1 m constrained by the profiles",
    "comparison_zonal": "Soil carbon along latitude",
    "comparison_components_after": "Components constrained by the profiles",
    "comparison_michaelis": "Michaelis constants over their substrates",
}
METHODS = ["default", "mean", "nearest_site", "random_forest", "network_untuned", "network",
           "network_members", "assimilated"]  # fmt: skip


def table(frame: pd.DataFrame, digits: int = 2) -> list[str]:
    def cell(value: object) -> str:
        if isinstance(value, float):
            if pd.isna(value):
                return ""
            large = abs(value) >= 1e7
            return f"{value:.1e}" if large else f"{value:,.0f}" if abs(value) >= 100 else (
                f"{value:.{digits}f}")  # fmt: skip
        return str(value).replace("|", "/")

    rows = [[cell(v) for v in row] for row in frame.itertuples(index=False)]
    return ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns),
            *("| " + " | ".join(row) + " |" for row in rows), ""]  # fmt: skip


def main() -> None:
    run = Path(sys.argv[1])
    record = json.loads((run / "study.json").read_text())
    models = [p.parent.name for p in sorted(run.glob("*/maps.nc"))]
    read = {p.stem: pd.read_csv(p) for p in (run / "comparison").glob("*.csv")
            if p.stat().st_size > 2}  # fmt: skip
    whole = sum(s["seconds"] for s in record["stages"].values())
    text = [
        "# A real study", "",
        "What `examples/real.toml` found: CLM5 and COMPAS at 2,050 of 20,130 measured profiles, "
        "forcing estimated from climate, half-degree maps. Aggregated results only.", "",
        "    proda run examples/real.toml real", "    python -m benchmarks.study_results real", "",
        machine(), f"The stages took {whole / 60:.0f} minutes in all.", "",
        "## Cost", "",
        *table(pd.DataFrame([
            {"stage": n, "what came out": s["note"], "s": s["seconds"],
             "GB memory": s["peak_memory_bytes"] / 1e9, "GB disk": s["disk_bytes"] / 1e9}
            for n, s in record["stages"].items()])),
    ]  # fmt: skip
    correlations = read["correlations"]
    text += [
        "## Do the models agree?", "",
        "Correlation over land of the two models (logarithms where it says so), its 95 % interval "
        "with the effective number of independent cells.", "",
        *table(correlations[["variable", "scale", "state", "r", "low", "high", "n",
                             "n_effective", "concordance"]]),
        "## Soil carbon, Pg", "",
    ]  # fmt: skip
    totals = read["totals"]
    globe = totals[(totals["zone"] == "globe") & (totals["stock"] != "cSoil")]
    text += [*table(globe[["source", "state", "stock", "mean", "sd", "q05", "q95"]], 0)]
    if "references" in read:
        beside = read["references"]
        beside = beside[(beside["stock"] == "cSoilAbove1m") & (beside["state"] == "after")]
        text += ["Beside reference maps, 0-100 cm after assimilation (bias in kg m-2):", "",
                 *table(beside[["source", "model", "zone", "total", "reference_total", "bias",
                                "r_log"]])]  # fmt: skip
    text += ["## Carbon of profiles left out", "",
             "Cross-validation in 5 folds of blocks of 5 degrees; log: natural logarithms; site: "
             "medians over sites. `assimilated` has seen the profiles.", ""]  # fmt: skip
    for model in models:
        skill = pd.read_csv(run / model / "network" / "skill_carbon.csv")
        skill = skill[(skill["by"] == "all") & skill["method"].isin(METHODS)]
        header = json.loads((run / model / "network" / "train.json").read_text())
        text += [f"{model.upper()}:", "", *table(skill[[
            "method", "lost", "log_r2", "rmse_log", "nse", "rmse", "bias", "site_nse",
            "site_nse_positive", "site_rmse_log"]])]  # fmt: skip
        text += ["90 % intervals of carbon, measurement error included, hold of the layers left "
                 "out: " + "; ".join(f"{kind} {found['coverage']:.1%}" for kind, found in
                                     header["spread_of_carbon"].items()) + ".", ""]  # fmt: skip
    text += ["End to end, every method at places left out:", ""]
    for model in models:
        path = run / model / "end_to_end" / "network" / "skill_carbon.csv"
        if path.is_file():
            skill = pd.read_csv(path)
            text += [f"{model.upper()}:", "", *table(skill[skill["by"] == "all"][[
                "method", "lost", "log_r2", "rmse_log", "bias_log", "site_rmse_log",
                "interval90"]])]  # fmt: skip
    prefer = read["preference"]
    prefer = prefer[(prefer["criterion"] == "log_evidence") & (prefer["sites"] > 0)]
    text += [
        "## Which structure do profiles prefer?", "",
        "Log evidence of the second model less that of the first, by site.", "",
        *table(prefer[["first", "second", "zone", "sites", "median", "low", "high",
                       "share_first_by_3", "share_second_by_3"]]),
        "## Michaelis constants over substrate", "",
        *table(read["michaelis"][["model", "state", "where", "substrate", "n", "share_over_100",
                                  "q05", "q50", "q95"]]),
        "## Findings of the paper", "",
    ]  # fmt: skip
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
    if NOTES.is_file():
        text += [NOTES.read_text()]
    (DOCS / "real_study.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
