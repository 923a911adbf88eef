"""`[learning]`: the route by which profiles constrain the parameters, and end-to-end training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import Field, create_model, field_validator

from proda.errors import LearningError
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.models.registry import load_model
from proda.settings_table import SettingsTable, described
from proda.validation_settings import EndToEndValidation

Route = Literal["end-to-end", "posterior", "both"]
POSTERIOR_TABLES = ("assimilation", "filter", "training")
"""Tables that only the route from posteriors uses; any of them requests an assimilation."""


def _trainer() -> Any:
    """Return the settings of end-to-end training as a table, without the seed of the study."""
    hints, meanings = get_type_hints(EndToEndSettings), described(EndToEndSettings)
    fields: Any = {
        name: (hints[name], Field(default, description=meaning))
        for name, (default, meaning) in meanings.items()
        if name != "seed"
    }
    return create_model("Trainer", __base__=SettingsTable, **fields)


_Trainer: Any = _trainer()


class EndToEnd(EndToEndValidation, _Trainer):
    """`[learning.end_to_end]`: the settings of `EndToEndSettings`, and of the cross-validation."""

    networks: dict[str, Path] = Field(
        default_factory=dict,
        description="Model = folder of networks of `proda train --model` with the data of this "
        "study, to use instead of a new training; they keep their own settings.",
    )

    @field_validator("folds")
    @classmethod
    def _none_or_some(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves no training data; give 0, or 2 or more")
        return folds

    def build(self, seed: int, model: str, variant: str) -> EndToEndSettings:
        """Return the settings of one model, with those global parameters that it has.

        Raises
        ------
        LearningError
            Naming a value that makes no sense.
        """
        given = {name: getattr(self, name) for name in _Trainer.model_fields}
        own = [row.name for row in load_model(model, variant).rows]
        given["global_parameters"] = tuple(n for n in self.global_parameters if n in own)
        try:
            return EndToEndSettings(**given, seed=seed)
        except LearningError as error:
            raise LearningError(f"learning.end_to_end: {error}") from error

    def check(self, models: tuple[str, ...], variant: str) -> None:
        """Build the settings of all models.

        Raises
        ------
        LearningError
            Naming a value that is not allowed, or a global parameter that no model has.
        """
        for model in models:
            self.build(0, model, variant)
        known = {row.name for model in models for row in load_model(model, variant).rows}
        if unknown := [n for n in self.global_parameters if n not in known]:
            raise LearningError(
                f"learning.end_to_end.global_parameters: no model of the study has "
                f"{', '.join(unknown)}; there are {', '.join(sorted(known))}."
            )


class Learning(SettingsTable):
    """`[learning]`."""

    route: Route = Field(
        "end-to-end",
        description="end-to-end: networks learn through the soil model from all profiles, without "
        "assimilation; posterior: they learn from the posteriors of assimilated sites; or both. By "
        "default, both if there is a table [assimilation], [filter] or [training], otherwise "
        "end-to-end.",
    )
    end_to_end: EndToEnd = Field(default_factory=lambda: EndToEnd.model_validate({}))

    @property
    def through(self) -> bool:
        """Whether networks are trained end to end."""
        return self.route != "posterior"

    @property
    def posterior(self) -> bool:
        """Whether profiles are assimilated and networks are trained on the posteriors."""
        return self.route != "end-to-end"


def with_route(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a study with the default route, where they do not name one."""
    updated = dict(values)
    learning = updated.get("learning", {})
    if isinstance(learning, Mapping) and "route" not in learning:
        asked = any(name in updated for name in POSTERIOR_TABLES)
        updated["learning"] = {**learning, "route": "both" if asked else "end-to-end"}
    return updated
