"""Whether data determine the agreement of two models: correlations between and across refits.

A component is identified if refits of one model with other starts, seeds and blocks give the same
pattern. The agreement of two models is due to data if their refits agree, and agree more than their
defaults, their calibrated constants, or constants drawn from the prior, which profiles do not
constrain.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from proda.comparison.correlations import vary
from proda.comparison.model_files import COMPONENTS, LOGARITHMIC, STOCK
from proda.comparison.paper import CORRELATIONS, PAIR
from proda.comparison.spatial import correlation_test
from proda.errors import ComparisonError
from proda.maps.refit_maps import SHARE_PREFIX
from proda.weighted import correlation

VARIABLES = (STOCK, *(name for name in COMPONENTS if name != "I"))
"""Variables of the analysis; the input is given by the forcing."""

NEEDED = (*VARIABLES, "residence_time", "kind", "trained", "land")
"""Required variables of a Dataset of refits."""

ALL = "all refits"
"""All trained refits of any kind."""

BETWEEN = "between models"
"""In the column `of`: correlations across models; otherwise the name of the model of the refits."""

UNIFORM_SD = float(np.sqrt(1.0 / 12.0))
"""Standard deviation of a parameter that only the prior constrains, as a share of the range."""

FLAT = 1e-3
"""Minimum standard deviation over land of the map of a parameter, in shares of the prior range, for
computing a correlation."""


def check_refits(first: xr.Dataset, second: xr.Dataset | None = None) -> None:
    """Refuse refits of two models that are not on the same cells.

    Raises
    ------
    ComparisonError
        Naming the differences.
    """
    for data in (first, second):
        if data is not None and (lacking := [n for n in NEEDED if n not in data]):
            raise ComparisonError(f"The refits of {_name(data)} lack {', '.join(lacking)}.")
    if second is None:
        return
    if _name(first) == _name(second):
        raise ComparisonError(f"Both sets of refits are of {_name(first)}; give two models.")
    for name in ("lat", "lon", "land"):
        if not np.array_equal(first[name].to_numpy(), second[name].to_numpy()):
            raise ComparisonError(
                f"The refits of {_name(first)} and {_name(second)} differ in {name}; map both on "
                "the same cells."
            )


def pair_table(first: xr.Dataset, second: xr.Dataset | None = None) -> pd.DataFrame:
    """Correlate the maps of every pair of refits, within models and between them.

    Parameters
    ----------
    first, second
        Refits of two models on the same cells (:func:`proda.comparison.refit_runs.refit_model`);
        without `second`, of one model.

    Returns
    -------
    pandas.DataFrame
        One row per variable and pair: `of` (a model's name, or `between models`), `kind` (that of
        both refits; pairs of different kinds have `""`), `trained` (whether both are), `r`
        (weighted by land; on the scale of the comparison, logarithms for soil carbon), `r_log` (of
        logarithms), `land`, the share of land where both have carbon. NaN where a map is constant.

    Raises
    ------
    ComparisonError
        If the refits are not on the same cells.
    """
    check_refits(first, second)
    rows = []
    for name in VARIABLES:
        for of, a, i, b, j in _pairs(first, second):
            kinds = [str(d["kind"].to_numpy()[k]) for d, k in ((a, i), (b, j))]
            trained = bool(a["trained"].to_numpy()[i] and b["trained"].to_numpy()[j])
            rows.append(
                {
                    "variable": name,
                    "of": of,
                    "kind": kinds[0] if kinds[0] == kinds[1] else "",
                    "trained": trained,
                    **_correlated(
                        _maps(a, name)[i],
                        _maps(b, name)[j],
                        a["land"].to_numpy(),
                        name in LOGARITHMIC,
                    ),
                }
            )
    return pd.DataFrame(rows)


def _pairs(
    first: xr.Dataset, second: xr.Dataset | None
) -> Iterator[tuple[str, xr.Dataset, int, xr.Dataset, int]]:
    """Yield pairs of trained refits, and of untrained ones of one kind."""

    def fit(a: xr.Dataset, i: int, b: xr.Dataset, j: int) -> bool:
        trained = bool(a["trained"][i]), bool(b["trained"][j])
        return all(trained) or (
            not any(trained) and str(a["kind"][i].item()) == b["kind"][j].item()
        )

    for data in (first,) if second is None else (first, second):
        n = data.sizes["refit"]
        for i in range(n):
            for j in range(i + 1, n):
                if fit(data, i, data, j):
                    yield _name(data), data, i, data, j
    if second is None:
        return
    for i in range(first.sizes["refit"]):
        for j in range(second.sizes["refit"]):
            if fit(first, i, second, j):
                yield BETWEEN, first, i, second, j


def _correlated(x: np.ndarray, y: np.ndarray, land: np.ndarray, log: bool) -> dict[str, float]:
    here = np.isfinite(x) & np.isfinite(y) & (land > 0)
    positive = here & (x > 0) & (y > 0)
    r_log = correlation(np.log(x[positive]), np.log(y[positive]), land[positive])
    return {
        "r": r_log if log else correlation(x[here], y[here], land[here]),
        "r_log": r_log,
        "land": float(land[here].sum() / land.sum()),
    }


def identification_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Summarise correlations of pairs by variable, model and kind.

    Parameters
    ----------
    pairs
        From :func:`pair_table`.

    Returns
    -------
    pandas.DataFrame
        `variable`, `of`, `kind` (:data:`ALL`: every trained pair, of different kinds too),
        `trained`, `pairs`, `median`, `lowest`, `highest` of `r`, `median_log` of `r_log`, `land`
        (lowest share), and `paper`, the paper's correlation between the models after assimilation,
        in rows between models of :data:`ALL`, where it gives one.
    """
    rows = []
    papers = set(pairs["of"]) == {BETWEEN, *PAIR}
    every = pairs[pairs["trained"]].assign(kind=ALL)
    for part in (every, pairs[pairs["kind"] != ""]):
        for (name, of, kind), group in part.groupby(["variable", "of", "kind"], sort=False):
            paper = CORRELATIONS.get((str(name), "after"), np.nan)
            rows.append(
                {
                    "variable": name,
                    "of": of,
                    "kind": kind,
                    "trained": bool(group["trained"].all()),
                    "pairs": len(group),
                    "median": group["r"].median(),
                    "lowest": group["r"].min(),
                    "highest": group["r"].max(),
                    "median_log": group["r_log"].median(),
                    "land": group["land"].min(),
                    "paper": paper if papers and kind == ALL and of == BETWEEN else np.nan,
                }
            )
    order = {name: i for i, name in enumerate(VARIABLES)}
    return pd.DataFrame(rows).sort_values(
        "variable", key=lambda names: names.map(order), kind="stable", ignore_index=True
    )


