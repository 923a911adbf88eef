"""Pools and flows of a model, drawn from its declaration.

Litter is in a column on the left and soil in one on the right, both bent outwards, so that no arrow
between two pools crosses a third. Without litter, all pools are on a circle.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from proda.models.describe import Flow, Share, flow_shares, flows
from proda.models.model import SoilModel
from proda.plots.style import COLOURS, style

TRANSFER, LOSS, INPUT = COLOURS[0], COLOURS[1], COLOURS[2]
SOIL, LITTER = "#DCEBF5", "#F2E6D0"
WIDE, HIGH = 1.5, 0.62
"""Size of a box, in the units of the axes."""
STUB = 0.95
"""Length of the arrows from plants and to CO2."""
SPREAD, BEND = 3.0, 0.75
"""Half the distance of the two columns, and how far they are bent."""
STEP = 1.45
"""Distance between boxes of a column."""
NUDGE = 0.16
SIZE = 7.5
PLACES = np.array([0.34, 0.42, 0.26, 0.5, 0.58, 0.2, 0.66, 0.74, 0.14, 0.82])
"""Possible positions of a label along its arrow, from the donor; the first free one is used."""


@dataclass(frozen=True)
class _Box:
    """The position of a pool."""

    x: float
    y: float
    side: int
    """-1 on the left, 1 on the right: the side of its arrows from plants and to CO2."""


def draw_model(model: SoilModel) -> Figure:
    """Draw pools as boxes, transfers as arrows, input of plants and losses to CO2.

    Percentages are shares of the outflow of the donor (and of the total input), at the steady state
    of the temperate example column with the model's defaults; the width of an arrow increases with
    its carbon flow. A model without a steady state there is drawn without percentages.

    Parameters
    ----------
    model
        Any model; only its declaration is used.
    """
    shares = flow_shares(model)
    # Pathways without carbon at the defaults are drawn too.
    share_of = {flow: shares.get(flow) for flow in flows(model)}
    boxes = _layout(model, tuple(share_of))
    reach_x = max(abs(box.x) for box in boxes.values()) + 0.5 * WIDE + STUB + 1.05
    reach_y = max(abs(box.y) for box in boxes.values()) + 0.5 * HIGH + 0.35
    with style():
        figure = plt.figure(figsize=(7.2, 7.2 * (reach_y + 0.75) / reach_x), layout="none")
        axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axis.set_xlim(-reach_x, reach_x)
        axis.set_ylim(-reach_y - 0.9, reach_y + 0.6)
        axis.set_axis_off()
        for name, box in boxes.items():
            _draw_box(axis, model, name, box, share_of.get(Flow(name, name)))
            _draw_stubs(axis, model, name, box, share_of)
        between = [
            f
            for f in share_of
            if f.donor in boxes and f.receiver in boxes and f.donor != f.receiver
        ]
        paths = {flow: _draw_transfer(axis, boxes, flow, share_of[flow]) for flow in between}
        _label(axis, boxes, paths, share_of)
        figure.suptitle(
            model.title,
            x=0.1 / reach_x,
            y=1.0 - 0.35 / (2.0 * reach_y + 1.5),
            ha="left",
            va="center",
            fontsize=10,
            weight="bold",
        )
        _legend(axis, model, reach_x, -reach_y - 0.2, bool(shares))
    return figure


def _layout(model: SoilModel, links: tuple[Flow, ...]) -> dict[str, _Box]:
    """Return the position of each pool, in the order with the fewest crossings of arrows."""
    litter = [name for name in model.pools if name not in model.soil_pools]
    soil = list(model.soil_pools)
    if not litter:
        litter, soil = soil[: len(soil) // 2], soil[len(soil) // 2 :]
    # One column has no space for a microbe among seven soil pools.
    while len(soil) > len(litter) + 2 or len(soil) > 5:
        litter.append(soil.pop(0))
    best, order = np.inf, None
    for right in itertools.permutations(soil):
        boxes = _columns(tuple(litter), right)
        cost = _cost(boxes, links)
        if cost < best - 1e-9:
            best, order = cost, boxes
    assert order is not None
    return order


def _columns(left: tuple[str, ...], right: tuple[str, ...]) -> dict[str, _Box]:
    boxes = {}
    for names, side in ((left, -1), (right, 1)):
        n = len(names)
        for i, name in enumerate(names):
            height = (0.5 * (n - 1) - i) * STEP
            # Bent outwards: the ends are farther inside, so that no third box is between two.
            inward = BEND * (2.0 * abs(height) / max(STEP * (n - 1), 1e-9)) ** 2 if n > 1 else 0.0
            boxes[name] = _Box(side * (SPREAD - inward), height, side)
    return boxes


def _cost(boxes: dict[str, _Box], links: tuple[Flow, ...]) -> float:
    """Count crossings of arrows as straight lines, and a little for their length."""
    lines = [
        (boxes[f.donor], boxes[f.receiver])
        for f in links
        if f.donor in boxes and f.receiver in boxes and f.donor != f.receiver
    ]
    crossings = sum(
        _cross(*one, *other)
        for one, other in itertools.combinations(lines, 2)
        if not {id(b) for b in one} & {id(b) for b in other}
    )
    return crossings + 0.01 * sum(abs(a.y - b.y) + abs(a.x - b.x) for a, b in lines)


def _cross(a: _Box, b: _Box, c: _Box, d: _Box) -> bool:
    def turn(p: _Box, q: _Box, r: _Box) -> float:
        return (q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x)

    return turn(a, b, c) * turn(a, b, d) < 0.0 and turn(c, d, a) * turn(c, d, b) < 0.0


def _draw_box(axis: Axes, model: SoilModel, name: str, box: _Box, kept: Share | None) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (box.x - 0.5 * WIDE, box.y - 0.5 * HIGH),
            WIDE,
            HIGH,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=SOIL if name in model.soil_pools else LITTER,
            edgecolor="0.15",
            lw=1.2,
            linestyle="-" if name in model.transported else "--",
            zorder=3,
        )
    )
    axis.text(
        box.x,
        box.y + (0.11 if kept else 0.0),
        name,
        ha="center",
        va="center",
        fontsize=9.5,
        weight="bold",
        zorder=4,
    )
    if kept:
        axis.text(
            box.x,
            box.y - 0.16,
            f"keeps {_per_cent(kept.of_donor)} of its loss",
            ha="center",
            va="center",
            fontsize=SIZE - 1.5,
            zorder=4,
        )


def _draw_stubs(
    axis: Axes, model: SoilModel, name: str, box: _Box, share_of: dict[Flow, Share | None]
) -> None:
    """Draw what plants give and what is respired or lost otherwise, on the outer side of a box."""
    edge = box.x + box.side * 0.5 * WIDE
    end = edge + box.side * STUB
    stubs = [(Flow("plants", name), INPUT, "plants"), (Flow(name, "CO2"), LOSS, "CO$_2$")]
    stubs += [(Flow(name, loss), LOSS, loss) for loss in model.losses]
    there = [stub for stub in stubs if stub[0] in share_of]
    for i, (flow, colour, word) in enumerate(there):
        y = box.y + (0.17 - 0.34 * i / (len(there) - 1) if len(there) > 1 else 0.0)
        share = share_of[flow]
        start, stop = (end, edge) if flow.donor == "plants" else (edge, end)
        axis.add_patch(_arrow(colour, share, posA=(start, y), posB=(stop, y)))
        text = word if share is None else f"{word}\n{_per_cent(share.of_donor)}"
        if len(there) > 1 and share is not None:
            text = f"{word} {_per_cent(share.of_donor)}"
        axis.text(
            end + box.side * 0.07,
            y,
            text,
            ha="right" if box.side < 0 else "left",
            va="center",
            fontsize=SIZE,
            color=colour,
            linespacing=1.0,
        )


def _draw_transfer(
    axis: Axes, boxes: dict[str, _Box], flow: Flow, share: Share | None
) -> np.ndarray:
    """Draw the arrow from donor to receiver and return points along it."""
    a, b = boxes[flow.donor], boxes[flow.receiver]
    start, control, stop = _curve(a, b)
    at = np.linspace(0.0, 1.0, 101)[:, None]
    points = (1 - at) ** 2 * start + 2 * at * (1 - at) * control + at**2 * stop
    outside = ~(_inside(points, a, 0.0) | _inside(points, b, 0.05))
    points = points[np.flatnonzero(outside)[0] : np.flatnonzero(outside)[-1] + 1]
    arrow = _arrow(TRANSFER, share, path=Path(points))
    axis.add_patch(arrow)
    return points


def _curve(a: _Box, b: _Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a curve between two boxes; opposite ways are apart from each other."""
    start, stop = np.array([a.x, a.y]), np.array([b.x, b.y])
    along = stop - start
    length = float(np.hypot(*along))
    across = np.array([along[1], -along[0]]) / length  # to the right of the way
    middle = 0.5 * (start + stop)
    if a.side != b.side:
        shift = NUDGE * across
        return start + shift, middle + 1.8 * shift, stop + shift
    # Within a column: inwards, the farther the longer; upward ways lie inside downward ones.
    far = abs(a.y - b.y) / STEP
    up = 0.35 if b.y > a.y else 0.0
    inner = (
        np.array([-a.side * 0.42 * WIDE, 0.0])
        if far > 1.1
        else np.array([(-0.34 if b.y > a.y else 0.06) * a.side * WIDE, 0.0])
    )
    pull = (0.55 * (far - 1.0) + (up if far > 1.1 else 0.0)) * WIDE
    return start + inner, middle + inner + np.array([-a.side * pull, 0.0]), stop + inner


