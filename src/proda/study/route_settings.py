"""`[learning]`: by which route profiles constrain the parameters, and training end to end."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal, get_type_hints

from pydantic import Field, create_model, field_validator

from proda.errors import LearningError
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.models.registry import load_model
from proda.settings_table import SettingsTable
from proda.validation_settings import EndToEndValidation

Route = Literal["end-to-end", "posterior", "both"]
POSTERIOR_TABLES = ("assimilation", "filter", "training")
"""Settings that only the route from posteriors uses: any of them asks for an assimilation."""


def _meanings(kind: type) -> dict[str, str]:
    """Return what the docstring of settings says, by the first name of each of its entries."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("----------\n")[2]
    entries = re.findall(r"^(\w+)(?:, \w+)*\n((?:    .*\n?)+)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def _trainer() -> Any:
    """Return the settings of end-to-end training as a table: all but the seed, the study's own."""
    hints, meanings = get_type_hints(EndToEndSettings), _meanings(EndToEndSettings)
    meanings["members"] = "Number of networks."
    fields: Any = {
        field.name: (hints[field.name], Field(field.default, description=meanings.get(field.name)))
        for field in dataclasses.fields(EndToEndSettings)
        if field.name != "seed"
    }
    return create_model("Trainer", __base__=SettingsTable, **fields)


_Trainer: Any = _trainer()


class EndToEnd(EndToEndValidation, _Trainer):
    """`[learning.end_to_end]`: what `EndToEndSettings` has, and how places are left out."""

    @field_validator("folds")
    @classmethod
    def _none_or_some(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves nothing to train on; give 0, or 2 or more")
        return folds

    def build(self, seed: int, model: str, variant: str) -> EndToEndSettings:
        """Return the settings of one model; of the global parameters those that it has.

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
            Naming a value that makes no sense, or a global parameter that no model has.
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
        "assimilation; posterior: they learn from the posteriors of assimilated sites; or both. "
        "Where it is not given: both if there is a table [assimilation], [filter] or [training], "
        "else end-to-end.",
    )
    end_to_end: EndToEnd = Field(default_factory=lambda: EndToEnd.model_validate({}))

    @property
    def through(self) -> bool:
        """Whether networks learn end to end."""
        return self.route != "posterior"

    @property
    def posterior(self) -> bool:
        """Whether profiles are assimilated and networks learn from the posteriors."""
        return self.route != "end-to-end"


def with_route(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a study with the route that they ask for, where they do not name one."""
    found = dict(values)
    learning = found.get("learning", {})
    if isinstance(learning, Mapping) and "route" not in learning:
        asked = any(name in found for name in POSTERIOR_TABLES)
        found["learning"] = {**learning, "route": "both" if asked else "end-to-end"}
    return found
