"""The manual builds without a network, its equations too, and what it names and runs exists."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from proda.cli import app
from tests.assimilation_worlds import WALKERS
from tests.conftest import HERE
from tests.test_docs import code

ROOT = HERE.parent
DOCS = ROOT / "docs"
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|audio|video)[^>]*?\ssrc=["']?(?:https?:)?//[^"'>\s]+
    |<link(?=[^>]*rel=["']?(?:stylesheet|icon|preload|preconnect|modulepreload))[^>]*href=["']?
     (?:https?:)?//[^"'>\s]+|@import[^;]*//|url\(["']?(?:https?:)?//[^)]*\)""",
    re.VERBOSE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("manual") / "site"
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(list(site.rglob("*.html"))) > 20
    for page in pages:
        assert not LOADS.search(page.read_text()), (page, LOADS.search(page.read_text()))


def test_equations_are_drawn_and_none_is_left_as_it_was_typed(site):
    theory = (site / "theory.html").read_text()
    assert theory.count("<math") > 150
    assert theory.count('display="block"') > 30
    for page in site.rglob("*.html"):
        text = re.sub(
            r"<math.*?</math>|<(script|code|pre).*?</\1>", "", page.read_text(), flags=re.DOTALL
        )
        assert "$$" not in text, page
        assert not re.search(r"\\(frac|tau|xi|sum)\b", text), page


def test_every_page_is_in_the_contents():
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)
    listed = set(re.findall(r"[\w/]+\.md", str(settings["nav"])))
    there = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
    assert there <= listed
    assert listed - there <= set(settings["extra"]["optional"])


def named() -> list[str]:
    text = "".join(
        (DOCS / f"{page}.md").read_text() for page in ("paper_to_code", "differences", "export")
    )
    return sorted(set(re.findall(r"`(proda\.[\w.]+)`", text)))


def test_every_function_that_is_named_exists():
    assert len(named()) > 60
    for name in named():
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            for part in parts[cut:]:
                assert hasattr(found, part), name
                found = getattr(found, part)
            break


def test_every_equation_table_and_figure_of_the_paper_is_there():
    text = (DOCS / "paper_to_code.md").read_text()
    expected = [f"P-Eq {n}" for n in range(1, 15)]
    expected += [f"Table S{n}" for n in range(1, 5)]
    expected += [f"Fig {n}" for n in range(1, 6)] + [f"Fig S{n}" for n in range(1, 4)]
    for what in expected:
        assert re.search(rf"^\| {what}(:[^|]*)? \|", text, re.MULTILINE), what


@pytest.mark.parametrize("page", ["reverse_kinetics", "own_forcing"])
def test_python_of_short_pages_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = [b for b in code(DOCS / f"{page}.md", "python") if "--8<--" not in b]
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})
    assert capsys.readouterr().out


def with_few_walkers(words: list[str]) -> list[str]:
    """Return a command with the settings of test_assimilation_run.py, which shares its programs."""
    assert "--option" not in words
    words[words.index("--draws") + 1] = str(WALKERS.draws)
    words += ["--sampler", WALKERS.sampler]
    for name, value in WALKERS.options.items():
        words += ["--option", f"{name}={value}"]
    limits = {"chains": WALKERS.chains, "min-ess": WALKERS.min_ess, "max-rhat": WALKERS.max_rhat}
    return words + [f"--{name}={value}" for name, value in limits.items()]


@pytest.mark.parametrize("steps", ["fewer", pytest.param("all", marks=pytest.mark.long)])
def test_the_first_run_runs_as_it_is_written(tmp_path, monkeypatch, capsys, steps):
    """Every block of the page in order, then those of the pages that go on from it.

    With fewer steps of the sampler, which do not change what is written.
    """
    monkeypatch.chdir(tmp_path)
    pages = ("first_run", "export", "own_model")
    text = "".join((DOCS / f"{page}.md").read_text() for page in pages)
    example = (ROOT / "examples" / "two_pool.py").read_text()
    assert len(example.splitlines()) < 60
    Path("two_pool.py").write_text(example)
    ran = []
    for language, block in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL):
        if language == "toml":
            Path("study.toml" if "[study]" in block else "profiles.toml").write_text(block)
        elif language == "python":
            exec(compile(block, "page", "exec"), {})
        else:
            for line in block.splitlines():
                words = shlex.split(line)[1:]
                words += ["--workers", "1"] if words[0] == "assimilate" else []
                if words[0] == "assimilate" and steps == "fewer":
                    words = with_few_walkers(words)
                result = CliRunner().invoke(app, words)
                assert result.exit_code == 0, (line, result.output, result.exception)
                ran.append(words[0])
    assert ran == [
        "models",
        "column",
        "profiles",
        "assimilate",
        "diagnose",
        *["export"] * 3,
        "models",
        "models",
        "assimilate",
        "diagnose",
    ]
    assert Path("figures/profiles.png").stat().st_size > 1000
    assert Path("some.nc").is_file()
    printed = re.findall(
        r"^(\w+): (\d+) parameters, RMSE ([\d.]+) kg", capsys.readouterr().out, re.M
    )
    assert [(name, n) for name, n, _ in printed] == [("clm5", "21"), ("two_pool", "8")]
    assert all(float(error) < 20 for *_, error in printed)
