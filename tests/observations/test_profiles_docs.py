"""The page on profiles says what the code does."""

from pathlib import Path

import pytest

from proda.observations.quality_rules import LAYER_REASONS, PROFILE_REASONS, Rules
from proda.observations.schema import LAYER_COLUMNS, PROFILE_COLUMNS, REJECTED_COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()


@pytest.mark.parametrize("columns", [PROFILE_COLUMNS, LAYER_COLUMNS, REJECTED_COLUMNS])
def test_columns(columns):
    for column in columns:
        star = " *" if column.computed else ""
        assert f"| `{column.name}` | {column.unit} | {column.meaning}{star} |" in PAGE


@pytest.mark.parametrize("reasons", [LAYER_REASONS, PROFILE_REASONS])
def test_reasons_in_order(reasons):
    at = [PAGE.index(f"| `{name}` | {meaning} |") for name, meaning in reasons.items()]
    assert at == sorted(at)


def test_every_default():
    for name, field in Rules.model_fields.items():
        assert f"| `{name}` | `{field.default!r}` | {field.description} |" in PAGE
