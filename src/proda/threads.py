"""Threads of a process: blocks of columns on all cores, and programs that use one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import equinox as eqx
import jax

from proda.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


def one_thread_jit(function: Function) -> Function:
    """Compile a function whose results must be the same, bit for bit, in every process.

    As `equinox.filter_jit`, but for one thread: XLA compiles some programs otherwise for a process
    of several threads, the default, than for one of a single thread, and their results differ by
    rounding.
    """
    options = {"xla_cpu_multi_thread_eigen": False}
    # Equinox passes other arguments on to jax.jit, but does not say so in its types.
    compiled: Any = eqx.filter_jit(function, compiler_options=options)  # type: ignore[call-overload]
    return cast("Function", compiled)


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
