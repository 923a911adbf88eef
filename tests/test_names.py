"""One name, one meaning: no two classes and no two modules share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import proda

ROOT = Path(proda.__file__).parent

VIEWS = ("cli", "plots", "study/report/sections")
"""Folders that show a subject, each in its own way: a verb, a figure, a section of the report. A
file there has the name of its subject, so the folder says what it does with it."""

ALLOWED = {
    "column": "the module of the package that defines what the package is named after",
    "registry": "in each package: names and the classes behind them",
}
"""Names that stand more than once beside the views, and why."""


def test_no_two_classes_share_a_name():
    homes = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: where for name, where in homes.items() if len(where) > 1}


def test_no_two_modules_share_a_name():
    homes = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        place = path.parent if path.name == "__init__.py" else path.with_suffix("")
        if place != ROOT and str(place.parent.relative_to(ROOT)) not in VIEWS:
            homes[place.name].append(str(place.relative_to(ROOT)))
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) == set(twice)
