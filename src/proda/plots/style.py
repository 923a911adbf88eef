"""Common style of all figures: a colour-blind safe palette, sizes, and saving."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from proda.errors import FileError
from proda.files import whole_file

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
    "#661100",
)
"""Okabe and Ito (2008) and a dark brown: distinct with any common colour vision, and in grey."""
LINES = ("-", "--", "-.", ":")
"""Styles of lines, so that many curves need not be distinguished by colour alone."""

SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"

_STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "font.size": 9.0,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 200,
}


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in their order; beyond nine names colours repeat."""
    return dict(zip(names, cycle(COLOURS), strict=False))


@contextmanager
def style() -> Iterator[None]:
    """Apply the common style inside a `with` block without changing the user's settings."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def draw_land(
    axis: Axes, lat: np.ndarray, lon: np.ndarray, land: np.ndarray, darkness: float = 1 / 6
) -> None:
    """Draw land in grey behind sites or a map.

    Parameters
    ----------
    axis
        To draw on.
    lat, lon
        Axes, degrees.
    land
        Whether a cell is land, (lat, lon).
    darkness
        Between 0 (white) and 1 (black).
    """
    axis.pcolormesh(
        lon,
        lat,
        np.where(land, darkness, np.nan),
        cmap="Greys",
        vmin=0,
        vmax=1,
        shading="nearest",
        rasterized=True,
    )


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure, completely or not at all, and close it; the format follows the file's ending.

    Raises
    ------
    FileError
        If Matplotlib does not know the ending, or the file cannot be written.
    """
    ending = Path(path).suffix.lstrip(".").lower()
    if ending not in figure.canvas.get_supported_filetypes():
        raise FileError(f"{path}: cannot draw a .{ending} file; use .png, .pdf or .svg.")
    with whole_file(path) as temporary, warnings.catch_warnings():
        # The search for a free position may take a second on a busy machine.
        warnings.filterwarnings("ignore", message='Creating legend with loc="best"')
        figure.savefig(temporary, format=ending)
    plt.close(figure)


def figure_folder(folder: str | os.PathLike[str]) -> Path:
    """Create a folder for figures if it is absent, and return it.

    Raises
    ------
    FileError
        If it cannot be created.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target}: the folder cannot be created ({error}).") from error
    return target


def save_all(
    figures: Mapping[str, Callable[[], Figure]],
    folder: str | os.PathLike[str],
    endings: Sequence[str] = ("png",),
) -> Iterator[Path]:
    """Draw figures one by one into a folder, and yield each file once it is written.

    Parameters
    ----------
    figures
        Name of the file, without ending -> function that draws it.
    folder
        Folder, created if absent.
    endings
        Formats.

    Raises
    ------
    FileError
        If the folder cannot be created or a file cannot be written.
    """
    target = figure_folder(folder)
    for name, draw in figures.items():
        figure = draw()
        for ending in endings:
            save(figure, target / f"{name}.{ending}")
            yield target / f"{name}.{ending}"
