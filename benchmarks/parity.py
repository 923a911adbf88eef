"""How close the `published` variants come to the published code, on all of its answers.

    python -m benchmarks.parity FOLDER      (holds clm5_published.nc and compas_published.nc)

Differences relative to the column's largest value; COMPAS by absolute value in layers above
bedrock, since the published code negates what it rejects.
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import numpy as np
import xarray as xr

import proda


def compare(name: str, folder: Path) -> None:
    dataset = xr.load_dataset(folder / f"{name}_published.nc")
    dataset = dataset.isel(site=np.flatnonzero(dataset["singular_warning"].to_numpy() == 0))
    parameters = {n: str(n).removeprefix("param_") for n in dataset if str(n).startswith("param_")}
    values = dataset[list(parameters)].rename(parameters)
    forcing = proda.Forcing.from_dataset(dataset)
    result = proda.steady_state(proda.load_model(name, "published"), values, forcing)
    theirs = np.nan_to_num(np.abs(dataset["pool_carbon"].to_numpy()))
    ours = np.abs(result["pool_carbon"].to_numpy())
    if name == "compas":
        above = np.arange(20) < forcing.nbedrock[:, None, None]
        theirs, ours = theirs * above, ours * above
    difference = np.abs(ours - theirs)
    column = difference.max(axis=(1, 2)) / theirs.max(axis=(1, 2))
    largest = theirs.max(axis=2)
    pool = (difference.max(axis=2) / np.where(largest > 0, largest, 1.0)).max(axis=1)
    soc = np.nan_to_num(np.abs(dataset["soc"].to_numpy()))
    sum_of = np.abs(result["soil_carbon"].to_numpy())
    if name == "compas":
        soc, sum_of = soc * above[:, 0], sum_of * above[:, 0]
    soil = np.abs(sum_of - soc).max(axis=1) / soc.max(axis=1)
    for label, error in (("column", column), ("each pool", pool), ("soil carbon", soil)):
        print(
            f"{name:7s} {label:12s} {len(error):4d} cases  median {np.median(error):.1e}  "
            f"95 % {np.quantile(error, 0.95):.1e}  largest {error.max():.1e}  "
            f"under 1e-6: {np.mean(error < 1e-6):.1%}"
        )
    accepted = np.nansum(dataset["soc"].to_numpy(), axis=1) >= 0
    same = (result["reason"].to_numpy() == 0) == accepted
    print(
        f"{name:7s} accepted by theirs {accepted.sum()}, same verdict in {same.sum()} "
        f"of {len(same)}"
    )
    counts = np.bincount(result["reason"].to_numpy(), minlength=len(proda.Reason))
    named = {r.name.lower(): int(counts[r]) for r in proda.Reason}
    print(f"{name:7s} reasons: {named}")
    default = proda.steady_state(proda.load_model(name), values, forcing)
    good = default["reason"].to_numpy() == 0
    balance = (default["respiration"] / default["carbon_input"]).to_numpy()[good]
    leak = (result["respiration"] / result["carbon_input"]).to_numpy()
    print(
        f"{name:7s} default variant: {good.sum()} of {good.size} have a steady state, "
        f"|respiration/input - 1| at most {np.abs(balance - 1).max():.1e}"
    )
    if name == "clm5":
        print(
            f"{name:7s} published: respiration/input {leak.min():.3f} to {leak.max():.3f}, "
            f"under 0.999 in {np.mean(leak < 0.999):.0%}"
        )


if __name__ == "__main__":
    print(date.today())
    for model in ("clm5", "compas"):
        compare(model, Path(sys.argv[1]))
