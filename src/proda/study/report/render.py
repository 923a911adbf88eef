"""From sections to HTML."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import jinja2

from proda.study.report.blocks import Picture, Section, Table
from proda.study.report.folder import Record
from proda.study.report.sections.findings import tone
from proda.study.report.tables import MOST_ROWS, cells, is_number, label, units


def render(record: Record, sections: Sequence[Section]) -> str:
    """Return the report as one HTML document, images and style embedded.

    Parameters
    ----------
    record
        What study.json holds.
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


def _table(table: Table, number: int) -> dict[str, Any]:
    frame = table.frame.iloc[:MOST_ROWS]
    columns = [
        {"label": units(table.labels[str(n)]) if str(n) in table.labels else label(str(n)),
         "number": is_number(table.frame[n]),
         "long": not is_number(frame[n]) and frame[n].astype(str).str.len().max() > 50}
        for n in frame
    ]  # fmt: skip
    texts = [cells(frame[name], str(name)) for name in frame]
    judged = table.verdicts or None
    tones = [tone(v) if n == judged else "" for n in frame for v in frame[n]]
    rows = [
        [{"text": column[i], "tone": tones[j * len(frame) + i], **columns[j]}
         for j, column in enumerate(texts)]
        for i in range(len(frame))
    ]  # fmt: skip
    more = len(table.frame) - len(frame)
    return {"kind": "table", "columns": columns, "rows": rows, "title": table.title,
            "note": table.note, "stem": table.stem, "number": number, "more": more}  # fmt: skip


def _picture(picture: Picture, number: int) -> dict[str, Any]:
    # The size keeps the page from moving while images are decoded: the PNG's first chunk holds it.
    width, height = struct.unpack(">II", picture.png[16:24])
    return {
        "kind": "picture", "title": picture.title, "caption": picture.caption, "number": number,
        "stem": picture.stem, "data": base64.b64encode(picture.png).decode("ascii"),
        "width": width, "height": height,
    }  # fmt: skip
