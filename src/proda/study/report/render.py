"""Render sections as HTML."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import jinja2
import pandas as pd

from proda.study.record import Record
from proda.study.report.elements import Picture, Section, Table
from proda.study.report.sections.findings import tone
from proda.study.report.tables import MOST_ROWS, cells, is_number, label, units


def render(record: Record, sections: Sequence[Section]) -> str:
    """Return the report as one HTML document, images and style embedded.

    Parameters
    ----------
    record
        The content of study.json.
    sections
        In order.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proda.study.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbered: list[dict[str, Any]] = []
    tables = pictures = 0
    for section in sections:
        blocks: list[dict[str, Any]] = []
        for block in section.blocks:
            if isinstance(block, Table):
                tables += 1
                blocks.append(_table(block, tables))
            elif isinstance(block, Picture):
                pictures += 1
                blocks.append(_picture(block, pictures))
            else:
                blocks.append({**vars(block), "kind": block.kind})
        numbered.append({"key": section.key, "title": section.title, "blocks": blocks})
    finished = [s.finished for s in record.stages.values() if s.finished]
    template = environment.get_template("report.html.j2")
    return template.render(
        record=record,
        sections=numbered,
        computed=max(finished)[:10] if finished else "",
        written=datetime.now(UTC).date().isoformat(),
    )


def _width(column: pd.Series) -> str:
    """Return whether cells of text need width (`long`) or must not be broken (`short`)."""
    if is_number(column) or column.empty:
        return ""
    longest = int(column.astype(str).str.len().max())
    return "long" if longest > 50 else "short" if longest <= 20 else ""


def _table(table: Table, number: int) -> dict[str, Any]:
    columns, texts, classes = [], [], []
    chosen = table.frame
    if table.only is not None:
        chosen = chosen[chosen[table.only[0]].astype(str) == table.only[1]]
    for name in chosen:
        whole = chosen[name]
        shown = whole.iloc[:MOST_ROWS]
        words = table.labels.get(str(name))
        right = "number" if is_number(whole) else ""
        columns.append({"label": units(words) if words else label(str(name)), "number": right})
        texts.append(cells(shown, str(name)))
        tones = [tone(v) if name in table.verdicts else "" for v in shown]
        width = _width(whole)
        classes.append([" ".join(filter(None, (right, width, t))) for t in tones])
    rows = [
        [{"text": texts[j][i], "classes": classes[j][i]} for j in range(len(columns))]
        for i in range(min(len(chosen), MOST_ROWS))
    ]
    more = len(table.frame) - len(rows)
    return {
        "kind": "table",
        "columns": columns,
        "rows": rows,
        "title": table.title,
        "note": table.note,
        "stem": table.stem,
        "number": number,
        "more": more,
    }


def _picture(picture: Picture, number: int) -> dict[str, Any]:
    # The size, from the first chunk of the PNG, keeps the layout stable while images are decoded.
    width, height = struct.unpack(">II", picture.png[16:24])
    return {
        "kind": "picture",
        "title": picture.title,
        "caption": picture.caption,
        "number": number,
        "stem": picture.stem,
        "data": base64.b64encode(picture.png).decode("ascii"),
        "width": width,
        "height": height,
    }
