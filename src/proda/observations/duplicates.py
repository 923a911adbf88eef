"""Profiles that occur in several sources: found by place and content, kept once.

Different profiles at one place stay: an experiment's plots share coordinates, and so do all
profiles that are located only by county. Only profiles that also agree in carbon are duplicates.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

PLACE_DECIMALS = 2
"""Coordinates are compared after rounding to 0.01 degree (about 1 km)."""

VALUE_TOLERANCE = 0.06
"""First layers agree when their carbon is this close, g kg-1: sources round to 0.1."""

KEYS = (
    "profile_id",
    "group",
    "rank",
    "lat",
    "lon",
    "first_upper",
    "first_lower",
    "first_value",
    "signature",
)


def keys(layers: pd.DataFrame, starts: np.ndarray) -> pd.DataFrame:
    """Return the columns that identify the content of each profile.

    Parameters
    ----------
    layers
        Kept layers, profile by profile, from the top down.
    starts
        Row of each profile's first layer, (profile,).

    Returns
    -------
    DataFrame
        first_upper and first_lower (cm), first_value (g kg-1, or kg m-3 where the source gives
        stocks), signature (a hash over all layers: bounds to 1 cm, carbon to 0.1).
    """
    value = layers["soc"].where(layers["soc"].notna(), layers["stock_given"] / 1000.0)
    rounded = pd.DataFrame(
        {
            "upper": np.rint(layers["upper_depth"] * 100).astype(np.int64),
            "lower": np.rint(layers["lower_depth"] * 100).astype(np.int64),
            "value": np.rint(value * 10).astype(np.int64),
        }
    )
    hashes = pd.util.hash_pandas_object(rounded, index=False).to_numpy()
    sizes = np.diff(np.append(starts, len(layers)))
    place = np.arange(len(layers)) - np.repeat(starts, sizes)
    # An odd factor per place makes the sum (modulo 2^64) depend on the order of the layers.
    signature = np.add.reduceat(hashes * (2 * place.astype(np.uint64) + np.uint64(1)), starts)
    first = rounded.iloc[starts]
    return pd.DataFrame(
        {
            "first_upper": first["upper"].to_numpy(),
            "first_lower": first["lower"].to_numpy(),
            "first_value": value.to_numpy()[starts],
            "signature": signature,
        }
    )


def find(profiles: pd.DataFrame) -> pd.Series:
    """Return, for each profile that repeats another, the identifier of the one that is kept.

    Across groups (sources, or a pooled source's collections): same place, same first layer. Of
    these the group with the lowest rank stays, with all its profiles there. Inside one group:
    same place and all layers the same; the first by identifier stays.

    Parameters
    ----------
    profiles
        The columns of `KEYS`.

    Returns
    -------
    Series
        Identifier kept, by identifier dropped.
    """
    table = profiles.assign(
        lat=np.rint(profiles["lat"] * 10**PLACE_DECIMALS).astype(np.int64),
        lon=np.rint(profiles["lon"] * 10**PLACE_DECIMALS).astype(np.int64),
    )
    exact = ["lat", "lon", "first_upper", "first_lower"]
    table = table.sort_values([*exact, "first_value", "rank", "profile_id"], ignore_index=True)
    new = (table[exact] != table[exact].shift()).any(axis=1)
    new |= table["first_value"].diff().abs() > VALUE_TOLERANCE
    cluster = new.cumsum()
    best = table.groupby(cluster)["rank"].transform("min")
    kept_id = table["profile_id"].where(table["rank"] == best).groupby(cluster).transform("first")
    across = table["rank"] != best
    rest = table[~across].sort_values("profile_id")
    same = rest.groupby(["group", "lat", "lon", "signature"])["profile_id"]
    first = same.transform("first")
    within = first != rest["profile_id"]
    return pd.concat(
        [
            pd.Series(kept_id[across].to_numpy(), index=table.loc[across, "profile_id"]),
            pd.Series(first[within].to_numpy(), index=rest.loc[within, "profile_id"]),
        ]
    )
