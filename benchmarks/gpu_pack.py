"""Join what `benchmarks.gpu_posteriors` wrote of each model in a few compressed files.

python -m benchmarks.gpu_pack FOLDER OUT [--parts 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

BY_QUANTILE = ("row_quantile",)
"""Rows are the second dimension."""


def joined(paths: list[Path]) -> dict[str, np.ndarray]:
    """Return the arrays of several files, one after the other."""
    parts = [dict(np.load(path)) for path in paths]
    return {
        name: np.concatenate([part[name] for part in parts], axis=int(name in BY_QUANTILE))
        for name in parts[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", type=int, default=1)
    given = parser.parse_args()
    every = sorted(given.folder.glob("*.npz"))
    for model in sorted({path.name.split(".")[0] for path in every}):
        paths = [path for path in every if path.name.split(".")[0] == model]
        for i in range(given.parts):
            some = paths[i :: given.parts]
            if some:
                np.savez_compressed(given.out / f"{model}.{i}.npz", **joined(some))
    print({path.name: path.stat().st_size for path in sorted(given.out.iterdir())}, flush=True)


if __name__ == "__main__":
    main()
