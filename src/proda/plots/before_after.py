"""Soil carbon of all models, before and after profiles constrain them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from proda.comparison.model_files import STOCK
from proda.plots.comparison_many import _bar, _shape
from proda.plots.comparison_maps import _label, _map
from proda.plots.maps import _norm
from proda.plots.style import style

MOST_COLUMNS = 3
"""More models than this are rows, and the states columns."""


def before_and_after(maps: Mapping[str, Mapping[str, xr.Dataset]], title: str) -> Figure:
    """Draw soil carbon in 0-100 cm of every model in every state, all on one colour scale.

    Parameters
    ----------
    maps
        By words for the state ("with default parameters"), then by model. A model may lack a state.
    title
        The finding, such as the change of the correlation of the models.
    """
    models = list(dict.fromkeys(model for of_state in maps.values() for model in of_state))
    across = len(models) <= MOST_COLUMNS
    shape = (len(maps), len(models)) if across else (len(models), len(maps))
    drawn = [d for of_state in maps.values() for d in of_state.values()]
    norm = _norm(np.concatenate([d[STOCK].to_numpy().ravel() for d in drawn]), None)
    wide = 9.4 / max(shape[1], 2)
    high = (wide * _shape(drawn[0]) + 0.1) * shape[0] + 0.7
    with style():
        figure, grid = plt.subplots(
            *shape, figsize=(wide * shape[1] + 1.2, high), squeeze=False, layout="constrained"
        )
        by_state = grid if across else grid.T
        mesh = None
        for axes, of_state in zip(by_state, maps.values(), strict=True):
            for axis, model in zip(axes, models, strict=True):
                if model in of_state:
                    mesh = _map(axis, of_state[model][STOCK], of_state[model], norm)
                else:
                    axis.text(0.5, 0.5, "no map", ha="center", transform=axis.transAxes)
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=True, color="0.85")
        states, names = [fill(words, 20) for words in maps], [model.upper() for model in models]
        for axis, words in zip(grid[0], names if across else states, strict=True):
            axis.set_title(words, fontsize="medium", loc="center")
        for axis, words in zip(grid[:, 0], states if across else names, strict=True):
            axis.set_ylabel(words)
        _bar(figure, mesh, grid, _label(drawn[0][STOCK]), norm, "right")
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure
