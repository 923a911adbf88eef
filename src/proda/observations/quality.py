"""Select the layers and profiles to use, and record one reason for each rejection (`rules`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from proda.observations import split_rows, stock
from proda.observations.depths import SurfaceDepths, from_mineral_surface
from proda.observations.land import LandMask
from proda.observations.quality_rules import LAYER_REASONS, PROFILE_REASONS, Rules


@dataclass(frozen=True)
class ProfileVerdict:
    """Profiles and layers with the columns `reason` (None: kept) and `detail`.

    A valid layer of a rejected profile has the profile's reason, and `by` = "profile".
    """

    profiles: pd.DataFrame
    layers: pd.DataFrame
    origin: SurfaceDepths


class _Reasons:
    """Collects the first reason of every row."""

    def __init__(self, n: int, known: dict[str, str]) -> None:
        self.reason = np.full(n, None, dtype=object)
        self.detail = np.full(n, None, dtype=object)
        self._known = known

    @property
    def free(self) -> np.ndarray:
        return np.asarray(pd.isna(self.reason))

    def rule(self, name: str, holds: np.ndarray, detail: str = "", **values: np.ndarray) -> None:
        """Give rows without a reason this one where it applies; `detail` is a format string."""
        if name not in self._known:
            raise AssertionError(f"{name} is not a known reason")
        rows = np.flatnonzero(self.free & holds)
        self.reason[rows] = name
        if detail:
            for row in rows.tolist():
                self.detail[row] = detail.format(**{k: v[row] for k, v in values.items()})


def judge(
    profiles: pd.DataFrame, layers: pd.DataFrame, rules: Rules, land: LandMask | None
) -> ProfileVerdict:
    """Apply all rules except that of duplicates, which needs all profiles of all sources.

    Parameters
    ----------
    profiles, layers
        All rows of some profiles, with the columns that readers deliver.
    rules
        Limits.
    land
        Land mask, or None: then no profile is rejected as in the sea.
    """
    profiles, conflict = _merge_rows(profiles)
    layers = layers.reset_index(drop=True)
    origin = from_mineral_surface(layers, rules.overlap_tolerance)
    layers = origin.layers.assign(negative=origin.negative)
    layers = layers.sort_values(
        ["profile_id", "upper_depth", "lower_depth"], ignore_index=True, kind="stable"
    )
    code = pd.Index(profiles["profile_id"]).get_indexer(layers["profile_id"])
    layers = _judge_layers(layers, code, rules)
    kept = layers["reason"].isna().to_numpy()
    profiles = _judge_profiles(profiles, conflict, layers, code, kept, rules, land)
    fallen = np.zeros(len(layers), dtype=bool)
    has = code >= 0
    fallen[has] = profiles["reason"].notna().to_numpy()[code[has]]
    falls = kept & fallen
    layers.loc[falls, "reason"] = profiles["reason"].to_numpy()[code[falls]]
    layers["by"] = np.where(falls, "profile", "layer")
    return ProfileVerdict(profiles, layers.drop(columns="negative"), origin)


def _merge_rows(profiles: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per profile (the first available value), and where coordinates disagree."""
    groups = profiles.groupby("profile_id", sort=True)
    if len(groups) == len(profiles):
        merged = profiles.sort_values("profile_id", ignore_index=True)
        return merged, np.zeros(len(merged), dtype=bool)
    merged = groups.first().reset_index()[list(profiles.columns)]
    place = groups[["lat", "lon"]]
    apart = ((place.max() - place.min()) > 1e-6).any(axis=1).to_numpy()
    return merged, apart


