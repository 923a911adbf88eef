"""Layers whose properties are on several rows with equal bounds in a laboratory's table."""

from __future__ import annotations

import numpy as np
import pandas as pd

_BASES = {"bulk_density": "bulk_density_basis", "coarse": "coarse_basis"}
_FIELDS = ("bulk_density", "coarse", "ph", "clay", "silt", "sand")
_PLACE = ["code", "upper", "lower"]


def join(layers: pd.DataFrame, code: np.ndarray) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Fill rows with carbon from rows without that have the same bounds (to 1 mm).

    Parameters
    ----------
    layers
        All rows of some profiles.
    code
        Number of each row's profile, -1 for none, (row,).

    Returns
    -------
    layers
        Rows with carbon filled.
    joined
        True for the rows without carbon that filled one, (row,).
    conflict
        True for all rows of a layer whose rows give different densities or stones, (row,): the
        right value is unknown, so nothing is filled.
    """
    upper, lower = (layers[f"{b}_depth"].to_numpy(float) for b in ("upper", "lower"))
    carbon = (layers["soc"].notna() | layers["stock_given"].notna()).to_numpy(bool)
    filled = layers[list(_FIELDS)].notna().any(axis=1).to_numpy(bool)
    joined, conflict = np.zeros(len(layers), dtype=bool), np.zeros(len(layers), dtype=bool)
    usable = (code >= 0) & np.isfinite(upper) & np.isfinite(lower) & (carbon | filled)
    rows = pd.DataFrame(
        {
            "code": code,
            "upper": np.rint(upper * 1000),
            "lower": np.rint(lower * 1000),
            "carbon": carbon,
        }
    )[usable]
    mixed = rows.groupby(_PLACE)["carbon"].transform("nunique") > 1
    rows = rows[mixed]
    if rows.empty:
        return layers, joined, conflict
    place = pd.Series(rows.groupby(_PLACE).ngroup(), index=rows.index)
    own = layers.loc[rows.index]
    gives = ~rows["carbon"]
    apart = pd.Series(False, index=rows.index)
    for name in _BASES:
        apart |= _differ(own[name], gives, place)
    conflict[rows.index[apart]] = True
    joined[rows.index[gives & ~apart]] = True
    layers = layers.copy()
    takes = rows.index[rows["carbon"] & ~apart]
    for name in _FIELDS:
        _fill(layers, own, name, place, gives, takes)
    return layers, joined, conflict


def _differ(values: pd.Series, gives: pd.Series, place: pd.Series) -> pd.Series:
    """Find layers in which a row without carbon gives a different value from any other row."""
    groups = values.groupby(place)
    spread = groups.transform("max") - groups.transform("min")
    different = spread > 1e-3 * groups.transform("max").abs()
    return different & values.where(gives).groupby(place).transform("count").gt(0)


def _fill(
    layers: pd.DataFrame,
    own: pd.DataFrame,
    name: str,
    place: pd.Series,
    gives: pd.Series,
    takes: pd.Index,
) -> None:
    """Fill one property, with its basis, where the rows without carbon agree on it."""
    given = own[name].where(gives).groupby(place)
    value = given.transform("first").where(given.transform("nunique") == 1)
    empty = takes[own.loc[takes, name].isna() & value[takes].notna()]
    layers.loc[empty, name] = value[empty]
    if basis := _BASES.get(name):
        about = own[basis].where(gives & own[name].notna()).groupby(place).transform("first")
        layers.loc[empty, basis] = about[empty]
