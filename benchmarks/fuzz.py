"""Damaged inputs for all readers, at length: `python -m benchmarks.fuzz --inputs 10000`."""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from tests.fuzz_readers import (
    CHANGED,
    DIED,
    HANG,
    REFUSED,
    SECONDS,
    TRACEBACK,
    UNCHANGED,
    Kind,
    Tally,
    kinds,
    run,
)

from benchmarks.report import machine, write_report

BATCH = 50
"""Inputs in one task; if the process dies, they are tried again one by one."""
OUTCOMES = (REFUSED, UNCHANGED, CHANGED, TRACEBACK, HANG, DIED)


def _batch(name: str, first: int, last: int) -> Tally:
    with tempfile.TemporaryDirectory() as folder:
        return run(_kind(name), Path(folder), range(first, last))


def _kind(name: str) -> Kind:
    return next(kind for kind in kinds() if kind.name == name)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _tried(pool: ProcessPoolExecutor, name: str, first: int, last: int) -> Tally | None:
    """Try inputs in another process; None if it dies or hangs where no alarm reaches."""
    try:
        return pool.submit(_batch, name, first, last).result(SECONDS * 3 + (last - first) * 3)
    except (BrokenProcessPool, TimeoutError):
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        return None


def measure(inputs: int, first: int) -> dict[str, Tally]:
    """Return what came out, by kind."""
    found: dict[str, Tally] = {}
    pool = _pool()
    each = -(-inputs // len(kinds()))
    for kind in kinds():
        total = found[kind.name] = Tally()
        todo = [(a, min(a + BATCH, first + each)) for a in range(first, first + each, BATCH)]
        while todo:
            a, b = todo.pop(0)
            tally = _tried(pool, kind.name, a, b)
            if tally is None:
                pool = _pool()
                if b - a > 1:
                    todo = [(i, i + 1) for i in range(a, b)] + todo
                    continue
                tally = Tally()
                tally.outcomes[DIED] += 1
                tally.faults.append(f"{kind.name}, seed {a}: the process died or did not answer")
            total.outcomes.update(tally.outcomes)
            total.faults += tally.faults
        print(kind.name, dict(total.outcomes), flush=True)
    pool.shutdown()
    return found


def main() -> None:
    """Try them and write benchmarks/results/fuzz.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="The first seed.")
    asked = parser.parse_args()
    start = time.perf_counter()
    found = measure(asked.inputs, asked.seed)
    seconds = time.perf_counter() - start
    sealed = {kind.name for kind in kinds() if kind.sealed}
    count = {o: sum(t.outcomes[o] for t in found.values()) for o in OUTCOMES}
    silent = sum(found[name].outcomes[CHANGED] for name in sealed)
    lines = [
        "# Damaged inputs",
        "",
        machine(),
        "",
        f"{sum(count.values()):,} damaged inputs of {len(found)} kinds, seeds from {asked.seed}, "
        f"in {seconds / 60:.1f} minutes: bits and bytes changed, parts cut, inserted, removed, "
        "zeroed and swapped, files removed and exchanged, words, columns, types, names and "
        "attributes changed.",
        "",
        f"Tracebacks: {count[TRACEBACK]}. Hangs: {count[HANG]}. Processes that died: "
        f"{count[DIED]}. Changed values in files with checksum that passed: {silent}.",
        "",
        "| kind | checksum | refused | same values | other values | traceback | hang | died |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {'yes' if name in sealed else 'no'} | "
            + " | ".join(f"{t.outcomes[o]:,}" for o in OUTCOMES)
            + " |"
            for name, t in found.items()
        ),
        "",
        "Other values: the file is right by its format and carries no checksum, so that a changed "
        "digit, name or attribute cannot be told from what its author meant.",
    ]
    if faults := [f for t in found.values() for f in t.faults]:
        lines += ["", "## What must not be", "", *(f"- `{fault}`" for fault in faults[:200])]
    write_report(Path(__file__).parent / "results" / "fuzz.md", lines)


if __name__ == "__main__":
    main()
