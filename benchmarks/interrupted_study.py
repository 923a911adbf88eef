"""A study killed in each of its stages and gone on with ends as one that was never interrupted.

    python -m benchmarks.interrupted_study FOLDER

Makes a small world, runs its study once as it is, and once more with `kill -9` some seconds into
every stage, each time going on; then compares every array of posteriors, networks, maps and tables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import machine, write_report
from proda.files import open_dataset
from proda.study.demo import SETTINGS
from proda.study.twin import make_twin_world

COMMAND = [sys.executable, "-c", "from proda.cli import main; main()", "run"]
SHORT = (
    SETTINGS.replace("warm_up = 2000, kept = 4000", "warm_up = 200, kept = 400")
    + """
settings = { members = 4, epochs = 20 }

[filter] # short chains
max_gelman_rubin = 2.0
"""
)


def killed(study: Path, folder: Path, delay: float) -> list[str]:
    """Run a study, kill it `delay` seconds into each stage that is new, and go on."""
    seen: list[str] = []
    while True:
        child = subprocess.Popen(
            [*COMMAND, str(study), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while child.poll() is None:
            time.sleep(0.05)
            try:
                stages = json.loads((folder / "study.json").read_text())["stages"]
            except (OSError, ValueError):
                continue
            begun = [n for n, s in stages.items() if s["status"] == "begun" and n not in seen]
            if begun:
                time.sleep(delay)
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                    seen.append(begun[0])
                    print("killed in", begun[0], flush=True)
        if child.returncode == 0:
            return seen
        if child.returncode != -signal.SIGKILL:
            raise SystemExit(f"ended with {child.returncode}; see: proda run --resume {folder}")


def differences(first: Path, second: Path) -> tuple[int, list[str]]:
    """Return how many arrays and tables were compared, and which differ."""
    compared, different = 0, []
    for path in sorted(first.rglob("*")):
        name = path.relative_to(first)
        other = second / name
        if path.suffix in (".nc", ".zarr") and path.parent.suffix != ".zarr":
            opened = [open_dataset(p) for p in (path, other)]
            for variable in opened[0].variables:
                a, b = (np.asarray(d[variable]) for d in opened)
                same = np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                compared, different = compared + 1, different + [f"{name}: {variable}"] * (not same)
        elif path.suffix == ".csv" and "left_out" not in path.name and "cost" not in path.name:
            try:
                same = pd.read_csv(path).equals(pd.read_csv(other))
            except pd.errors.EmptyDataError:
                same = path.read_bytes() == other.read_bytes()
            compared, different = compared + 1, different + [str(name)] * (not same)
    return compared, different


def main() -> None:
    folder = Path(sys.argv[1])
    make_twin_world(folder / "world", n_sites=60, resolution=10.0)
    study = folder / "study.toml"
    study.write_text(SHORT)
    begun = time.monotonic()
    subprocess.run([*COMMAND, str(study), str(folder / "whole")], check=True)
    whole = time.monotonic() - begun
    stages = killed(study, folder / "killed", 1.0)
    compared, different = differences(folder / "whole", folder / "killed")
    for name in different:
        print("differs:", name)
    write_report(
        Path(__file__).parent / "results" / "interrupted_study.md",
        [
            "# A study killed in each stage",
            "",
            "`python -m benchmarks.interrupted_study FOLDER`: kill -9 of all its processes one "
            "second into each stage, then the same command again.",
            machine(),
            "",
            f"Killed in {len(stages)} stages ({', '.join(stages)}); the uninterrupted study took "
            f"{whole:.0f} s. {compared} arrays and tables compared, {len(different)} differ"
            f"{': ' + ', '.join(different) if different else ''}.",
        ],
    )
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
