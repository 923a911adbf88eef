"""The examples of the documentation run as they stand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import proda
from proda.cli import app
from tests.conftest import HERE

PAGES = [HERE.parent / "README.md", HERE.parent / "docs" / "columns.md"]


def code(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_of_a_page_runs_from_top_to_bottom(page):
    blocks = code(page, "python")
    assert blocks
    exec(compile("\n".join(blocks), page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_proda_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for block in code(page, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("proda ")]
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, command


def _modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(proda.__path__, "proda.")]


def test_docstring_examples():
    attempted = 0
    for name in _modules():
        results = doctest.testmod(importlib.import_module(name))
        assert results.failed == 0, name
        attempted += results.attempted
    assert attempted >= 10
