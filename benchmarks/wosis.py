"""Read format-true WoSIS snapshots of any size: peak memory and time.

    python -m benchmarks.wosis --layers 1000000 5000000 --folder /tmp/wosis

writes synthetic files (all columns of the real ones, values drawn at random, faults among them),
builds the profiles in a process of its own for each size and format, and prints a table. The
files are about 1.1 kB per layer and table in the 2019 format, 0.3 kB in that of 2023.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

CHEMICAL = (
    "tceq",
    "cecph7",
    "cecph8",
    "ecec",
    "elco20",
    "elco25",
    "elco50",
    "elcosp",
    "orgc",
    "phca",
    "phkc",
    "phnf",
    "phaq",
    "phpbyi",
    "phpmh3",
    "phpols",
    "phprtn",
    "phptot",
    "phpwsl",
    "totc",
    "nitkjd",
)
PHYSICAL = (
    "bdfi33",
    "bdfiad",
    "bdfifm",
    "bdfiod",
    "bdws33",
    "bdwsad",
    "bdwsfm",
    "bdwsod",
    "cfgr",
    "cfvo",
    "clay",
    "sand",
    "silt",
    "wg0006",
    "wg0010",
    "wg0033",
    "wg0100",
    "wg0200",
    "wg0500",
    "wg1500",
    "wv0006",
    "wv0010",
    "wv0033",
    "wv0100",
    "wv0200",
    "wv0500",
    "wv1500",
)
PARTS = ("value", "value_avg", "method", "date", "dataset_id", "profile_code", "licence")
METHOD = (
    '"{1:""sample pretreatment = sieved over 2 mm sieve, method = wet oxidation, detection = '
    'titrimetric, reported as = fine earth basis""}"'
)
EMPTY = "\t" * (len(PARTS) - 1)
CHUNK = 50_000
WITH_CARBON = 0.67
"""Share of layers with carbon: the 2023 format has a row for these only."""

MEASURE = """
import resource, sys, time
from proda.observations.build import build
from proda.observations.profile_settings import from_mapping
reader, folder, out = sys.argv[1:]
settings = from_mapping({"source": [{"reader": reader, "name": "wosis", "folder": folder}]}, "")
start = time.perf_counter()
summary = build(settings, out)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(seconds, peak, summary.total("layer"), summary.total("layer", "kept"),
      summary.total("profile"), summary.total("profile", "kept"))