def mean_table(first: xr.Dataset, second: xr.Dataset) -> pd.DataFrame:
    """Correlate the models' mean maps over all trained refits, with the uncertainty.

    Returns
    -------
    pandas.DataFrame
        `variable`, then :class:`~proda.comparison.spatial.CorrelationTest`: `r`, `n` cells,
        `n_effective` independent ones, `low` and `high` (95 %), p-values. Soil carbon as mean of
        logarithms. NaN where a mean map is constant.
    """
    check_refits(first, second)
    rows = []
    land = first["land"].to_numpy()
    for name in VARIABLES:
        x, y = (_mean(data, name) for data in (first, second))
        here = np.isfinite(x) & np.isfinite(y) & (land > 0)
        lat, lon = (first[axis].to_numpy()[here] for axis in ("lat", "lon"))
        row: dict[str, float | str] = {"variable": name}
        if vary(x[here], y[here]):
            row |= vars(correlation_test(x[here], y[here], lat, lon, land[here]))
        rows.append(row)
    return pd.DataFrame(rows)


def _maps(data: xr.Dataset, name: str) -> Float[np.ndarray, "refit cell"]:
    """Return all maps of a variable, NaN where a refit has no carbon and components are 0."""
    return np.where(data["residence_time"].to_numpy() > 0, data[name].to_numpy(), np.nan)


def _mean(data: xr.Dataset, name: str) -> Float[np.ndarray, " cell"]:
    """Mean over trained refits, of logarithms as in the comparison; NaN if one is missing."""
    values = _maps(data, name)[data["trained"].to_numpy()]
    if name in LOGARITHMIC:
        values = np.log(np.where(values > 0, values, np.nan))
    return np.asarray(values.mean(axis=0))