def _judge_layers(layers: pd.DataFrame, code: np.ndarray, rules: Rules) -> pd.DataFrame:
    layers, joined, apart = split_rows.join(layers, code)
    upper, lower = layers["upper_depth"].to_numpy(float), layers["lower_depth"].to_numpy(float)
    soc, given = layers["soc"].to_numpy(float), layers["stock_given"].to_numpy(float)
    carbon = np.where(np.isnan(given), soc, given)
    coarse, ph = layers["coarse"].to_numpy(float), layers["ph"].to_numpy(float)
    density = layers["bulk_density"].to_numpy(float)
    basis = layers["soc_basis"]
    why = _Reasons(len(layers), LAYER_REASONS)
    bounds = {"upper": upper, "lower": lower}
    why.rule("no_profile_row", code < 0)
    why.rule("depth_missing", ~(np.isfinite(upper) & np.isfinite(lower)))
    above = (upper < 0) & (upper >= -rules.max_depth) & ~layers["negative"].to_numpy(bool)
    why.rule("litter", above | layers["litter"].eq(True).to_numpy(bool))
    why.rule("depth_inverted", lower < upper, "{upper:g} to {lower:g} m", **bounds)
    why.rule("depth_no_thickness", lower == upper, "{upper:g} m", **bounds)
    beyond = (lower > rules.max_depth) | (upper < -rules.max_depth)
    why.rule("depth_implausible", beyond, "{upper:g} to {lower:g} m", **bounds)
    detail = "density {d:g} kg m-3, stones {c:g} %"
    why.rule("values_conflict", apart, detail, d=density, c=coarse)
    why.rule("row_joined", joined, detail, d=density, c=coarse)
    why.rule("soc_missing", np.isnan(carbon))
    why.rule("soc_negative", carbon < 0, "{c:g}", c=carbon)
    why.rule("soc_zero", carbon == 0)
    why.rule(
        "soc_impossible",
        np.where(np.isnan(given), soc > rules.max_soc, given > rules.max_stock),
        "{c:g}",
        c=carbon,
    )
    why.rule("soc_basis_excluded", basis.isin(rules.exclude_soc_basis).to_numpy(bool))
    alkaline = (basis == "total carbon").to_numpy(bool) & (ph > rules.total_carbon_max_ph)
    why.rule("total_carbon_alkaline", alkaline, "pH {ph:g}", ph=ph)
    why.rule("coarse_impossible", (coarse < 0) | (coarse >= 100), "{c:g} %", c=coarse)
    fine, volume = stock.measured(layers)
    ok = (density >= rules.min_density) & (density <= rules.max_density)
    ok &= (fine >= rules.min_density) & (fine <= rules.max_density)
    ok &= ~(soc * fine * (1 - volume) > rules.max_stock)
    impossible = ~np.isnan(density) & ~ok & ~np.isfinite(given)
    if rules.impossible_density == "reject":
        detail = "{d:g} kg m-3 (fine earth {f:.4g}), carbon {c:g} g kg-1"
        why.rule("density_impossible", impossible, detail, d=density, f=fine, c=soc)
    else:
        layers.loc[impossible, ["bulk_density", "bulk_density_basis"]] = [np.nan, None]
    _judge_repeats(layers, code, why, rules)
    return layers.assign(reason=why.reason, detail=why.detail)


def _judge_repeats(layers: pd.DataFrame, code: np.ndarray, why: _Reasons, rules: Rules) -> None:
    """Find layers with equal bounds (to 1 mm); average different values into the first of them."""
    rows = np.flatnonzero(why.free)
    values = ["soc", "stock_given", "bulk_density", "coarse"]
    bases = ["bulk_density_basis", "coarse_basis"]
    same = layers.iloc[rows][[*values, *bases]].assign(
        code=code[rows],
        upper=np.rint(layers["upper_depth"].to_numpy(float)[rows] * 1000),
        lower=np.rint(layers["lower_depth"].to_numpy(float)[rows] * 1000),
    )
    place = ["code", "upper", "lower"]
    identical = same.duplicated([*place, *values, *bases]).to_numpy()
    why.rule("repeated_layer", _mask(len(layers), rows[identical]))
    if rules.replicates != "average":
        return
    same = same[~identical]
    several = same[same.duplicated(place, keep=False)]
    if several.empty:
        return
    groups = several.groupby([*place, *bases], dropna=False)
    means = groups[values].transform("mean")
    later = groups.cumcount().to_numpy() > 0
    first = several.index[~later]
    layers.loc[first, values] = means.loc[first]
    why.rule("replicate_averaged", _mask(len(layers), several.index.to_numpy()[later]))


def _mask(n: int, rows: np.ndarray) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask


