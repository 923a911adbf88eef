"""Draw the picture of README and manual: two maps of one stock, one above the other.

python tools/picture.py clm5.nc compas.nc docs/images/two_models.png
"""

from __future__ import annotations

import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from proda.maps.totals import open_map, totals
from proda.plots.style import SEQUENTIAL, style

STOCK = "cSoilAbove1m"
LIMITS = (2.0, 60.0)
WORDS = {"clm5": "CLM5 (first-order)", "compas": "COMPAS (microbial)"}


def main(first: str, second: str, out: str) -> None:
    """Draw, with the correlation of the logarithms over land as the finding."""
    maps = [open_map(first), open_map(second)]
    x, y = (m[STOCK].transpose("lat", "lon").to_numpy() for m in maps)
    both = (x > 0) & (y > 0)
    correlation = np.corrcoef(np.log(x[both]), np.log(y[both]))[0, 1]
    with style():
        figure, axes = plt.subplots(2, 1, figsize=(6.4, 5.9), sharex=True)
        for axis, data in zip(axes, maps, strict=True):
            drawn = data[STOCK].sel(lat=slice(*sorted((-57, 84), reverse=bool(data.lat[0] > 0))))
            image = axis.pcolormesh(
                drawn["lon"],
                drawn["lat"],
                drawn.transpose("lat", "lon"),
                cmap=SEQUENTIAL,
                norm=LogNorm(*LIMITS),
                rasterized=True,
            )
            total = totals(data).loc[("globe", STOCK), "mean"]
            axis.set_title(f"{WORDS[data.attrs['model']]}: {total:,.0f} Pg C to 1 m", fontsize=9)
            axis.set_ylabel("latitude (°N)")
            axis.set_aspect(1.15)
        axes[1].set_xlabel("longitude (°E)")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, extend="both", format="%g")
        bar.set_ticks([2, 5, 10, 20, 50], minor=False)
        bar.minorticks_off()
        bar.set_label("soil carbon, 0-1 m (kg m$^{-2}$)")
        figure.suptitle(
            "Before data: the same forcing, two models, and maps that\n"
            f"agree little (correlation of log carbon {correlation:.2f})",
            fontsize=10,
        )
        figure.savefig(out, dpi=100, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
