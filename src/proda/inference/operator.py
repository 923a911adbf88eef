"""From modelled layers to measured ones: the observation operator (docs/theory.md#observation).

Carbon between the nodes follows a monotone cubic (PCHIP, Fritsch and Carlson 1980), as in the
study. Its value at a depth and its mean over an interval are both linear in the values and slopes
at the nodes, so one pair of matrices per site serves either; only the slopes depend on the state.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from proda.grid import Grid
from proda.inference.assimilation_settings import Operator


def pchip_slopes(
    values: Float[Array, " layer"], node: Float[np.ndarray, " layer"]
) -> Float[Array, " layer"]:
    """Return slopes at the nodes with which the cubic is monotone between them.

    Weighted harmonic means of the neighbouring gradients, 0 where these differ in sign; at the two
    ends the three-point formula, limited to the sign and three times the size of the first gradient
    (as in SciPy and MATLAB).
    """
    h = np.diff(node)
    gradient = jnp.diff(values) / h
    left, right = gradient[:-1], gradient[1:]
    w_left, w_right = 2.0 * h[1:] + h[:-1], h[1:] + 2.0 * h[:-1]
    monotone = left * right > 0.0
    below = jnp.where(monotone, w_left * right + w_right * left, 1.0)
    inner = jnp.where(monotone, (w_left + w_right) * left * right / below, 0.0)
    first = _end_slope(gradient[0], gradient[1], h[0], h[1])
    last = _end_slope(gradient[-1], gradient[-2], h[-1], h[-2])
    return jnp.concatenate([first[None], inner, last[None]])


def _end_slope(
    near: Float[Array, ""], next_: Float[Array, ""], h_near: float, h_next: float
) -> Float[Array, ""]:
    slope = ((2.0 * h_near + h_next) * near - h_near * next_) / (h_near + h_next)
    slope = jnp.where(
        (near * next_ < 0.0) & (jnp.abs(slope) > 3.0 * jnp.abs(near)), 3.0 * near, slope
    )
    return jnp.where(slope * near <= 0.0, 0.0, slope)


def observe(
    soil_carbon: Float[Array, " layer"],
    value_weight: Float[Array, "observation layer"],
    slope_weight: Float[Array, "observation layer"],
    nbedrock: Int[Array, ""],
    grid: Grid,
) -> Float[Array, " observation"]:
    """Return the modelled carbon of each measured layer, g m-3.

    Bedrock contains no carbon, but carbon does not decrease to 0 towards it: below the last layer
    of soil, the value of that layer is used.
    """
    layer = jnp.arange(len(grid))
    last = jnp.sum(jnp.where(layer == nbedrock - 1, soil_carbon, 0.0))
    values = jnp.where(layer < nbedrock, soil_carbon, last)
    return value_weight @ values + slope_weight @ pchip_slopes(values, grid.node)


def weights(
    upper: Float[np.ndarray, " observation"],
    lower: Float[np.ndarray, " observation"],
    operator: Operator,
    grid: Grid,
) -> tuple[Float[np.ndarray, "observation layer"], Float[np.ndarray, "observation layer"]]:
    """Return the weights of the values and of the slopes at the nodes, for each measured layer.

    Above the first node (1 cm) and below the last (8 m), the value at that node is used.

    Parameters
    ----------
    upper, lower
        Bounds of the measured layers, m.
    operator
        Modelled value compared with a measured layer.
    grid
        The model's layers.
    """
    if operator == "mid_depth":
        return _at(0.5 * (upper + lower), grid.node)
    value_high, slope_high = _integral(lower, grid.node)
    value_low, slope_low = _integral(upper, grid.node)
    thickness = (lower - upper)[:, None]
    return (value_high - value_low) / thickness, (slope_high - slope_low) / thickness


def _place(
    depth: Float[np.ndarray, " n"], node: Float[np.ndarray, " layer"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the interval between nodes, its width, and the relative position 0-1 in it."""
    interval = np.clip(np.searchsorted(node, depth, side="right") - 1, 0, len(node) - 2)
    width = node[interval + 1] - node[interval]
    return interval, width, np.clip((depth - node[interval]) / width, 0.0, 1.0)


def _at(
    depth: Float[np.ndarray, " n"], node: Float[np.ndarray, " layer"]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the cubic's value at each depth (Hermite's basis)."""
    k, h, t = _place(depth, node)
    row = np.arange(len(depth))
    value, slope = np.zeros((2, len(depth), len(node)))
    value[row, k] = 1.0 - t**2 * (3.0 - 2.0 * t)
    value[row, k + 1] = t**2 * (3.0 - 2.0 * t)
    slope[row, k] = h * t * (1.0 - t) ** 2
    slope[row, k + 1] = h * t**2 * (t - 1.0)
    return value, slope


def _integral(
    depth: Float[np.ndarray, " n"], node: Float[np.ndarray, " layer"]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the cubic's integral from the surface to each depth."""
    h = np.diff(node)
    n = len(node)
    whole_value, whole_slope = np.zeros((2, n, n))  # to each node, from the first
    for k in range(n - 1):
        whole_value[k + 1] = whole_value[k]
        whole_slope[k + 1] = whole_slope[k]
        whole_value[k + 1, [k, k + 1]] += h[k] / 2.0
        whole_slope[k + 1, [k, k + 1]] += np.array([1.0, -1.0]) * h[k] ** 2 / 12.0
    place, width, t = _place(depth, node)
    row = np.arange(len(depth))
    value, slope = whole_value[place], whole_slope[place]
    value[row, place] += width * (t - t**3 + t**4 / 2.0)
    value[row, place + 1] += width * (t**3 - t**4 / 2.0)
    slope[row, place] += width**2 * (t**2 / 2.0 - 2.0 * t**3 / 3.0 + t**4 / 4.0)
    slope[row, place + 1] += width**2 * (t**4 / 4.0 - t**3 / 3.0)
    value[:, 0] += np.minimum(depth, node[0])
    value[:, -1] += np.maximum(depth - node[-1], 0.0)
    return value, slope
