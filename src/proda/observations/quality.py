"""The rules: which layers and profiles are used, and the one reason why each other is not.

The rules stand below in the order in which they are applied; the first that holds is the reason.
Layers are judged one by one first, then each profile by what is left of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from proda.observations import stock
from proda.observations.land import LandMask

LAYER_REASONS: dict[str, str] = {
    "no_profile_row": "no row of the profile table has this layer's profile",
    "depth_missing": "a bound is absent or infinite",
    "litter": "starts above the mineral soil (negative depth), or the source calls it litter",
    "depth_inverted": "lower bound above the upper bound",
    "depth_no_thickness": "lower bound equal to the upper bound",
    "depth_implausible": "lower bound deeper than max_depth",
    "soc_missing": "neither carbon content nor carbon stock",
    "soc_negative": "carbon below 0",
    "soc_zero": "carbon exactly 0: below detection, and without a logarithm",
    "soc_impossible": "carbon content above max_soc, or given stock above max_stock",
    "soc_basis_excluded": "the carbon number is of a kind listed in exclude_soc_basis",
    "total_carbon_alkaline": "total carbon, carbonate not measured, pH above total_carbon_max_ph",
    "coarse_impossible": "coarse fragments below 0 %, or no fine earth left (100 % or more)",
    "density_impossible": "bulk density outside min_density-max_density (as fine earth too), or "
    "a carbon stock above max_stock with it",
    "repeated_layer": "the same bounds and values as another layer of the profile",
    "replicate_averaged": "the same bounds as another layer, other values: averaged into it",
}
"""Reasons a layer is left out for, in the order in which the rules are applied."""

PROFILE_REASONS: dict[str, str] = {
    "coordinates_conflict": "several rows with this identifier and different coordinates",
    "coordinates_missing": "latitude or longitude absent",
    "coordinates_swapped": "in the sea or out of range as given, on land when swapped",
    "coordinates_out_of_range": "latitude beyond 90 or longitude beyond 180 degrees",
    "coordinates_zero": "exactly 0 N 0 E",
    "coordinates_in_sea": "farther than coast_tolerance from land (only with a land mask)",
    "location_uncertain": "stated location error above max_location_error",
    "treated": "manipulated plot",
    "depths_reconstructed": "bounds reconstructed from mid-depths",
    "no_layers": "no row of the layer table has this profile",
    "no_valid_layers": "every layer was left out",
    "layers_overlap": "layers overlap by more than overlap_tolerance",
    "layers_gapped": "more than max_gap without a value between layers",
    "top_missing": "the first layer starts deeper than max_top_depth",
    "too_few_layers": "fewer than min_layers layers are left",
    "too_shallow": "the deepest layer left does not reach below min_max_depth",
    "duplicate": "the same profile from another source, or twice from one",
}
"""Reasons a profile is left out for, in the order in which the rules are applied."""


class Rules(BaseModel):
    """Limits and choices of the rules; every default is here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_layers: int = Field(3, ge=1, description="Layers a profile needs (the study: over two).")
    min_max_depth: float = Field(
        0.5, ge=0, description="A profile must reach deeper than this, m (the study: 50 cm)."
    )
    max_depth: float = Field(10.0, gt=0, description="Deepest plausible lower bound, m.")
    max_soc: float = Field(
        600.0, gt=0, le=1000, description="Highest plausible content, g kg-1 (pure organic "
        "matter: 580)."
    )  # fmt: skip
    max_stock: float = Field(
        3e5, gt=0, description="Highest plausible stock, g m-3; dense peat has 1e5."
    )
    min_density: float = Field(10.0, ge=0, description="Lowest plausible bulk density, kg m-3.")
    max_density: float = Field(
        2300.0, gt=0, description="Highest plausible bulk density, kg m-3 (mineral grains: 2650)."
    )
    impossible_density: Literal["reject", "estimate"] = Field(
        "reject",
        description="A layer with an impossible density is left out, or keeps its carbon and gets "
        "an estimated density.",
    )
    overlap_tolerance: float = Field(0.005, ge=0, description="Overlap that counts as rounding, m.")
    replicates: Literal["average", "reject"] = Field(
        "average",
        description="Layers with equal bounds and other values are averaged, or left as an "
        "overlap, which rejects the profile.",
    )
    max_gap: float | None = Field(
        None, ge=0, description="Longest allowed sum of gaps, m; by default any: each layer is "
        "compared with the model on its own."
    )  # fmt: skip
    max_top_depth: float | None = Field(
        None, ge=0, description="Deepest allowed start of the first layer, m; by default any."
    )
    exclude_treated: bool = Field(True, description="Leave out plots known to be manipulated.")
    exclude_reconstructed: bool = Field(
        False, description="Leave out profiles whose bounds are reconstructed from mid-depths."
    )
    exclude_soc_basis: tuple[str, ...] = Field(
        ("spectroscopy",), description="Kinds of carbon number that are left out."
    )
    total_carbon_max_ph: float = Field(
        7.2, description="Total carbon counts as organic only up to this pH (carbonate above it); "
        "a layer of unknown pH is kept."
    )  # fmt: skip
    max_location_error: float | None = Field(
        None, gt=0, description="Largest stated location error, degrees; by default any."
    )
    coast_tolerance: float = Field(
        0.5, ge=0, description="Points this far from land are still on it, degrees."
    )
    prefer: tuple[str, ...] = Field(
        (),
        description="Sources or collections in the order in which they are kept where one profile "
        "came from several; the others follow in the order of the settings.",
    )


@dataclass(frozen=True)
class Verdict:
    """Profiles and layers with the columns `reason` (None: kept) and `detail`.

    A layer that was not left out itself but whose profile is has the profile's reason, and `by` =
    "profile".
    """

    profiles: pd.DataFrame
    layers: pd.DataFrame


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
        """Give rows without a reason this one where it holds; `detail` is a format string."""
        if name not in self._known:
            raise AssertionError(f"{name} is not a listed reason")
        rows = np.flatnonzero(self.free & holds)
        self.reason[rows] = name
        if detail:
            for row in rows.tolist():
                self.detail[row] = detail.format(**{k: v[row] for k, v in values.items()})


def judge(
    profiles: pd.DataFrame, layers: pd.DataFrame, rules: Rules, land: LandMask | None
) -> Verdict:
    """Apply all rules but that of duplicates, which needs all profiles of all sources.

    Parameters
    ----------
    profiles, layers
        All rows of some profiles, with the columns that readers deliver.
    rules
        Limits.
    land
        Land mask, or None: then no profile is left out for lying in the sea.
    """
    profiles, conflict = _merge_rows(profiles)
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
    return Verdict(profiles, layers)


def _merge_rows(profiles: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per profile (the first value that is there), and where coordinates disagree."""
    groups = profiles.groupby("profile_id", sort=True)
    if len(groups) == len(profiles):
        merged = profiles.sort_values("profile_id", ignore_index=True)
        return merged, np.zeros(len(merged), dtype=bool)
    merged = groups.first().reset_index()[list(profiles.columns)]
    place = groups[["lat", "lon"]]
    apart = ((place.max() - place.min()) > 1e-6).any(axis=1).to_numpy()
    return merged, apart


def _judge_layers(layers: pd.DataFrame, code: np.ndarray, rules: Rules) -> pd.DataFrame:
    upper, lower = layers["upper_depth"].to_numpy(float), layers["lower_depth"].to_numpy(float)
    soc, given = layers["soc"].to_numpy(float), layers["stock_given"].to_numpy(float)
    carbon = np.where(np.isfinite(given), given, soc)
    coarse, ph = layers["coarse"].to_numpy(float), layers["ph"].to_numpy(float)
    density = layers["bulk_density"].to_numpy(float)
    basis = layers["soc_basis"]
    why = _Reasons(len(layers), LAYER_REASONS)
    bounds = {"upper": upper, "lower": lower}
    why.rule("no_profile_row", code < 0)
    why.rule("depth_missing", ~(np.isfinite(upper) & np.isfinite(lower)))
    why.rule("litter", (upper < 0) | layers["litter"].eq(True).to_numpy(bool))
    why.rule("depth_inverted", lower < upper, "{upper:g} to {lower:g} m", **bounds)
    why.rule("depth_no_thickness", lower == upper, "{upper:g} m", **bounds)
    why.rule("depth_implausible", lower > rules.max_depth, "{lower:g} m", **bounds)
    why.rule("soc_missing", ~np.isfinite(carbon))
    why.rule("soc_negative", carbon < 0, "{c:g}", c=carbon)
    why.rule("soc_zero", carbon == 0)
    why.rule("soc_impossible", np.where(np.isfinite(given), given > rules.max_stock,
                                        soc > rules.max_soc), "{c:g}", c=carbon)  # fmt: skip
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
    """Find layers with equal bounds (to 1 mm); average what differs into the first of them."""
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
