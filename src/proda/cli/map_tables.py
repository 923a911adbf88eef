"""Tables of maps, as `proda map` and `proda totals` print them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from proda.cli.console import console, formatted, print_table

if TYPE_CHECKING:
    import pandas as pd


def carbon(value: float, form: str = ",.0f") -> str:
    """Return a number by a format, or a short one where it is too large for a table."""
    return formatted(value, form if not abs(value) >= 1e7 else ".1e")


def print_reasons(counts: Mapping[str, int], members: Mapping[str, int], n: int) -> None:
    """Print the number of cells by reason; the counts add up."""
    names = list(dict.fromkeys([*counts, *members]))
    rows = [[name, f"{counts.get(name, 0):,}", f"{members.get(name, 0):,}"] for name in names]
    total = ["all", f"{sum(counts.values()):,}", f"{sum(members.values()):,}"]
    print_table(
        f"Land cells by reason, and columns ({n} member{'s' if n > 1 else ''} x cells with "
        "forcing)",
        ["reason", "cells", "columns"],
        [*rows, total],
        right=(1, 2),
    )


def print_totals(table: pd.DataFrame) -> None:
    """Print what :func:`proda.maps.reference_maps.beside` returns, one table per stock."""
    from proda.maps.reference_maps import WORDS

    columns = {name: table[name].to_dict() for name in ("mean", "sd", "q05", "q95", "answered")}
    zones = [str(zone) for zone in table.index.unique("zone")]
    for stock in table.index.unique("stock"):
        rows = []
        for label in table.xs(stock, level="stock").index.unique("map"):
            keys = [(stock, label, zone) for zone in zones]
            each = {name: [values[key] for key in keys] for name, values in columns.items()}
            rows.append([label, *map(carbon, each["mean"]), f"{each['answered'][0]:.1%}"])
            if math.isfinite(each["sd"][0]):
                rows.append(["  sd", *map(carbon, each["sd"]), ""])
                rows.append(["  5 %", *map(carbon, each["q05"]), ""])
                rows.append(["  95 %", *map(carbon, each["q95"]), ""])
        print_table(
            f"Soil carbon, {WORDS[str(stock)]}, Pg C",
            ["", *_narrow(zones), "land"],
            rows,
            right=range(1, len(zones) + 2),
        )
    spread = " sd, 5 %, 95 %: of the members' totals." if table["sd"].notna().any() else ""
    console.print(
        f"land: share of the land area that a total covers.{spread}",
        highlight=False,
        soft_wrap=True,
    )


def print_comparison(table: pd.DataFrame, what: str = "references") -> None:
    """Print correlation and bias by zone, one row per pair of maps."""
    one_map = "stock" in table.index.names and len(table.index.unique("map")) == 1
    table = table.droplevel([n for n in ("stock", *["map"] * one_map) if n in table.index.names])
    zones = [str(zone) for zone in table.index.unique("zone")]
    pairs = list(dict.fromkeys(tuple(key[:-1]) for key in table.index))
    for title, column, form in (
        ("correlation of the logarithms", "r_log", ".2f"),
        ("bias of the total, relative", "relative_bias", "+.0%"),
    ):
        values = table[column].to_dict()
        rows = [
            [" / ".join(pair), *(carbon(values[(*pair, zone)], form) for zone in zones)]
            for pair in pairs
        ]
        print_table(
            f"Against {what}: {title}", ["", *_narrow(zones)], rows, right=range(1, len(zones) + 1)
        )
    console.print("Over the cells that both maps have, weighted by land area.", highlight=False)


def _narrow(zones: list[str]) -> list[str]:
    return [zone.replace(" ", "\n") for zone in zones]
