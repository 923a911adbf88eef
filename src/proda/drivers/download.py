"""Downloads that resume after an interruption, and are kept only if they are complete.

Pooch manages the local copies and their checksums. Our downloader adds what pooch lacks: resuming
(HTTP Range), a check of the size, and messages with the remedy.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3

from proda.drivers.catalogue import RemoteFile
from proda.errors import DownloadError
from proda.files import reading

OnBytes = Callable[[int, int | None], None]
"""Called with (bytes so far, total bytes if the server or the table states them)."""

BLOCK = 1 << 16
ATTEMPTS = 4
"""Consecutive attempts without data; an unstable connection may continue as long as data arrive."""
BOMB_BYTES, BOMB_RATIO = 2_000_000_000, 200
"""An archive that becomes larger than this, and by such a factor, is refused."""
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in range(1, 10))}
TIMEOUT_S = 30.0
"""Limit for connecting, and between two parts of a response."""


_DIGITS = re.compile(r"^[0-9]{1,18}$")


class _BrokenError(Exception):
    """The connection was lost or the server failed temporarily; another attempt may succeed."""


def get_file(
    remote: RemoteFile,
    folder: str | os.PathLike[str],
    on_bytes: OnBytes | None = None,
    pause_s: float = 2.0,
) -> Path:
    """Download one file into `folder`, unless a complete copy exists.

    An interrupted download leaves `.NAME.part`; the next call resumes it if the server supports
    ranges and still has the same file. Size and SHA-256 are checked if the table has them; the size
    that the server states is always checked.

    Parameters
    ----------
    remote
        From the catalogue.
    folder
        Must exist.
    on_bytes
        Progress.
    pause_s
        Pause before the second attempt; doubles with each.

    Raises
    ------
    DownloadError
        With the cause (offline, refused, incomplete, wrong size or checksum) and the remedy.
    """
    target = Path(folder) / remote.name
    if not target.parent.is_dir():
        raise DownloadError(f"The folder {target.parent} does not exist; create it first.")
    if target.is_file():
        _check_existing(target, remote)

    def download(url: str, output_file: str, _: Any) -> None:
        part = _download_part(remote.model_copy(update={"url": url}), target, on_bytes, pause_s)
        part.replace(output_file)  # Pooch checks it there and moves it into place

    try:
        pooch.get_logger().setLevel("WARNING")  # it would suggest to put the hash into code
        pooch.retrieve(
            remote.url,
            known_hash=f"sha256:{remote.sha256.lower()}" if remote.sha256 else None,
            fname=remote.name,
            path=target.parent,
            downloader=download,
        )
    except DownloadError:
        raise
    except ValueError as error:  # Pooch's word for a wrong hash
        raise DownloadError(
            f"{remote.url}: checksum mismatch: the SHA-256 of the downloaded file is not "
            f"{remote.sha256}. The file was deleted. Either the download was damaged (try again) "
            "or the server has a new version."
        ) from error
    except OSError as error:
        raise DownloadError(f"{target} could not be written ({error}).") from error
    return target


def _check_existing(target: Path, remote: RemoteFile) -> None:
    """Refuse a file that is not a complete copy."""
    if target.stat().st_size == 0:
        raise DownloadError(f"{target} already exists, but is empty. Move it to download it again.")
    if remote.size is not None and target.stat().st_size != remote.size:
        raise DownloadError(
            f"{target} already exists, with {target.stat().st_size:,} bytes instead of "
            f"{remote.size:,}. Move it to download it again."
        )
    if remote.sha256 is not None and not _matches(target, remote.sha256):
        raise DownloadError(
            f"{target} already exists, but its SHA-256 checksum is not the expected one. Move it "
            "to download it again."
        )


def _matches(path: Path, sha256: str) -> bool:
    return str(pooch.file_hash(str(path), alg="sha256")) == sha256.lower()


def _download_part(
    remote: RemoteFile, target: Path, on_bytes: OnBytes | None, pause_s: float
) -> Path:
    """Fill `.NAME.part` until it is complete; try again after temporary failures."""
    part = target.with_name(f".{target.name}.part")
    failures = kept = 0
    while True:
        try:
            _fetch(remote, part, on_bytes)
            return part
        except _BrokenError as error:
            before, kept = kept, part.stat().st_size if part.is_file() else 0
            failures = 1 if kept > before else failures + 1
            if failures >= ATTEMPTS:
                raise DownloadError(
                    f"{remote.url}: {error}, {failures} times in a row. {kept:,} bytes are kept; "
                    "repeat the command to resume, if the server supports it."
                ) from error
        time.sleep(pause_s * 2 ** (failures - 1))


def _fetch(remote: RemoteFile, part: Path, on_bytes: OnBytes | None) -> None:
    """Send one request, for all or for the rest; raise `_BrokenError` after a temporary failure."""
    have, tag = _resumable(remote, part)
    headers = {"Accept-Encoding": "identity"}  # a compressed answer has no usable length
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    try:
        with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            start, total = _understand(response, remote, have, part)
            tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            _tag_file(part).write_text("" if tag.startswith("W/") else tag, "utf-8")
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                for piece in response.iter_content(BLOCK):
                    file.write(piece)
                    if on_bytes is not None:
                        on_bytes(file.tell(), total)
    except requests.exceptions.SSLError as error:
        raise DownloadError(f"{remote.url}: no secure connection ({error}).") from error
    except requests.exceptions.ConnectionError as error:
        if not _unreachable(error):
            raise _BrokenError("the connection was lost") from error
        raise DownloadError(
            f"{remote.url}: the server cannot be reached. This machine may be offline, or a "
            "firewall or proxy may block it. Download the file elsewhere, or set HTTPS_PROXY."
        ) from error
    except requests.exceptions.Timeout as error:
        raise _BrokenError("the server stopped responding") from error
    except requests.exceptions.ChunkedEncodingError as error:  # also: fewer bytes than announced
        raise _BrokenError("the response was incomplete") from error
    except requests.exceptions.RequestException as error:
        raise DownloadError(f"{remote.url}: {error}.") from error
    size = part.stat().st_size
    if total is not None and size < total:
        raise _BrokenError(f"the response was incomplete ({size:,} of {total:,} bytes)")
    _check_size(remote, part, size, total)
    _tag_file(part).unlink(missing_ok=True)


def _unreachable(error: requests.exceptions.ConnectionError) -> bool:
    """Whether no connection was established, rather than one that was lost."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    never = (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)
    return isinstance(error, never) or isinstance(reason, urllib3.exceptions.NewConnectionError)


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _resumable(remote: RemoteFile, part: Path) -> tuple[int, str]:
    """Bytes to resume from, and the server's tag of that version of the file.

    Without a tag or a checksum a changed file on the server could not be detected, so the download
    starts again.
    """
    if not part.is_file():
        return 0, ""
    tag_file = _tag_file(part)
    tag = tag_file.read_text("utf-8").strip() if tag_file.is_file() else ""
    if not tag and remote.sha256 is None:
        return 0, ""
    have = part.stat().st_size
    if remote.size is not None and have >= remote.size:
        return 0, ""
    return have, tag