def truth_correlations(data: xr.Dataset, truth: xr.Dataset) -> pd.DataFrame:
    """Correlate every refit with the truth of a synthetic world: refits may agree and be wrong.

    Parameters
    ----------
    data
        Refits of the model that generated the world.
    truth
        Map of the world (:func:`proda.study.twin.make_twin_world`), on the grid of the cells.

    Returns
    -------
    pandas.DataFrame
        One row per variable and kind (:data:`ALL`: all trained refits): `refits`, the `median`,
        `lowest` and `highest` correlation with the truth, on the comparison's scale, and `level`,
        the median over refits of the land-weighted mean of ln(refit / truth).

    Raises
    ------
    ComparisonError
        If a variable is missing, or a cell of the refits is not in the truth.
    """
    check_refits(data)
    place = {axis: truth[axis].to_numpy() for axis in ("lat", "lon")}
    at = {
        axis: np.abs(place[axis][:, None] - data[axis].to_numpy()).argmin(axis=0) for axis in place
    }
    for axis, index in at.items():
        if not np.allclose(place[axis][index], data[axis].to_numpy(), atol=1e-6):
            raise ComparisonError(f"The refits have cells that the truth lacks ({axis}).")
    kinds, trained = data["kind"].to_numpy().astype(str), data["trained"].to_numpy()
    land, rows = data["land"].to_numpy(), []
    for name in VARIABLES:
        true = truth[name].transpose("lat", "lon").to_numpy()[at["lat"], at["lon"]]
        each = [_against(field, true, land, name in LOGARITHMIC) for field in _maps(data, name)]
        r, level = np.array(each).T
        groups = {ALL: trained} | {k: kinds == k for k in dict.fromkeys(kinds)}
        for kind, here in groups.items():
            rows.append(
                {
                    "variable": name,
                    "kind": kind,
                    "refits": int(here.sum()),
                    "median": np.median(r[here]),
                    "lowest": r[here].min(),
                    "highest": r[here].max(),
                    "level": np.median(level[here]),
                }
            )
    return pd.DataFrame(rows)


def _against(x: np.ndarray, true: np.ndarray, land: np.ndarray, log: bool) -> tuple[float, float]:
    """Correlation with the truth, and mean logarithm of the ratio."""
    here = np.isfinite(x) & np.isfinite(true) & (land > 0)
    here &= (np.nan_to_num(x) > 0) & (np.nan_to_num(true) > 0)
    level = float(np.average(np.log(x[here] / true[here]), weights=land[here]))
    return _correlated(x[here], true[here], land[here], log)["r"], level


def parameter_table(data: xr.Dataset) -> pd.DataFrame:
    """Return the differences between refits of one model for each parameter.

    Returns
    -------
    pandas.DataFrame
        One row per parameter and kind (:data:`ALL`: all trained refits), shares of the prior range
        throughout: `between_refits`, the standard deviation between refits at a cell (root of its
        mean square over land); `of_prior`, the same relative to a parameter that only the prior
        constrains (1: not constrained); `level`, the part of it that is a shift of the whole map;
        `over_land`, the standard deviation over land of the mean map; `ratio`, between refits
        relative to over land (below 1: the pattern exceeds the differences between refits); `r`,
        the median correlation between maps of two refits. The last two are NaN for a parameter that
        is the same everywhere.
    """
    trained, kinds = data["trained"].to_numpy(), data["kind"].to_numpy().astype(str)
    groups = {ALL: np.flatnonzero(trained)}
    groups |= {k: np.flatnonzero(trained & (kinds == k)) for k in dict.fromkeys(kinds[trained])}
    rows = []
    for name in (str(n) for n in data.data_vars if str(n).startswith(SHARE_PREFIX)):
        for kind, members in groups.items():
            if len(members) < 2:
                continue
            spread = _spread(data[name].to_numpy()[members], data["land"].to_numpy())
            rows.append(
                {
                    "model": _name(data),
                    "parameter": name.removeprefix(SHARE_PREFIX),
                    "kind": kind,
                    "refits": len(members),
                    **spread,
                }
            )
    return pd.DataFrame(rows)


def _spread(values: np.ndarray, land: np.ndarray) -> dict[str, float]:
    here = np.isfinite(values).all(axis=0) & (land > 0)
    v, w = values[:, here], land[here]
    between = float(np.sqrt(np.average(v.var(axis=0, ddof=1), weights=w)))
    mean = v.mean(axis=0)
    over = float(np.sqrt(np.average((mean - np.average(mean, weights=w)) ** 2, weights=w)))
    each = np.average(v, weights=w, axis=1)
    varied = v[np.sqrt(np.average((v - each[:, None]) ** 2, weights=w, axis=1)) > FLAT]
    n = len(varied)
    r = [correlation(varied[i], varied[j], w) for i in range(n) for j in range(i + 1, n)]
    return {
        "between_refits": between,
        "of_prior": between / UNIFORM_SD,
        "level": float(each.std(ddof=1)),
        "over_land": over,
        "ratio": between / over if over > FLAT else np.nan,
        "r": float(np.median(r)) if r else np.nan,
    }


def _name(data: xr.Dataset) -> str:
    return str(data.attrs.get("model", "a model without a name"))
