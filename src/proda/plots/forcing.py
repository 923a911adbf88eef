"""The forcing of one place, through depth and the year."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from proda.forcing import LITTER
from proda.grid import CLM5_GRID
from proda.plots.style import COLOURS, DIVERGING, SEQUENTIAL, style

_MONTHS = "JFMAMJJASOND"


def forcing_at_place(column: xr.Dataset) -> Figure:
    """Draw temperature, scalars and carbon input of one column.

    Parameters
    ----------
    column
        Forcing without place dimensions, as
        :func:`proda.drivers.nearest_cells.one_place` returns it.

    Returns
    -------
    matplotlib.figure.Figure
        Soil temperature and water scalar against month and depth with the active layer and
        bedrock, the oxygen and nitrogen scalars where they vary, litter inputs per pool.
    """
    temperature = column["soil_temperature"].transpose("layer", "month").to_numpy() - 273.15
    water = column["w_scalar"].transpose("layer", "month").to_numpy()
    panels = [
        ("Soil temperature", "°C", temperature, "temperature"),
        ("Water scalar", "share of the full rate", water, "share"),
    ]
    for name, title in (("o_scalar", "Oxygen scalar"), ("n_scalar", "Nitrogen scalar")):
        values = column[name].transpose("layer", "month").to_numpy()
        if np.ptp(values) > 1e-6:
            panels.append((title, "share of the full rate", values, "share"))
    nbedrock = int(column["nbedrock"])
    active = column["altmax"].to_numpy().astype(float)
    with style():
        width = 3.1 if len(panels) < 4 else 2.7
        ratios = [3.0] * len(panels) + [1.9]
        figure, axes = plt.subplots(
            1, len(panels) + 1, figsize=(width * len(panels) + 2.9, 3.9), width_ratios=ratios
        )
        for i, (axis, (title, unit, values, kind)) in enumerate(
            zip(axes[:-1], panels, strict=True)
        ):
            _draw(figure, axis, title, unit, values, kind)
            _lines(axis, active, nbedrock, labelled=i == 0)
            axis.set_ylabel("Depth (m)" if i == 0 else "")
            axis.tick_params(labelleft=i == 0)
        _litter(axes[-1], column)
        figure.suptitle(_finding(column, temperature, water, active), ha="left", x=0.01, size=10)
    return figure


def _draw(figure: Figure, axis: Axes, title: str, unit: str, values: np.ndarray, kind: str) -> None:
    edges = np.concatenate([[0.0], CLM5_GRID.interface])
    months = np.arange(0.5, 13.0)
    if kind == "temperature":
        low, high = float(values.min()), float(values.max())
        if low < 0 < high:  # white is 0 °C
            reach = max(-low, high)
            norm: Normalize = TwoSlopeNorm(0.0, -reach, reach)
        else:  # all on one side of 0: the scale of the range of values, except rounding errors
            norm = Normalize(low - 0.5, high + 0.5)
        colours = DIVERGING if low < 0 < high else "cividis"
        mesh = axis.pcolormesh(months, edges, values, cmap=colours, norm=norm)
    else:
        mesh = axis.pcolormesh(months, edges, values, cmap=SEQUENTIAL, vmin=0, vmax=1)
    axis.grid(visible=False)
    # Most variation is near the surface; the square root gives it half of the height.
    axis.set_yscale("function", functions=(lambda z: np.sqrt(np.maximum(z, 0)), np.square))
    axis.set_ylim(CLM5_GRID.interface[-1], 0.0)
    axis.set_yticks([0.1, 0.5, 1, 2, 4, 8], ["0.1", "0.5", "1", "2", "4", "8"])
    axis.set_xticks(range(1, 13), list(_MONTHS))
    axis.set_xlabel("Month")
    axis.set_title(title)
    bar = figure.colorbar(mesh, ax=axis, pad=0.02)
    bar.set_label(unit)


def _lines(axis: Axes, active: np.ndarray, nbedrock: int, labelled: bool) -> None:
    months = np.arange(1, 13)
    bottom = CLM5_GRID.interface[-1]
    drawn = False
    halo = [withStroke(linewidth=3.4, foreground="white")]  # visible on dark and on light colours
    if (active < bottom).any():
        axis.plot(
            months,
            np.minimum(active, bottom),
            color=COLOURS[6],
            lw=1.6,
            ls="--",
            label="active layer",
            path_effects=halo,
        )
        drawn = True
    if nbedrock < len(CLM5_GRID):
        axis.axhline(
            CLM5_GRID.interface[nbedrock - 1],
            color=COLOURS[6],
            lw=1.6,
            label="bedrock",
            path_effects=halo,
        )
        drawn = True
    if drawn and labelled:
        legend = axis.legend(loc="lower left", fontsize=8, frameon=True)
        legend.get_frame().set(facecolor="white", alpha=0.9, edgecolor="none")


def _litter(axis: Axes, column: xr.Dataset) -> None:
    carbon = column["litter_input"].to_numpy().astype(float)
    axis.bar(list(LITTER), carbon, color=COLOURS[: len(LITTER)])
    axis.set_title("Litter input")
    axis.set_ylabel("g C m$^{-2}$ yr$^{-1}$")
    axis.grid(visible=False, axis="x")
    for i, value in enumerate(carbon):
        axis.annotate(f"{value:.0f}", (i, value), ha="center", va="bottom", fontsize=8)


def _finding(
    column: xr.Dataset, temperature: np.ndarray, water: np.ndarray, active: np.ndarray
) -> str:
    place = str(column.attrs.get("place", "One place"))
    bottom = CLM5_GRID.interface[-1]
    if active.max() <= 0:
        frost = "frozen all year"
    elif active.max() < bottom:
        frost = f"thaws to {active.max():.2g} m"
    else:
        frozen = int((temperature[0] < 0).sum())
        frost = f"surface frozen in {frozen} of 12 months" if frozen else "never frozen"
    # Mean over the layers of the upper 30 cm and the year.
    shallow = CLM5_GRID.interface <= 0.32
    mean = float(np.average(water[shallow].mean(axis=1), weights=CLM5_GRID.thickness[shallow]))
    slow = f"dry or frozen water slows decay above 32 cm to {mean:.0%}"
    how = " (estimated from climate)" if column.attrs.get("estimated") == "yes" else ""
    return f"{place}: {frost}; {slow}{how}"