"""


def layers(n: int, seed: int = 7) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield profile, layer, upper, lower, carbon, density and stones, in chunks of whole profiles.

    About one layer in thirty lies on the mineral soil; a third has no carbon, half no density.
    """
    rng = np.random.default_rng(seed)
    done = profile = 0
    while done < n:
        sizes = rng.integers(1, 9, CHUNK // 4)
        sizes = sizes[: np.searchsorted(np.cumsum(sizes), n - done, side="left") + 1]
        sizes[-1] -= max(0, int(sizes.sum()) - (n - done))
        total = int(sizes.sum())
        owner = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.cumsum(sizes) - sizes
        place = np.arange(total) - starts[owner]
        thickness = rng.integers(5, 41, total)
        lower = np.cumsum(thickness)
        lower = lower - np.repeat(lower[starts] - thickness[starts], sizes)
        upper = lower - thickness
        litter = np.repeat(rng.random(len(sizes)) < 0.13, sizes)
        shift = np.where(litter, np.repeat(thickness[starts], sizes), 0)
        carbon = np.round(40 * np.exp(-upper / 40) * rng.lognormal(0, 0.6, total), 2)
        density = np.round(1.62 - 0.6 * np.sqrt(carbon / 100) + rng.normal(0, 0.15, total), 2)
        ids = done + np.arange(total) + 1
        assert (place >= 0).all()
        yield (
            profile + owner + 1,
            ids,
            upper - shift,
            lower - shift,
            np.where(rng.random(total) < 0.33, np.nan, carbon),
            np.where(rng.random(total) < 0.5, np.nan, np.clip(density, 0.2, 2.2)),
            rng.integers(0, 60, total),
        )
        done += total
        profile += len(sizes)


def cell(value: float) -> str:
    """Return the seven columns of one property of a layer in the 2019 format."""
    if np.isnan(value):
        return EMPTY
    return f"{{1:{value:g}}}\t{value:g}\t{METHOD}\t{{1:1987-??-??}}\t{{US-NCSS}}\t{{S87}}\tCC-BY"


def write_2019(folder: Path, n: int) -> None:
    """Write the three files; the physical one in another order than the chemical one."""
    folder.mkdir(parents=True)
    head = ["profile_id", "profile_layer_id", "upper_depth", "lower_depth", "layer_name", "litter"]
    rng = np.random.default_rng(1)
    full = cell(7.5)
    with (
        (folder / "wosis_201909_profiles.tsv").open("w") as profiles,
        (folder / "wosis_201909_layers_chemical.tsv").open("w") as chemical,
        (folder / "wosis_201909_layers_physical.tsv").open("w") as physical,
    ):
        profiles.write(
            "profile_id\tdataset_id\tcountry_id\tcountry_name\tgeom_accuracy\tlatitude"
            "\tlongitude\tdsds\tcfao_version\n"
        )
        for file, names in ((chemical, CHEMICAL), (physical, PHYSICAL)):
            file.write("\t".join([*head, *(f"{a}_{p}" for a in names for p in PARTS)]) + "\n")
        before, after = CHEMICAL.index("orgc"), len(CHEMICAL) - CHEMICAL.index("orgc") - 1
        for chunk in layers(n):
            owner = np.unique(chunk[0])
            lat, lon = rng.uniform(-55, 70, len(owner)), rng.uniform(-170, 170, len(owner))
            profiles.writelines(
                f"{p}\t{{US-NCSS}}\tUS\tUnited States\t0.0001\t{a:.6f}\t{o:.6f}\t200\t\n"
                for p, a, o in zip(owner, lat, lon, strict=True)
            )
            rows = list(zip(*(column.tolist() for column in chunk), strict=True))
            chemical.writelines(
                f"{p}\t{i}\t{u}\t{d}\tA\t{'t' if u < 0 else 'f'}\t"
                + (full + "\t") * 2
                + (EMPTY + "\t") * (before - 2)
                + cell(c)
                + ("\t" + EMPTY) * (after - 1)
                + "\t"
                + full
                + "\n"
                for p, i, u, d, c, _, _ in rows
            )
            physical.writelines(
                f"{p}\t{i}\t{u}\t{d}\tA\t{'t' if u < 0 else 'f'}\t"
                + (EMPTY + "\t") * 3
                + cell(b)
                + ("\t" + EMPTY) * 5
                + "\t"
                + cell(float(g))
                + ("\t" + full) * 3
                + ("\t" + EMPTY) * 14
                + "\n"
                for p, i, u, d, _, b, g in reversed(rows)
            )


def write_2023(folder: Path, n: int) -> None:
    """Write organic carbon, bulk density and coarse fragments."""
    folder.mkdir(parents=True)
    head = (
        "profile_id",
        "profile_code",
        "layer_id",
        "upper_depth",
        "lower_depth",
        "layer_name",
        "organic_surface",
        "value",
        "value_avg",
        "method",
        "date",
        "dataset_id",
        "longitude",
        "latitude",
        "positional_uncertainty",
        "country_name",
        "continent",
        "region",
        "licence",
    )
    names = ("orgc", "bdfiod", "cfvo")
    files = [(folder / f"wosis_202312_{name}.tsv").open("w") for name in names]
    for file in files:
        file.write("\t".join(head) + "\n")
    for chunk in layers(n):
        rows = list(zip(*(column.tolist() for column in chunk), strict=True))
        for k, file in enumerate(files):
            order: Sequence[tuple] = rows if k == 0 else rows[::-1]
            file.writelines(
                f"{r[0]}\tS{r[0]}\t{r[1]}\t{r[2]}\t{r[3]}\tA\t{'t' if r[2] < 0 else 'f'}\t"
                f"{{1:{r[4 + k]:g}}}\t{r[4 + k]:g}\t{METHOD}\t1987-??-??\tUS-NCSS\t"
                f"{(r[0] * 7919) % 340 - 170:.4f}\t{(r[0] * 104729) % 125 - 55:.4f}\t100 m - 1 km\t"
                "United States\tNorthern America\tAmericas\tCC-BY\n"
                for r in order
                if r[4 + k] == r[4 + k]
            )
    for file in files:
        file.close()


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--folder", type=Path, default=Path("wosis-benchmark"))
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    print("| format | layers | text, GB | time, s | peak memory, GB | profiles | kept layers |")
    print("|---|---|---|---|---|---|---|")
    for n in arguments.layers:
        for name, write in (("2019", write_2019), ("2023", write_2023)):
            folder = arguments.folder / f"{name}-{n}"
            shutil.rmtree(folder, ignore_errors=True)
            write(folder, n if name == "2019" else round(n / WITH_CARBON))
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
            for _ in range(arguments.repeat):
                out = arguments.folder / "out"
                done = subprocess.run(
                    [sys.executable, "-c", MEASURE, f"wosis{name}", str(folder), str(out)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds, peak, read, kept, profiles, _ = done.stdout.split()
                cells = [name, f"{int(read):,}", f"{size:.1f}", f"{float(seconds):.0f}"]
                cells += [f"{float(peak):.2f}", f"{int(profiles):,}", f"{int(kept):,}"]
                print(f"| {' | '.join(cells)} |", flush=True)
            shutil.rmtree(folder)
    print(time.strftime("%Y-%m-%d"))


if __name__ == "__main__":
    main()
