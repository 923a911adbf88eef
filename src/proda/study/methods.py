"""The study as published, and the sequence of corrections that leads to our method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proda.errors import StudyError
from proda.inference.filter_settings import MAX_GELMAN_RUBIN, MIN_NASH_SUTCLIFFE

Method = Literal["ours", "published"]
OURS: Method = "ours"
PUBLISHED: Method = "published"
LABEL = "method as published by Tao et al. (2023), for comparison"
"""Text on every figure and in every netCDF file of a study by the published method."""
OWN_COST = "published"
"""Likelihood of a study in which each model has the cost that was published for it."""

Key = tuple[str, str]
"""Table and name of a setting."""

SETTINGS: dict[Key, Any] = {
    ("study", "variant"): "published",
    ("learning", "route"): "posterior",
    ("assimilation", "likelihood"): OWN_COST,
    ("assimilation", "operator"): "mid_depth",
    ("assimilation", "sampler"): "published",
    ("assimilation", "chains"): 3,
    ("assimilation", "draws"): 500,
    ("assimilation", "options"): {"test": 20_000, "formal": 50_000},
    ("filter", "max_gelman_rubin"): MAX_GELMAN_RUBIN,
    ("filter", "min_nse"): MIN_NASH_SUTCLIFFE,
    ("training", "preset"): "study",
    ("training", "settings"): {},
    ("maps", "default"): "ad_hoc",
}
"""The settings of the published method (P-sections 2.1 to 2.7). Its posterior is the mean of
accepted proposals; the default of COMPAS is the mean of its accepted sites."""
AMOUNTS: tuple[Key, ...] = (
    ("assimilation", "draws"),
    ("assimilation", "chains"),
    ("assimilation", "options"),
    ("filter", "max_gelman_rubin"),
    ("filter", "min_nse"),
    ("training", "settings"),
)
"""Settings of the amount of work, not of the method: other values are allowed."""


@dataclass(frozen=True)
class Correction:
    """A step from the published method to ours, with the settings that it corrects."""

    name: str
    words: str
    released: tuple[Key, ...] = ()
    only_here: Mapping[Key, Any] = field(default_factory=dict)
    """Settings of this rung alone, which the next one corrects."""


CORRECTIONS: tuple[Correction, ...] = (
    Correction("published", "the method as published"),
    Correction(
        "models",
        "the models: carbon conserved and no input below bedrock, mean of the product of modifiers",
        (("study", "variant"),),
    ),
    Correction(
        "sampler",
        "an exact sampler",
        tuple(("assimilation", name) for name in ("sampler", "options", "draws", "chains")),
    ),
    Correction(
        "likelihood",
        "one likelihood for all models",
        (("assimilation", "likelihood"),),
    ),
    Correction("layer_mean", "means over the measured layers", (("assimilation", "operator"),)),
    Correction(
        "network",
        "a bounded network, an ensemble, validation by blocks of the map",
        (("training", "preset"), ("training", "settings")),
    ),
    Correction(
        "through_model",
        "loss through the soil model, on all profiles, means of the forcing as input",
        (("learning", "route"), ("maps", "default")),
        {("learning", "route"): "end-to-end", ("learning.end_to_end", "forcing_inputs"): "summary"},
    ),
    Correction(
        "response",
        "the model's response to the forcing as input: our method",
        (),
        {("learning", "route"): "end-to-end"},
    ),
)
"""In order; each rung has the corrections of all before it."""


def with_method(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings with the values of their method, where they are not given.

    Raises
    ------
    StudyError
        If the method is unknown, or a setting that it fixes has another value.
    """
    updated = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    study = updated.get("study")
    method = study.get("method", OURS) if isinstance(study, dict) else OURS
    if method == PUBLISHED:
        for key, value in SETTINGS.items():
            given = _set(updated, key, value, keep=True)
            if given != value and key not in AMOUNTS:
                raise StudyError(
                    f'{where}: {".".join(key)} is {given!r}, but method = "{PUBLISHED}" in [study] '
                    f"sets {value!r}. Remove one of the two; `proda ladder` corrects the "
                    "published method step by step."
                )
    return updated


def rung(
    values: Mapping[str, Any], index: int, published: Mapping[Key, Any] | None = None
) -> dict[str, Any]:
    """Return the settings of one rung of the ladder.

    Parameters
    ----------
    values
        Settings of the study by our method, as read from TOML.
    index
        Position in :data:`CORRECTIONS`.
    published
        Changes to :data:`SETTINGS`, such as fewer steps; may include `training.settings`.
    """
    updated = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    fixed = {**SETTINGS, **(published or {})}
    released = {key for each in CORRECTIONS[: index + 1] for key in each.released}
    for key, value in fixed.items():
        if key not in released:
            _set(updated, key, value)
    correction = CORRECTIONS[index]
    for key, value in correction.only_here.items():
        _set(updated, key, value)
    study = dict(updated.get("study", {}))
    # The first rung sets the published method by name, so that its results have the label.
    study["method"] = PUBLISHED if index == 0 else OURS
    study["name"] = f"{study.get('name', 'Study')}: rung {index}, {correction.words}"
    return {**updated, "study": study}


def _set(values: dict[str, Any], key: Key, value: Any, keep: bool = False) -> Any:
    """Set a setting, or with `keep` only where it is not given, and return its value."""
    table, name = key
    place: dict[str, Any] = values
    for part in table.split("."):
        own = place.get(part, {})
        place[part] = dict(own) if isinstance(own, Mapping) else {}
        place = place[part]
    if not (keep and name in place):
        place[name] = value
    return place[name]