def _judge_profiles(
    profiles: pd.DataFrame,
    conflict: np.ndarray,
    layers: pd.DataFrame,
    code: np.ndarray,
    kept: np.ndarray,
    rules: Rules,
    land: LandMask | None,
) -> pd.DataFrame:
    n = len(profiles)
    shape = _shape(layers, code, kept, n, rules.overlap_tolerance)
    why = _Reasons(n, PROFILE_REASONS)
    _judge_places(profiles, conflict, why, land)
    error = profiles["location_error"].to_numpy(float)
    if rules.max_location_error is not None:
        why.rule("location_uncertain", error > rules.max_location_error, "{e:g} degree", e=error)
    if rules.exclude_treated:
        why.rule("treated", profiles["treated"].eq(True).to_numpy(bool))
    if rules.exclude_reconstructed:
        why.rule("depths_reconstructed", (profiles["depth_bounds"] == "reconstructed").to_numpy())
    why.rule("no_layers", np.bincount(code[code >= 0], minlength=n) == 0)
    why.rule("no_valid_layers", shape["n_layers"] == 0)
    why.rule("layers_overlap", shape["overlap"], "at {at:g} m", at=shape["overlap_at"])
    if rules.max_gap is not None:
        why.rule("layers_gapped", shape["gap"] > rules.max_gap + 1e-9, "{g:g} m", g=shape["gap"])
    top = shape["top_depth"]
    if rules.max_top_depth is not None:
        why.rule("top_missing", top > rules.max_top_depth + 1e-9, "{t:g} m", t=top)
    count, deepest = shape["n_layers"], shape["max_depth"]
    why.rule("too_few_layers", count < rules.min_layers, "{n}", n=count)
    why.rule("too_shallow", deepest <= rules.min_max_depth + 1e-9, "{d:g} m", d=deepest)
    about = {k: shape[k] for k in ("n_layers", "top_depth", "max_depth", "gap")}
    return profiles.assign(reason=why.reason, detail=why.detail, **about)


def _judge_places(
    profiles: pd.DataFrame, conflict: np.ndarray, why: _Reasons, land: LandMask | None
) -> None:
    lat, lon = profiles["lat"].to_numpy(float), profiles["lon"].to_numpy(float)
    place = {"lat": lat, "lon": lon}
    given = np.isfinite(lat) & np.isfinite(lon)
    in_range = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    swappable = (np.abs(lon) <= 90) & (np.abs(lat) <= 180)
    at_zero = (lat == 0) & (lon == 0)
    wrong = given & ~in_range
    if land is not None:
        wrong |= given & ~land(lat, lon)
        swappable &= land(lon, lat)
    why.rule("coordinates_conflict", conflict)
    why.rule("coordinates_missing", ~given)
    why.rule("coordinates_swapped", wrong & swappable & ~at_zero, "{lat:g}, {lon:g}", **place)
    why.rule("coordinates_out_of_range", given & ~in_range, "{lat:g}, {lon:g}", **place)
    why.rule("coordinates_zero", at_zero)
    why.rule("coordinates_in_sea", wrong, "{lat:g}, {lon:g}", **place)


def _shape(
    layers: pd.DataFrame, code: np.ndarray, kept: np.ndarray, n: int, tolerance: float
) -> dict[str, np.ndarray]:
    """Count, extent, gaps and overlaps of the kept layers of each profile."""
    rows = np.flatnonzero(kept)
    # `layers` is sorted by profile and upper depth, so neighbours of a profile are neighbours here:
    # if any two layers of a profile overlap, then two consecutive ones do.
    c = code[rows]
    upper = layers["upper_depth"].to_numpy(float)[rows]
    lower = layers["lower_depth"].to_numpy(float)[rows]
    top, deepest = np.full(n, np.nan), np.full(n, np.nan)
    np.fmin.at(top, c, upper)
    np.fmax.at(deepest, c, lower)
    inside = c[1:] == c[:-1]
    step = np.where(inside, upper[1:] - lower[:-1], 0.0)
    gap = np.zeros(n)
    np.add.at(gap, c[1:], np.where(step > tolerance, step, 0.0))
    at = np.flatnonzero(step < -tolerance - 1e-9)
    overlap_at = np.full(n, np.nan)
    np.fmin.at(overlap_at, c[1:][at], upper[1:][at])
    return {
        "n_layers": np.bincount(c, minlength=n),
        "top_depth": top,
        "max_depth": deepest,
        "gap": gap.round(9),
        "overlap": ~np.isnan(overlap_at),
        "overlap_at": overlap_at,
    }