def _understand(
    response: requests.Response, remote: RemoteFile, have: int, part: Path
) -> tuple[int, int | None]:
    """Return the start of the response in the file and the file's length; refuse wrong ones."""
    status = response.status_code
    if status == 416:  # nothing after what we have: it is not the file that we began
        part.unlink(missing_ok=True)
        raise _BrokenError("the server does not have this range; restarting")
    if status in (429, 500, 502, 503, 504):
        raise _BrokenError(f"the server responded {status} {response.reason}")
    if status not in (200, 206):
        raise DownloadError(
            f"{remote.url}: the server responded {status} {response.reason}. "
            + (
                "The file does not exist (any more); see the data set's home page. "
                if status in (404, 410)
                else ""
            )
            + "Nothing was kept."
        )
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not remote.name.endswith((".html", ".htm")):
        raise DownloadError(
            f"{remote.url}: the server sent a web page instead of {remote.name} (such as a login "
            "or notice); open the address in a browser."
        )
    length = response.headers.get("Content-Length")
    if status == 200:
        return 0, int(length) if length and _DIGITS.match(length) else remote.size
    span = response.headers.get("Content-Range", "")
    first, _, total = span.removeprefix("bytes ").partition("/")
    if first.partition("-")[0] != str(have):
        part.unlink(missing_ok=True)
        raise _BrokenError(
            f"the server sent a different range from the one requested ({span or 'none named'})"
        )
    return have, int(total) if _DIGITS.match(total) else remote.size


