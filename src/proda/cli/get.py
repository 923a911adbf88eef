"""`proda get`: download public data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app
from proda.cli.console import console, errors, print_table

if TYPE_CHECKING:
    from proda.drivers.catalogue import RemoteFile

_Catalogue = Annotated[list[Path] | None, typer.Option(help="An additional catalogue (TOML).")]


@app.command(
    "get",
    epilog="Examples: `proda get` lists the data sets; `proda get wosis-2019-september`; "
    "`proda get wosis-2023-december --unpack`; `proda get my-data --catalogue my.toml`",
)
def get(
    name: Annotated[str, typer.Argument(help="Name in the catalogue; without it, a list.")] = "",
    folder: Annotated[Path, typer.Option(help="Folder for the files; created if absent.")] = Path(),
    catalogue: _Catalogue = None,
    unpack: Annotated[bool, typer.Option("--unpack", help="Unpack zip archives too.")] = False,
) -> None:
    """Download a public data set and verify it; an interrupted download is resumed.

    The licence and the citation are printed first: the terms are those of the data provider.
    """
    from proda.drivers import download
    from proda.drivers.catalogue import catalogue as read
    from proda.errors import DownloadError

    sources = read(catalogue or [])
    if not name:
        rows = [(n, s.title, s.licence) for n, s in sources.items()]
        print_table("Data sets", ["name", "title", "licence"], rows)
        return
    if name not in sources:
        raise DownloadError(
            f"No data set {name} in the catalogue; choose one of {', '.join(sources)}. Add a "
            "catalogue of your own with --catalogue."
        )
    source = sources[name]
    terms = [
        ("title", source.title),
        ("licence", source.licence),
        ("cite", source.citation),
        ("home page", source.homepage),
        ("note", source.note),
    ]
    print_table(name, ["", ""], [row for row in terms if row[1]])
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for remote in source.files:
        path, stated = _download(remote, folder)
        size = "as in the table" if remote.size else _unlisted_size(stated)
        checksum = "SHA-256 as in the table" if remote.sha256 else "not in the table, not checked"
        done.append((path, f"{path.stat().st_size:,}", size, checksum))
        if not remote.sha256 and not remote.size and stated == [None]:
            errors.print(
                f"{path.name}: neither the catalogue nor the server states its size, so the file "
                "may be incomplete. Check it before you use it.",
                style="yellow",
                markup=False,
            )
        if unpack and path.suffix.lower() == ".zip":
            for member in download.unpack(path):
                done.append((member, f"{member.stat().st_size:,}", "from the archive", "CRC-32"))
    print_table("Files", ["file", "bytes", "size", "checksum"], done, right=[1])
    console.print(f"{len(done)} files in {folder}")


def _download(remote: RemoteFile, folder: Path) -> tuple[Path, list[int | None]]:
    """Download a file with a progress bar.

    Returns
    -------
    The file, and the length stated by the server: empty if nothing was downloaded.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from proda.drivers import download

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    stated: list[int | None] = []
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(remote.name, total=remote.size)

        def step(n: int, total: int | None) -> None:
            stated[:] = [total]
            bar.update(task, completed=n, total=total)

        return download.get_file(remote, folder, step), stated


def _unlisted_size(stated: list[int | None]) -> str:
    """Describe the check of the size of a file whose size the catalogue lacks."""
    if not stated:
        return "already present, not checked"
    return "unknown, not checked" if stated[0] is None else "as the server stated"
