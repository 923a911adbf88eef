"""How much carbon: totals of the maps, regions, and reference maps beside them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from proda.comparison.inputs import ROUTES
from proda.maps.totals import totals as totals_of
from proda.study.report.blocks import Block, Notice, Section, Table
from proda.study.report.maps import CONSTRAINED, DEFAULT, STOCK, map_of
from proda.study.report.missing import not_run
from proda.study.report.results import StudyResults

MAPS = (("default", DEFAULT), *((ROUTES[s], file) for s, file in CONSTRAINED.items()))


def totals(study: StudyResults) -> Section:
    """Return totals and regional means, with the references that the comparison read."""
    blocks: list[Block] = []
    for name, title in (
        ("totals", "Carbon of the globe and of zones, beside reference maps"),
        ("references", "Reference maps, cell by cell"),
        ("regions", "Regional differences between the models"),
    ):
        table = study.table(study.comparison_table(name), f"comparison_{name}", title)
        if table is not None:
            blocks.append(_first_metre(table))
        elif name == "totals":
            blocks += _own(study)
    blocks += _of_all_models(study) + list(study.pictures("totals"))
    return Section("totals", "Totals and regions", tuple(blocks))


_DEPTH_LABELS = {
    "carbon_0_100": "carbon, 0-100 cm",
    "carbon": "carbon, whole column",
    "share_0_30": "share in 0-30 cm",
    "share_30_100": "share in 30-100 cm",
    "share_100_200": "share in 100-200 cm",
    "share_below_200": "share below 200 cm",
}


def _of_all_models(study: StudyResults) -> list[Block]:
    """Return carbon, depths and components of all models in one table, and microbial shares."""
    blocks: list[Block] = []
    models = study.table(
        study.comparison_table("models"),
        "comparison_models",
        "All models: carbon, its depths, components",
        "Carbon of the globe in Pg, with the members' standard deviation; shares of the whole "
        "column; means of the components over land that holds carbon, with the units of the maps.",
    )
    if models is not None:
        blocks.append(replace(models, labels=_DEPTH_LABELS))
    microbes = study.table(
        study.comparison_table("microbes"),
        "comparison_microbes",
        "Living microbes, share of soil carbon",
        "Median, 5 and 95 % over land. CLM5 has no microbial pool; RothC's is its biomass. "
        "Measured: microbial over soil organic carbon of 2,666 samples, mostly of the top 10 cm "
        "and half of them of cropland (Xu, Thornton and Post 2013, Global Ecology and "
        "Biogeography 22, 737-749).",
    )
    if microbes is not None and len(microbes.frame):
        shares = ["median", "q05", "q95"]
        named = {n: f"share {n}" for n in shares}
        labels = {"share median": "median", "share q05": "5 %", "share q95": "95 %"}
        blocks.append(replace(microbes, frame=microbes.frame.rename(columns=named), labels=labels))
    return blocks


def _first_metre(table: Table) -> Table:
    """Show the rows of 0-100 cm where a table has more stocks or variables."""
    for column in ("stock", "variable"):
        if column in table.frame and (table.frame[column] == STOCK).any():
            note = "Shown: carbon in 0-100 cm (kg m⁻², totals Pg; land 10⁶ km²)."
            return replace(table, only=(column, STOCK), note=note)
    return table


def _own(study: StudyResults) -> list[Block]:
    frames = []
    for model in study.models:
        for words, file in MAPS:
            found = map_of(study, model, file)
            if found is not None:
                frame = totals_of(found).reset_index()
                frame.insert(0, "parameters", words)
                frame.insert(0, "model", model.upper())
                frames.append(frame)
    if not frames:
        return [not_run("maps", "table of totals")]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame["stock"] == STOCK].drop(columns="stock")
    frame = frame.rename(
        columns={
            "land": "land (10⁶ km²)",
            "mean": "carbon (Pg)",
            "answered": "share of land answered",
        }
    )
    return [
        Notice("The comparison has not been run, so no reference maps stand beside these totals."),
        Table(
            "totals_of_maps",
            "Carbon in 0-100 cm of the globe and of zones",
            frame,
            "Spread over the members of the ensemble; one member has none.",
        ),
    ]
