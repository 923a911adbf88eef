"""Training at full size on a synthetic world: time, memory, skill and coverage against the truth.

    python -m benchmarks.learning SITES COVARIATES.parquet [settings as JSON, or study] [FOLDS]

Covariates are those of `proda covariates build`. The truth is made of smooth functions of three
quantities and one category at a time, as ranks for half of the 21 parameters; posteriors are exact
for one noisy observation each under uniform priors, and four parameters have none. The 3,000 rows
after the first SITES (in random order) are for testing.
"""

import json
import resource
import sys
import time

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import truncnorm

from proda.learning.features import predictors
from proda.learning.learn import learn
from proda.learning.learning_settings import LearningSettings, study

N_PARAMETERS, N_SILENT, N_TEST = 21, 4, 3000


def truth(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    names = predictors(table)
    classes = [n for n in names if isinstance(table[n].dtype, pd.CategoricalDtype)]
    quantities = table[[n for n in names if n not in classes]]
    ranks = (quantities.rank(pct=True) * 2 - 1).to_numpy()
    scores = ((quantities - quantities.mean()) / quantities.std()).clip(-4, 4).to_numpy()
    columns = []
    for k in range(N_PARAMETERS):
        x, f = (1.5 * ranks if k % 2 else scores), np.zeros(len(table))
        for _ in range(4):
            three = rng.choice(x.shape[1], 3, replace=False)
            f += rng.normal() * np.tanh(x[:, three] @ rng.normal(0, 1, 3) + rng.normal())
        column = table[rng.choice(classes)].cat
        f += rng.normal(0, 0.7, len(column.categories))[column.codes]
        f = (f - f.mean()) / f.std()
        columns.append(1 / (1 + np.exp(-(rng.normal(0, 0.5) + 0.9 * f))))
    return np.stack(columns, axis=1)


def posteriors(table: pd.DataFrame, known: np.ndarray, rng: np.random.Generator) -> xr.Dataset:
    scale = np.exp(rng.uniform(np.log(0.05), np.log(0.35), N_PARAMETERS))
    noise = scale * np.exp(rng.normal(0, 0.4, known.shape))
    noise[:, -N_SILENT:] = 5.0
    y = known + noise * rng.standard_normal(known.shape)
    a, b = -y / noise, (1 - y) / noise
    dims = ("site", "parameter")
    return xr.Dataset(
        {
            "posterior_mean": (dims, truncnorm.mean(a, b, y, noise)),
            "posterior_sd": (dims, truncnorm.std(a, b, y, noise)),
        },
        coords={
            "site": table["site"].to_numpy(object),
            "parameter": [f"p{k:02d}" for k in range(N_PARAMETERS)],
            "latitude": ("site", table["latitude"].to_numpy()),
            "longitude": ("site", table["longitude"].to_numpy()),
            "lower": ("parameter", np.zeros(N_PARAMETERS)),
            "upper": ("parameter", np.ones(N_PARAMETERS)),
        },
        attrs={"model": "synthetic", "variant": "default"},
    )


def main(n: int, path: str, chosen: str = "{}", folds: int = 0) -> None:
    rng = np.random.default_rng(0)
    table = pd.read_parquet(path).dropna()
    order = rng.choice(len(table), n + N_TEST, replace=n + N_TEST > len(table))
    table = table.iloc[order].reset_index(drop=True)
    table["site"] = [f"s{i}" for i in range(len(table))]  # a site drawn twice is two sites
    known = truth(table, rng)
    train, test = table.iloc[:n], table.iloc[n:]
    kind, values = chosen.split(":", 1) if chosen.startswith("study:") else ("ours", chosen)
    changes = json.loads(values)
    settings = study(**changes) if kind == "study" else LearningSettings.from_dict(changes)
    start = time.perf_counter()
    learned = learn(train, posteriors(train, known[:n], rng), settings, folds=folds)
    taken = time.perf_counter() - start
    found, goal = learned.ensemble.predict(test, draws=folds > 0), known[n:]
    error = ((found["mean"].to_numpy() - goal) ** 2).mean(axis=0)
    r2 = (1 - error / goal.var(axis=0))[:-N_SILENT]
    epochs = learned.ensemble.history["epoch"].max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{chosen}: {n} sites, {learned.ensemble.members} members, {folds} folds x 4, {epochs} "
        f"epochs: {taken:.1f} s, peak {peak:.2f} GB; R2 against the truth at {N_TEST} other "
        f"places: mean {r2.mean():.3f}, least {r2.min():.3f}"
    )
    if folds:
        bare = np.abs(goal - found["mean"]) <= 1.645 * found["spread"]
        inside = (found["interval_lower"] <= goal) & (goal <= found["interval_upper"])
        low, high = np.quantile(found["draws"], [0.05, 0.95], axis=0)
        drawn = (low <= goal) & (goal <= high)
        for what, hit in (("bare spread", bare), ("interval", inside), ("draws", drawn)):
            share = np.asarray(hit).mean(axis=0)[:-N_SILENT]
            print(f"  90 % {what} covers {share.mean():.3f} ({share.min():.2f}-{share.max():.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *sys.argv[3:4], *(int(a) for a in sys.argv[4:5]))
