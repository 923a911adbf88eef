"""Print the tables of `docs/published_study.md` from rungs of `proda ladder`.

    python -m benchmarks.ladder LADDER/0_published LADDER/1_models ...

The findings of the paper by rung, those that depend on the method first, with how many agree; the
numbers that the paper reports, by rung; and how the map of each model after data changes from rung
to rung: its correlation over land with that of the previous rung, and the median ratio of carbon.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from proda import files, weighted
from proda.comparison.correlations import cells
from proda.comparison.model_files import AFTER, END_TO_END
from proda.layout import RunFolder
from proda.maps.totals import land_area, open_map
from proda.study.ladder import Ladder, tables_of

MARKS = {"agrees": "yes", "disagrees": "no"}
ORDER = ("depends on the method", "on every rung", "on every rung that can be judged")

MODELS = ("clm5", "compas")
STOCK = "cSoilAbove1m"
DROPPED = "paper:|reference:|r of I|r of litter_to_soil"
"""Numbers that are the same on every rung, or in no statement of the paper."""
VARIABLES = (STOCK, "CTE", "K", "XI", "V", "B")


def findings(ladder: Ladder, names: list[str]) -> list[str]:
    """Return the table of findings, a row each."""
    table = ladder.findings
    place = {word: i for i, word in enumerate(ORDER)}
    order = table["holds"].map(lambda word: place.get(word, len(place)))
    rows = []
    for _, row in table.assign(order=order).sort_values("order", kind="stable").iterrows():
        marks = [MARKS.get(row[name], "–") for name in names]
        rows.append([row["section"], row["paper"], *marks, row["holds"]])
    counts = [(table[name] == "agrees").sum() for name in names]
    judged = [table[name].isin(list(MARKS)).sum() for name in names]
    rows.append(["", "agree, of those judged", *map(_of, counts, judged), ""])
    return lines(["section", "finding", *map(short, names), "holds"], rows)


def numbers(ladder: Ladder, names: list[str]) -> list[str]:
    """Return the table of numbers, a row for each quantity and state."""
    table = ladder.numbers
    table = table[~table["quantity"].str.contains(DROPPED)]
    table = table.assign(state=table["state"].replace(END_TO_END, AFTER))
    rows = []
    for (quantity, state), part in table.groupby(["quantity", "state"], sort=False):
        by_rung = part.drop_duplicates("rung").set_index("rung")
        values = [number(by_rung.loc[name]) if name in by_rung.index else "–" for name in names]
        rows.append([quantity, state, *values])
    return lines(["", "", *map(short, names)], rows)


def changes(folders: list[Path]) -> list[str]:
    """Return the table of correlations of each map with that of the previous rung."""
    rows = []
    for model in MODELS:
        maps = [read_map(RunFolder(folder), model) for folder in folders]
        for i, (before, after) in enumerate(itertools.pairwise(maps)):
            land = land_area(after)
            cell = []
            for name in VARIABLES:
                (x, y, _, _, weight), _ = cells(before[name], after[name], land, name == STOCK)
                cell.append(f"{weighted.correlation(x, y, weight):.2f}")
                if name == STOCK:
                    ratio = np.exp(weighted.quantile(y - x, weight, 0.5))
            step = " to ".join(short(folder.name) for folder in folders[i : i + 2])
            rows.append([model, step, *cell, f"{ratio:.2f}"])
    return lines(["", "rungs", "ln carbon", *VARIABLES[1:], "ratio of carbon"], rows)


def read_map(place: RunFolder, model: str) -> xr.Dataset:
    """Return the map of a model after data."""
    path = place.end_to_end_map(model)  # its rung may still have the map of an earlier one
    path = path if path.is_file() else place.map(model)
    with open_map(path) as opened:
        wanted = [*VARIABLES, "cell_area", "land_fraction", "reason"]
        return files.load(opened[wanted], path)


def number(row: pd.Series) -> str:
    """Return a value with its interval and the effective number of cells."""
    if not np.isfinite(row["value"]):
        return "–"
    digits = 0 if abs(row["value"]) >= 10 else 2
    text = f"{row['value']:,.{digits}f}"
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        text += f" ({row['low']:,.{digits}f} to {row['high']:,.{digits}f})"
    if np.isfinite(row["n_effective"]):
        text += f", n {row['n_effective']:,.0f}"
    return text


def lines(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table in Markdown."""
    head = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return head + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def short(name: str) -> str:
    """Return the number of a rung from its folder's name."""
    return name.partition("_")[0]


def _of(count: int, judged: int) -> str:
    return f"{count} of {judged}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rungs", nargs="+", type=Path, help="folders of studies, in order")
    folders = parser.parse_args().rungs
    ladder, names = tables_of(folders), [folder.name for folder in folders]
    tables = findings(ladder, names), numbers(ladder, names), changes(folders)
    print("\n\n".join("\n".join(table) for table in tables))


if __name__ == "__main__":
    main()
