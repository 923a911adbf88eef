"""Diagrams of models: every pool and pathway is there, and no text covers another."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch
from typer.testing import CliRunner

import proda
from proda.cli import app
from proda.errors import ModelError
from proda.models.describe import Flow, Share, flow_shares, flows
from proda.models.registry import MODELS
from proda.plots import model_diagram
from proda.plots.model_diagram import draw_model
from tests.conftest import HERE

EXAMPLE = f"{HERE.parent / 'examples' / 'two_pool.py'}:TwoPool"


@pytest.mark.parametrize("name", ["clm5", "compas"])
def test_shares_are_those_of_the_steady_state(name):
    model = proda.load_model(name)
    found = flow_shares(model)
    assert set(found) <= set(flows(model))
    for pool in model.pools:
        leaving = [share.of_donor for flow, share in found.items() if flow.donor == pool]
        assert sum(leaving) == pytest.approx(1.0)
    plants = [share.of_input for flow, share in found.items() if flow.donor == "plants"]
    gone = [share.of_input for flow, share in found.items() if flow.receiver == "CO2"]
    assert sum(plants) == pytest.approx(1.0)
    assert sum(gone) == pytest.approx(1.0)
    if name == "clm5":
        assert found[Flow("ML", "aSOC")].of_donor == pytest.approx(0.45)


@pytest.mark.parametrize("name", [*MODELS, EXAMPLE])
def test_no_text_covers_another_or_leaves_the_figure(name, monkeypatch):
    """With synthetic shares, of which none is short, as steady states take long to compile."""
    model = proda.load_model(name)
    made_up = {flow: Share(0.88, 0.3) for flow in flows(model)}
    monkeypatch.setattr(model_diagram, "flow_shares", lambda model: made_up)
    figure = draw_model(model)
    renderer = figure.canvas.get_renderer()
    (axis,) = figure.axes
    boxes = {t: t.get_window_extent(renderer) for t in [*axis.texts, *figure.texts]}
    assert figure.get_suptitle() == model.title
    words = [text.get_text() for text in axis.texts]
    assert set(model.pools) <= set(words)
    arrows = [patch for patch in axis.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len([f for f in made_up if f.donor != f.receiver])
    for (a, one), (b, other) in itertools.combinations(boxes.items(), 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(across, down) < 1.0, (a.get_text(), b.get_text())
    for text, box in boxes.items():
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert (box.x1, box.y1) <= (figure.bbox.x1, figure.bbox.y1), text.get_text()
    plt.close(figure)


def test_a_model_without_steady_state_is_drawn_without_shares(monkeypatch):
    monkeypatch.setattr(model_diagram, "flow_shares", lambda model: {})
    figure = draw_model(proda.load_model("rothc"))
    assert any("shares are not shown" in text.get_text() for text in figure.axes[0].texts)
    assert not any("%" in text.get_text() for text in figure.axes[0].texts)
    plt.close(figure)


def test_the_command_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(model_diagram, "flow_shares", lambda model: {})
    path = tmp_path / "clm5.png"
    result = CliRunner().invoke(app, ["models", "clm5", "--diagram", str(path)])
    assert result.exit_code == 0, result.output
    assert np.asarray(plt.imread(path)).std() > 0.01
    for words in (["--diagram", "x.png"], ["clm5", "--check", "--diagram", "x.png"]):
        assert isinstance(CliRunner().invoke(app, ["models", *words]).exception, ModelError)


def test_the_manual_shows_every_model():
    page = (HERE.parent / "docs" / "models.md").read_text()
    for name in MODELS:
        assert f"images/model_{name}.png" in page
        assert (HERE.parent / "docs" / "images" / f"model_{name}.png").stat().st_size > 10_000
