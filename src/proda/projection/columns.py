"""Projections of single columns: parameters and forcing in, a Dataset out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from proda import faults
from proda.errors import ParameterError
from proda.forcing import Forcing
from proda.maps.map_variables import STOCKS
from proda.models.model import Reason, SoilModel
from proda.models.outside import provenance
from proda.parameters import Bounds, as_arrays
from proda.projection.experiments import Experiment, experiments_named
from proda.projection.forward import (
    CARBON_INPUT,
    ENTERED,
    LITTER_CARBON,
    LOST,
    MEAN_AGE,
    OTHER_LOSSES,
    RESPIRATION,
    RESPIRED,
    Projected,
    losses_of,
    project_members,
)
from proda.projection.projection_settings import IDEALISED, ProjectionSettings
from proda.projection.split import split_change
from proda.simulate import Parameters

_MEANINGS = {
    **{s.name: ("kg m-2", f"soil carbon, {s.words}") for s in STOCKS},
    LITTER_CARBON: ("kg m-2", "carbon in litter and coarse woody debris"),
    RESPIRATION: ("kg m-2 yr-1", "heterotrophic respiration"),
    CARBON_INPUT: ("kg m-2 yr-1", "plant carbon input"),
    OTHER_LOSSES: ("kg m-2 yr-1", "carbon lost other than as CO2"),
    RESPIRED: ("kg m-2", "carbon respired since the start"),
    LOST: ("kg m-2", "carbon lost other than as CO2 since the start"),
    ENTERED: ("kg m-2", "carbon input since the start"),
    MEAN_AGE: ("yr", "mean age of all carbon at steady state"),
}
"""Unit and meaning of the results."""


def project(
    model: SoilModel,
    parameters: Parameters,
    forcing: Forcing,
    experiments: Sequence[str | Experiment] = IDEALISED,
    *,
    initial: xr.DataArray | None = None,
    bounds: Bounds = "prior",
    **settings: Any,
) -> xr.Dataset:
    """Run a model in time at many sites, from its steady state, under changed drivers.

    Parameters
    ----------
    model, parameters, forcing, bounds
        As for :func:`proda.steady_state`.
    experiments
        Names of idealised experiments (docs/projections.md), or other experiments.
    initial
        State at the start, (site, pool, layer) in g m-3, instead of the steady state.
    settings
        `times`, `first_step`, `growth`, `longest_step` of
        :class:`proda.projection.projection_settings.ProjectionSettings`.

    Returns
    -------
    Dataset on (experiment, site, time) with `pool_carbon` (and pool, layer), the stocks of maps and
    `cLitter` (kg m-2), respiration and carbon input (kg m-2 yr-1), cumulative respiration and input
    since the start (kg m-2), and the split of the change of all carbon
    (:func:`proda.projection.split.split_change`). Variables that end in `_new_steady_state` are on
    (experiment, site); `mean_age` is that at the start. `reason` and `reason_new_steady_state` give
    the reason where a site has no result; the numbers are NaN there.

    Raises
    ------
    ParameterError
        Naming the parameter, experiment or setting.

    Examples
    --------
    >>> import proda
    >>> forcing = proda.Forcing.from_dataset(proda.example_columns())
    >>> model = proda.load_model("compas")
    >>> values = proda.default_parameters(model, forcing)
    >>> warmer = proda.project(model, values, forcing, ["plus_4K"], times=[100])
    >>> warmer["cSoil"].dims
    ('experiment', 'site', 'time')
    """
    try:
        chosen = ProjectionSettings.model_validate(settings)
    except ValidationError as error:
        raise ParameterError(f"project: {faults.say(error, ProjectionSettings)}.") from error
    named = [e if isinstance(e, Experiment) else experiments_named([e])[0] for e in experiments]
    model.check_forcing(forcing)
    values = as_arrays(
        model.rows, parameters, forcing.site, len(forcing.grid), bounds, model.shares
    )
    latitude, longitude = (
        np.asarray(forcing.coords.get(n, np.full(len(forcing), np.nan)), float)
        for n in ("latitude", "longitude")
    )
    start = None if initial is None else _initial(model, initial, len(forcing))
    projections = project_members(
        model,
        [values],
        forcing,
        named,
        chosen,
        latitude,
        longitude,
        initial=start,
        keep_pools=True,
    )
    return _dataset(model, forcing, named, chosen, projections)


def _initial(model: SoilModel, initial: xr.DataArray, n: int) -> np.ndarray:
    values = initial.transpose("site", "pool", "layer").to_numpy()
    if values.shape[:2] != (n, len(model.pools)):
        raise ParameterError(
            f"The initial state has the shape {values.shape}; expected {n} sites and "
            f"{len(model.pools)} pools."
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ParameterError("The initial state contains values that are missing or below 0.")
    return np.asarray(values[None])


def _dataset(
    model: SoilModel,
    forcing: Forcing,
    experiments: Sequence[Experiment],
    settings: ProjectionSettings,
    projections: Sequence[Projected],
) -> xr.Dataset:
    here = [p.reason[0] == Reason.FEASIBLE for p in projections]
    there = [
        fine & (p.steady_reason[0] == Reason.FEASIBLE)
        for fine, p in zip(here, projections, strict=True)
    ]
    data = _variables(projections, here, there)
    flags = {
        "flag_values": list(model.reasons()),
        "flag_meanings": " ".join(model.reasons().values()),
    }
    for name, codes in (
        ("reason", [p.reason[0] for p in projections]),
        ("reason_new_steady_state", [p.steady_reason[0] for p in projections]),
    ):
        data[name] = (
            ("experiment", "site"),
            np.stack(codes).astype(np.int8),
            {"long_name": "reason why a site has no result", **flags},
        )
    return xr.Dataset(
        data,
        {
            "experiment": [e.name for e in experiments],
            "site": forcing.site,
            "time": (
                "time",
                np.array([0.0, *settings.times]),
                {"units": "yr", "long_name": "years since the start"},
            ),
            "pool": list(model.pools),
            "layer": np.arange(1, len(forcing.grid) + 1),
            "depth": ("layer", forcing.grid.node, {"units": "m", "positive": "down"}),
            "words": ("experiment", [e.words for e in experiments]),
            **{name: ("site", values) for name, values in forcing.coords.items()},
        },
        {"model": model.name, "variant": model.variant, **provenance(model)},
    )


def _variables(
    projections: Sequence[Projected], here: list[np.ndarray], there: list[np.ndarray]
) -> dict[str, Any]:
    """Return all variables; `here` and `there` say where the run and the new steady state exist."""
    data: dict[str, Any] = {}

    def put(
        name: str,
        dims: tuple[str, ...],
        arrays: list[np.ndarray],
        fine: list[np.ndarray],
        unit: str,
        words: str,
    ) -> None:
        kept = [
            np.where(f.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan)
            for f, a in zip(fine, arrays, strict=True)
        ]
        attributes = {"units": unit, "long_name": words}
        data[name] = (("experiment", "site", *dims), np.stack(kept), attributes)

    for name in projections[0].kept:
        put(name, ("time",), [p.kept[name][0] for p in projections], here, *_MEANINGS[name])
    for name in projections[0].steady:
        unit, words = _MEANINGS[name]
        ends = [p.steady[name][0] for p in projections]
        put(f"{name}_new_steady_state", (), ends, there, unit, f"{words}, new steady state")
    parts = [change_parts(p) for p in projections]
    for name in parts[0]:
        words = f"change of all carbon {name.replace('_', ' ')}"
        put(name, ("time",), [p[name][0] for p in parts], here, "kg m-2", words)
    pools = [p.pools[0] for p in projections if p.pools is not None]
    put("pool_carbon", ("time", "pool", "layer"), pools, here, "g m-3", "carbon of each pool")
    put("mean_age", (), [p.age[0] for p in projections], here, *_MEANINGS[MEAN_AGE])
    return data


def change_parts(projected: Projected) -> dict[str, np.ndarray]:
    """Return the split of the change of all carbon at the kept times, (member, cell, time)."""
    kept = projected.kept
    carbon = kept["cSoil"] + kept[LITTER_CARBON]
    start = (carbon[..., :1], kept[CARBON_INPUT][..., :1])
    return split_change(carbon, losses_of(kept), kept[CARBON_INPUT], start)
