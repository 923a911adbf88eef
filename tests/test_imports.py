"""Modules import each other in one direction; `lint-imports` keeps the floors of the package."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_modules_import_each_other_in_one_direction():
    graph = grimp.build_graph("proda", cache_dir=None)  # imports inside functions and of types too
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules of a circle
