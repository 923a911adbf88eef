"""Draw the diagrams of the manual: pools and flows of every model.

python tools/diagrams.py docs/images [MODEL ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from proda.models.registry import MODELS, load_model
from proda.plots.model_diagram import draw_model


def main(folder: str, *models: str) -> None:
    """Draw each model that is named, or all."""
    for name in models or tuple(MODELS):
        model = load_model(name)
        figure = draw_model(model)
        figure.savefig(
            Path(folder) / f"model_{model.name}.png", dpi=130, pil_kwargs={"optimize": True}
        )
        plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
