"""CLM5's respiration from real CLM5.1 pools and scalars: the bulk, and what the tails are.

python -m benchmarks.clm51 FILE         (clm51_sparse.nc: 125 cells, one month)
"""

from __future__ import annotations

import sys
from datetime import date

import numpy as np
import xarray as xr
from tests.test_clm51 import respiration


def main() -> None:
    cells = xr.load_dataset(sys.argv[1]).transpose("cell", "layer", ...)
    above = np.arange(20) < cells["nbedrock_inferred"].to_numpy()[:, None]
    theirs = cells["HR_vr"].to_numpy().astype(float)
    some = above & (theirs > 1e-12)
    ratio = np.where(some, respiration(cells), np.nan) / np.where(some, theirs, 1.0)
    flux = theirs * cells["layer_thickness"].to_numpy()
    whole = np.where(flux.sum(axis=1) > 0, flux.sum(axis=1), np.nan)  # some cells are all ice
    share = flux / whole[:, None]
    celsius = cells["TSOI"].to_numpy() - 273.15
    water = cells["W_SCALAR"].to_numpy()
    depth = np.broadcast_to(cells["layer_depth"].to_numpy(), ratio.shape)
    print(date.today(), f"{some.sum()} layers above bedrock that respire, ours over HR_vr")
    points = [1, 5, 25, 50, 75, 95, 99]
    print("percentiles", *points, ":", *np.percentile(ratio[some], points).round(3))
    inside = (ratio > 0.92) & (ratio < 1.05)
    print(f"within 0.92-1.05: {inside[some].mean():.2f} of the layers")
    columns = np.where(some, ratio * flux, 0.0).sum(axis=1) / whole
    print(
        "whole columns, percentiles 5 25 50 75 95:",
        np.nanpercentile(columns, [5, 25, 50, 75, 95]).round(3),
    )
    print(
        f"{'ratio':12s} {'layers':>7s} {'of all HR':>10s} {'of own column':>14s} {'depth m':>8s} "
        f"{'C':>6s} {'-1 to 1 C':>10s} {'W < 0.2':>9s}"
    )
    for label, chosen in (
        ("under 0.8", some & (ratio <= 0.8)),
        ("0.8 to 1.25", some & (ratio > 0.8) & (ratio < 1.25)),
        ("over 1.25", some & (ratio >= 1.25)),
        ("over 10", some & (ratio >= 10)),
    ):
        print(
            f"{label:12s} {chosen.sum() / some.sum():7.1%} "
            f"{flux[chosen].sum() / flux[some].sum():10.2%} {np.median(share[chosen]):14.1e} "
            f"{np.median(depth[chosen]):8.2f} {np.median(celsius[chosen]):6.1f} "
            f"{np.mean(np.abs(celsius[chosen]) < 1):10.1%} {np.mean(water[chosen] < 0.2):9.1%}"
        )


if __name__ == "__main__":
    main()
