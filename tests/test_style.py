"""Words that the style sheet in CONTRIBUTING.md replaces do not come back."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HERE

ROOT = HERE.parent
NOT_BUT = {
    r"\bin good time\b": "before the time limit",
    r"\b[Gg]o(es|ing)? on with\b": "resume with",
    r"\b(of|from|with) which .{0,40} goes on\b": "resumes",
    r"\bmade[- ]up\b": "synthetic",
    r"\b[Oo]nly so many\b|\bat most so many\b|\bafter so many\b": "at most this many",
    r"\bMost epochs\b": "Maximum number of epochs",
    r"\bLeast water scalar\b": "Minimum of the water scalar",
    r"\bneeds not\b": "need not",
    r"\bis there twice\b": "appears twice",
    r"\bno file of proda\b": "not a proda ... file",
    r"\bof what came\b": "checksum mismatch: expected ..., got ...",
    r"[Tt]here is no such (sampler|model|stage|experiment)": "unknown ...; choose one of ...",
    r"\bis done again\b|\bare done again\b": "is computed again, is run again",
    r"\bwas begun with\b|\bhad begun\b": "was started with",
    r"(?<![Tt]here )\bis no (number|name|list|time|map|file|posterior|network)\b": "is not a",
    r"\b(is|are) told\b|\btold (what|which|where|how)\b": "a standard verb: receives, is given",
    r"\b(has|have|had) (not )?seen\b|\bnever (saw|seen)\b": "was (not) trained on; held out",
    r"\bspeaks? (of|for)\b": "constrains, describes",
    r"\bsays? (of|nothing|little)\b": "describes; contains no information on",
    r"\bleft lying\b|\bleaves? lying\b": "remains",
    r"\bby heart\b": "memorises",
    r"\b(two|other|one) hills?\b": "modes, bimodal",
    r"\bgive or take\b": "with a tolerance of",
    r"\bnot to be trusted\b": "unreliable",
    r"\bfor earnest\b|\bin earnest\b": "for a real study",
    r"\b[Mm]ade if absent\b|\bmade where absent\b": "created if absent",
    r"\bwhole or not at all\b": "completely or not at all",
    r"\bheld against\b": "compared with",
    r"\bput right\b|\bgoes wrong\b|\bwent wrong\b": "corrected; fails",
    r"\b(is|are) worth (as|so|how) (many|much)\b": "effective number",
    r"\bno more than that\b|\bno less than that\b": "a complete sentence",
}
"""Regular expression -> what to write instead."""
ALLOWED = {"CONTRIBUTING.md", "CHANGELOG.md", "docs/changelog.md"}
"""Files that quote the words, or that record the past."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the text of a file with its line: of Python, the strings, without what they insert."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def files() -> list[Path]:
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    return sorted(p for p in found if p.relative_to(ROOT).as_posix() not in ALLOWED)


@functools.cache
def everything() -> list[tuple[Path, int, str]]:
    """Return all prose, read once for all words."""
    return [(path, line, text) for path in files() for line, text in prose(path)]


@pytest.mark.parametrize("word", NOT_BUT)
def test_words_of_the_style_sheet(word):
    pattern = re.compile(word)
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[max(match.start() - 30, 0) : match.end() + 30]}"
        for path, line, text in everything()
        if (match := pattern.search(text))
    ]
    assert not found, f"write {NOT_BUT[word]!r} instead (CONTRIBUTING.md):\n" + "\n".join(found)


def test_the_check_finds_what_it_looks_for():
    assert len(everything()) > 10_000
    samples = {
        "Stopped in good time. Go on with:": 2,
        "a network that has seen all sites": 1,
        "This block is done again.": 1,
        "column lat is there twice": 1,
    }
    for text, n in samples.items():
        assert sum(bool(re.search(word, text)) for word in NOT_BUT) == n, text


def test_bold_text_ends_where_it_should():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for paragraph in text.split("\n\n"):
            assert paragraph.count("**") % 2 == 0, f"{page.name}: {paragraph[:80]}"
