"""Figures of a study as files: a PNG for the report, a PDF for print, and a description."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import PIL.Image
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, ValidationError

from proda.errors import FileError
from proda.files import reading, whole_file
from proda.label import label

MOST_BYTES = 250_000
"""Target size of a PNG, reached if possible with 256 colours and at least 80 dots per inch."""

RESOLUTIONS = (150, 110, 80)
"""Dots per inch, in the order tried."""


class FigureFile(BaseModel):
    """The content of the description file `STEM.json` of a figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    """The finding of the figure; the alternative text in the report."""
    caption: str
    section: str
    """Key of the report's section that shows it (docs/report.md)."""
    drawn_by: str = ""
    """`report` for figures that the report draws and replaces itself."""


def save_figure(
    figure: Figure,
    folder: str | os.PathLike[str],
    stem: str,
    caption: str,
    section: str,
    *,
    title: str = "",
    drawn_by: str = "",
) -> FigureFile:
    """Write STEM.png, STEM.pdf and the description STEM.json into a folder, and close the figure.

    The description is written last.

    Parameters
    ----------
    figure
        To save.
    folder
        Folder, created if absent.
    stem
        Name of the files.
    caption
        What is shown and how to read it; the finding is the title.
    section
        Of the report.
    title
        By default the title of the figure, or of its first panel.
    drawn_by
        See :class:`FigureFile`.

    Raises
    ------
    FileError
        If the figure has no title, or the files cannot be written.
    """
    target = Path(folder)
    title = title or _title(figure)
    if not title:
        raise FileError(
            f"{target / stem}: the figure has no title; give one, because screen readers need it."
        )
    if label():
        figure.text(
            0.995, 0.005, label(), ha="right", va="bottom", fontsize="x-small", color="grey"
        )
        caption = f"{caption} {label()[0].upper()}{label()[1:]}."
    described = FigureFile(title=title, caption=caption, section=section, drawn_by=drawn_by)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{stem}.json").unlink(missing_ok=True)  # no old description for a new figure
    with whole_file(target / f"{stem}.png") as temporary:
        temporary.write_bytes(_png(figure))
    with whole_file(target / f"{stem}.pdf") as temporary:
        figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
    with whole_file(target / f"{stem}.json") as temporary:
        temporary.write_text(described.model_dump_json(indent=1) + "\n", "utf-8")
    plt.close(figure)
    return described


def saved_figures(folder: str | os.PathLike[str]) -> Iterator[tuple[str, FigureFile]]:
    """Yield stem and description of the figures of a folder, by name; nothing if it is absent.

    Raises
    ------
    FileError
        Naming a description that cannot be read, or that has no PNG.
    """
    for path in sorted(Path(folder).glob("*.json")):
        yield path.stem, saved_figure(path)


def saved_figure(path: Path) -> FigureFile:
    """Read the description STEM.json of one figure.

    Raises
    ------
    FileError
        If it cannot be read, or there is no PNG.
    """
    try:
        with reading(path, "description of a figure"):
            content = path.read_bytes()
        described = FigureFile.model_validate_json(content)
    except ValidationError as error:
        raise FileError(
            f"{path}: not a description of a figure ({error.error_count()} faults); draw the "
            "figure again with proda.plots.figure_files.save_figure."
        ) from error
    if not path.with_suffix(".png").is_file():
        raise FileError(f"{path}: describes a figure, but {path.stem}.png does not exist.")
    return described


def _title(figure: Figure) -> str:
    """Return the title of the figure as plain text."""
    title = figure.get_suptitle()
    for axis in figure.axes:
        title = title or axis.get_title(loc="left") or axis.get_title()
    for tex, plain in (("$^{-1}$", "⁻¹"), ("$^{-2}$", "⁻²"), ("$^{-3}$", "⁻³"), ("$^2$", "²")):
        title = title.replace(tex, plain)
    return ". ".join(line.strip() for line in title.splitlines())


def _png(figure: Figure) -> bytes:
    """Return the largest of a few resolutions with a small enough file, otherwise the smallest."""
    written = b""
    for dpi in RESOLUTIONS:
        buffer, smaller = io.BytesIO(), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
        with PIL.Image.open(buffer) as image:
            image.convert("RGB").quantize(256).save(smaller, format="PNG", optimize=True)
        written = smaller.getvalue()
        if len(written) <= MOST_BYTES:
            break
    return written