def _inside(points: np.ndarray, box: _Box, margin: float) -> np.ndarray:
    covered: np.ndarray = (np.abs(points[:, 0] - box.x) < 0.5 * WIDE + margin) & (
        np.abs(points[:, 1] - box.y) < 0.5 * HIGH + margin
    )
    return covered


def _arrow(colour: str, share: Share | None, **where: Any) -> FancyArrowPatch:
    width = 0.8 if share is None else 0.8 + 2.6 * float(np.sqrt(min(share.of_input, 1.5)))
    return FancyArrowPatch(
        **where,
        arrowstyle="-|>,head_length=0.45,head_width=0.22",
        mutation_scale=11,
        color=colour,
        lw=width,
        linestyle=":" if share is None else "-",
        shrinkA=0,
        shrinkB=0,
        zorder=2,
        capstyle="butt",
        joinstyle="miter",
    )


def _label(
    axis: Axes,
    boxes: dict[str, _Box],
    paths: dict[Flow, np.ndarray],
    share_of: dict[Flow, Share | None],
) -> None:
    """Place each share beside its arrow, where there is free space."""
    taken: list[tuple[float, ...]] = [
        (box.x - 0.5 * WIDE, box.x + 0.5 * WIDE, box.y - 0.5 * HIGH, box.y + 0.5 * HIGH)
        for box in boxes.values()
    ]
    for flow, points in sorted(paths.items(), key=lambda item: len(item[1])):
        share = share_of[flow]
        if share is None:
            continue
        text = _per_cent(share.of_donor)
        half = np.array([0.062 * len(text) + 0.03, 0.12])
        others = [p for f, p in paths.items() if f != flow]
        place = min(
            (points[round(t * (len(points) - 1))] for t in PLACES),
            key=lambda at: _crowding(at, half, taken, others),
        )
        taken.append(
            (place[0] - half[0], place[0] + half[0], place[1] - half[1], place[1] + half[1])
        )
        axis.text(
            float(place[0]),
            float(place[1]),
            text,
            ha="center",
            va="center",
            fontsize=SIZE,
            color=TRANSFER,
            zorder=5,
            bbox={"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"},
        )


