"""Threads of a process: blocks of columns on all cores, and programs that use one thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import equinox as eqx
import jax

from proda.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")

one_thread_jit = functools.partial(
    eqx.filter_jit, compiler_options={"xla_cpu_multi_thread_eigen": False}
)
"""`equinox.filter_jit` for programs whose results must be the same in every process.

A process has several threads by default. Sums of matrix products then depend on their number, which
is that of the cores.
"""


def run_in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """Call a function for each item, in as many threads as there are cores; in one for a GPU.

    Parameters
    ----------
    function
        Called with each item.
    items
        Its arguments.
    progress
        Called with the number of results so far.

    Returns
    -------
    The results, in the order of the items.
    """
    results: list[Result] = []
    with ThreadPoolExecutor(cores() if jax.default_backend() == "cpu" else 1) as pool:
        for result in pool.map(function, items):
            results.append(result)
            if progress is not None:
                progress(len(results))
    return results
