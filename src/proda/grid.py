"""The vertical grid (docs/theory.md#grid): 20 soil layers to 8.6 m, counted from the top."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

_THICKNESS = (
    *(0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.20, 0.24, 0.28, 0.32),
    *(0.36, 0.40, 0.44, 0.54, 0.64, 0.74, 0.84, 0.94, 1.04, 1.14),
)
_NODE = (
    *(0.01, 0.04, 0.09, 0.16, 0.26, 0.40, 0.58, 0.80, 1.06, 1.36),
    *(1.70, 2.08, 2.50, 2.99, 3.58, 4.27, 5.06, 5.95, 6.94, 8.03),
)


@dataclass(frozen=True)
class Grid:
    """Soil layers of one column; depths in m, positive down.

    Parameters
    ----------
    thickness_m
        Thickness of each layer.
    node_m
        Depth of each layer's node, where its concentration is taken to hold.
    next_interface_m
        Lower interface of the first layer beyond the grid; only the depth at which cryoturbation
        ends in a column without bedrock depends on it (docs/theory.md#vertical-transport).
    """

    thickness_m: tuple[float, ...]
    node_m: tuple[float, ...]
    next_interface_m: float

    def __post_init__(self) -> None:
        interface = np.cumsum(self.thickness_m)
        if len(self.thickness_m) != len(self.node_m):
            raise ValueError("A grid needs one node for each layer.")
        if not all(t > 0 for t in self.thickness_m):
            raise ValueError("Every layer needs a thickness above 0.")
        above = np.concatenate([[0.0], interface[:-1]])
        if not np.all((above < self.node) & (self.node < interface)):
            raise ValueError("Every node must lie inside its layer.")

    def __len__(self) -> int:
        return len(self.thickness_m)

    @cached_property
    def thickness(self) -> Float[np.ndarray, " layer"]:
        """Layer thickness, m."""
        return np.array(self.thickness_m)

    @cached_property
    def node(self) -> Float[np.ndarray, " layer"]:
        """Node depth, m."""
        return np.array(self.node_m)

    @cached_property
    def interface(self) -> Float[np.ndarray, " layer"]:
        """Depth of each layer's lower interface, m.

        Rounded to 1e-12 m, so that 0.02 + 0.04 + 0.06 is the 0.12 of the published table and a
        comparison with an active layer depth falls on the same side as there.
        """
        return np.round(np.cumsum(self.thickness_m), 12)

    def thickness_within(self, upper: float, lower: float) -> Float[np.ndarray, " layer"]:
        """Return how much of each layer lies between two depths, m."""
        top = self.interface - self.thickness
        return np.clip(np.minimum(self.interface, lower) - np.maximum(top, upper), 0.0, None)


CLM5_GRID = Grid(thickness_m=_THICKNESS, node_m=_NODE, next_interface_m=10.99)
"""The 20 layers of CLM5 (to 8.6 m) that both models of the study use."""
