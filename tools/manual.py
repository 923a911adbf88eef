"""What the manual asks of MkDocs: equations as MathML made at build time, pages that may be absent.

Browsers draw MathML themselves, so the pages load no script and no font from anywhere.
"""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree as ET

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

INLINE = r"(?<![\\$])\$(?![\s$])([^$]+?)(?<![\s\\])\$(?!\d)"


def mathml(latex: str, display: str) -> str:
    """Return LaTeX as MathML, readable to those who copy it or hear it."""
    try:
        found = convert(latex.strip(), display=display)
    except Exception as error:
        raise PluginError(f"This equation is no LaTeX that can be converted: {latex}") from error
    if unknown := re.findall(r"<m[io]>(\\[a-zA-Z]+)</m[io]>", found):
        raise PluginError(f"{unknown[0]} is not known, in the equation {latex}")
    return found.replace("<math ", f'<math aria-label="{html.escape(latex.strip())}" ', 1)


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]  # noqa: N802
        return self.md.htmlStash.store(mathml(m.group(1), "inline")), m.start(0), m.end(0)


class _Block(BlockProcessor):
    def test(self, parent: ET.Element, block: str) -> bool:
        text = block.strip()
        return text.startswith("$$") and text.endswith("$$") and len(text) > 4

    def run(self, parent: ET.Element, blocks: list[str]) -> bool:
        holder = ET.SubElement(parent, "div", {"class": "equation"})
        latex = blocks.pop(0).strip().strip("$")
        holder.text = self.parser.md.htmlStash.store(mathml(latex, "block"))
        return True


class Equations(Extension):
    """`$...$` in a line and `$$...$$` in a paragraph of its own."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Register the two patterns: after code, before all other marks."""
        md.inlinePatterns.register(_Inline(INLINE, md), "equation", 185)
        md.parser.blockprocessors.register(_Block(md.parser), "equation", 175)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the equations, and leave out of the contents what `extra.optional` says may be absent."""
    config.markdown_extensions.append(Equations())  # type: ignore[arg-type]
    present = {path for path in config.extra.get("optional", []) if not _exists(config, path)}
    config.nav = _without(config.nav, present)
    return config


def _exists(config: MkDocsConfig, page: str) -> bool:
    from pathlib import Path

    return (Path(config.docs_dir) / page).is_file()


def _without(entries: Any, absent: set[str]) -> Any:
    if isinstance(entries, dict):
        return {key: _without(value, absent) for key, value in entries.items()}
    if not isinstance(entries, list):
        return entries
    return [
        _without(entry, absent)
        for entry in entries
        if not (isinstance(entry, dict) and set(map(str, entry.values())) & absent)
    ]