def _crowding(
    at: np.ndarray, half: np.ndarray, taken: list[tuple[float, ...]], others: list[np.ndarray]
) -> float:
    """Return how much a label would cover: other labels and boxes count more than arrows."""
    low, high = at - half, at + half
    cost = 0.0
    for x0, x1, y0, y1 in taken:
        cost += 100.0 * bool(low[0] < x1 and high[0] > x0 and low[1] < y1 and high[1] > y0)
    for points in others:
        inside = ((points > low) & (points < high)).all(axis=1)
        cost += float(inside.any())
    return cost


def _legend(axis: Axes, model: SoilModel, reach: float, top: float, shown: bool) -> None:
    kinds = [("soil, as profiles measure it", SOIL, "-")]
    if len(model.soil_pools) < len(model.pools):
        kinds.append(("litter and other", LITTER, "-"))
    if len(model.transported) < len(model.pools):
        kinds.append(("not mixed with depth", "white", "--"))
    x = -reach + 0.2
    for words, colour, line in kinds:
        axis.add_patch(
            FancyBboxPatch(
                (x, top - 0.09),
                0.3,
                0.18,
                boxstyle="square,pad=0",
                facecolor=colour,
                edgecolor="0.15",
                linestyle=line,
            )
        )
        axis.text(x + 0.4, top, words, va="center", fontsize=SIZE)
        x += 0.75 + 0.108 * len(words)
    words = (
        "Percentages: shares of a pool's outflow (plants: of the input), default parameters, "
        "temperate column. Wider arrows: more carbon."
        if shown
        else "There is no steady state at the defaults, so shares are not shown."
    )
    axis.text(-reach + 0.2, top - 0.4, words, va="center", fontsize=SIZE, color="0.3")


def _per_cent(share: float) -> str:
    if share < 0.01:
        return "<1%"
    return f"{100.0 * share:.0f}%"