def _check_size(remote: RemoteFile, part: Path, size: int, total: int | None) -> None:
    if size == 0:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise DownloadError(f"{remote.url}: the server sent an empty file, which was deleted.")
    expected, by = (remote.size, "the table") if remote.size else (total, "the server")
    if expected is not None and size != expected:
        part.unlink()
        _tag_file(part).unlink(missing_ok=True)
        raise DownloadError(
            f"{remote.url}: received {size:,} bytes, but {by} states {expected:,}; the file was "
            "deleted. The server may have a new version: see the data set's home page."
        )


def unpack(archive: Path) -> list[Path]:
    """Unpack a zip archive into a folder beside it, named after it; completely or not at all.

    If the whole archive lies in one folder of that name, the name is not repeated in the paths.

    Raises
    ------
    DownloadError
        Naming the archive and the member, if it is damaged, encrypted, packed by an unknown method,
        would leave the folder or fill the disk; or if the folder exists.
    """
    folder = archive.with_suffix("")
    if archive.suffix.lower() != ".zip":
        raise DownloadError(f"{archive} is not a zip archive.")
    if os.path.lexists(folder):
        raise DownloadError(f"{folder} already exists; move it to unpack again.")
    temporary = archive.with_name(f".{folder.name}.{os.getpid()}.part")
    advice = "Delete it and download it again."
    try:
        with reading(archive, "zip archive", DownloadError, advice):
            content = zipfile.ZipFile(archive)
        with content:
            _check_members(archive, content.infolist())
            for member in content.infolist():
                _extract(content, member, temporary, archive)
        only = temporary / folder.name
        whole = only if only.is_dir() and [*temporary.iterdir()] == [only] else temporary
        if os.path.lexists(folder):  # a folder that is empty would be replaced
            raise DownloadError(f"{folder} was created in the meantime; move it to unpack again.")
        whole.rename(folder)
    except OSError as error:
        raise DownloadError(f"{folder} could not be written ({error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _extract(
    content: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, archive: Path
) -> None:
    """Unpack one member and check its CRC; errors of the disk are passed on unchanged."""
    what = f"{archive}, member {member.filename}"
    advice = "Delete the archive and download it again."
    refused: OSError | None = None
    with reading(what, "member of a zip archive", DownloadError, advice):
        try:
            content.extract(member, folder)
        except OSError as error:
            refused = error
    if refused is not None:
        raise refused


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse, before anything is written, members that no archive of data has."""
    if not any(not m.is_dir() for m in members):
        raise DownloadError(f"{archive}: contains no file.")
    seen: dict[str, str] = {}
    for member in members:
        name = member.filename
        if why := _odd_name(name) or _odd_kind(member):
            raise DownloadError(
                f"{archive}: the member {ascii(name)[1:-1]} {why}; nothing was unpacked."
            )
        path = name.rstrip("/").casefold()
        if path in seen and not (member.is_dir() and seen[path].endswith("/")):
            raise DownloadError(
                f"{archive}: the member {name} appears twice; nothing was unpacked."
            )
        seen[path] = name
    for path, name in seen.items():
        parts = path.split("/")
        for i in range(1, len(parts)):
            above = seen.get("/".join(parts[:i]), "/")
            if not above.endswith("/"):
                raise DownloadError(
                    f"{archive}: the member {name} lies below {above}, which is a "
                    "file; nothing was unpacked."
                )
    size, packed = sum(m.file_size for m in members), archive.stat().st_size
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        raise DownloadError(
            f"{archive}: unpacked it needs {size / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free "
            "on the disk; nothing was unpacked."
        )
    if size > BOMB_BYTES and size > BOMB_RATIO * packed:
        raise DownloadError(
            f"{archive}: its {packed:,} bytes would become {size:,}, which is not "
            "plausible. Nothing was unpacked; if you trust it, unpack it with another program."
        )


def _odd_name(name: str) -> str:
    """Describe the fault of the name of a member; "" if it has none."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in parts:
        return "would leave the folder (..)"
    if not name.isprintable() or "\\" in name:
        return "has a name with control characters or backslashes"
    # Windows takes CON.txt for the device too; elsewhere it is a file like any other.
    stems = {(p.split(".")[0].rstrip(" ") if os.name == "nt" else p).upper() for p in parts}
    if odd := stems & _DEVICES:
        return f"has the name of a device ({min(odd)})"
    return ""


def _odd_kind(member: zipfile.ZipInfo) -> str:
    """Describe the fault of the kind of a member; "" if it is a plain file or a folder."""
    mode = stat.S_IFMT(member.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "is a symbolic link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a regular file"
    if member.flag_bits & 1:
        return "is encrypted"
    return ""
