"""`proda get` against a server on this machine that gives good, broken, cut and wrong answers."""

import hashlib
import http.server
import threading
import zipfile
from io import BytesIO

import pytest
from typer.testing import CliRunner

from proda.cli import app
from proda.drivers import download
from proda.drivers.catalogue import RemoteFile, catalogue
from proda.errors import DownloadError

CONTENT = bytes(range(256)) * 9000  # 2.3 MB: several blocks
KEPT = len(CONTENT) // 2 // download.BLOCK * download.BLOCK
"""What an answer cut in the middle leaves: whole blocks."""
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What the next answers are to be, and what was asked."""

    def __init__(self):
        self.plan = []
        """Names of behaviours, one per request; when used up, `whole`."""
        self.ranges = []
        self.tag = '"v1"'
        self.content = CONTENT


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        state = self.server.state
        behaviour = state.plan.pop(0) if state.plan else "whole"
        asked = self.headers.get("Range")
        state.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        fresh = self.headers.get("If-Range") in (None, state.tag)
        self.close_connection = True
        if behaviour == "reset":
            return
        if behaviour in ("404", "500", "403"):
            self.send_error(int(behaviour))
            return
        if behaviour == "416":
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"<html>log in</html>" if behaviour == "page" else state.content
        partial = start > 0 and fresh and behaviour != "no-range" and start < len(body)
        self.send_response(206 if partial else 200)
        if partial:
            shift = 7 if behaviour == "other-range" else 0
            span = f"bytes {start + shift}-{len(body) - 1}/{len(body)}"
            self.send_header("Content-Range", span)
            body = body[start:]
        self.send_header("Content-Type", "text/html" if behaviour == "page" else "application/zip")
        if behaviour != "no-tag":
            self.send_header("ETag", state.tag)
        if behaviour != "no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if behaviour in ("cut", "no-tag") else body)


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as instance:
        instance.state = Server()
        thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        instance.state.url = f"http://127.0.0.1:{instance.server_address[1]}/data.zip"
        yield instance.state
        instance.shutdown()
        thread.join()


def get(server, folder, **known):
    remote = RemoteFile(url=server.url, name="data.zip", **known)
    return download.get_file(remote, folder, pause_s=0.0)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("behaviour", ["whole", "no-length"])
def test_a_whole_file(server, tmp_path, behaviour):
    server.plan = [behaviour]
    path = get(server, tmp_path, size=len(CONTENT), sha256=SHA)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["data.zip"]


def test_progress_ends_at_all(server, tmp_path):
    seen = []
    remote = RemoteFile(url=server.url, name="data.zip")
    download.get_file(remote, tmp_path, lambda n, total: seen.append((n, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    get(server, tmp_path, sha256=SHA)
    get(server, tmp_path, sha256=SHA)
    assert len(server.ranges) == 1


def test_a_cut_answer_is_gone_on_with(server, tmp_path):
    server.plan = ["cut", "cut"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={KEPT}-", f"bytes={KEPT + 9 * download.BLOCK}-"]


def test_a_line_that_breaks_often_but_brings_something_goes_on(server, tmp_path):
    server.plan = ["cut"] * (download.ATTEMPTS + 1)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_going_on_in_a_later_call(server, tmp_path):
    server.plan = ["cut"] + ["500"] * download.ATTEMPTS
    with pytest.raises(DownloadError, match=rf"responded 500 .* {KEPT:,} bytes are kept"):
        get(server, tmp_path)
    assert names(tmp_path) == [".data.zip.part", ".data.zip.part.etag"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={KEPT}-"
    assert names(tmp_path) == ["data.zip"]


def test_another_version_on_the_server_begins_anew(server, tmp_path):
    server.plan = ["cut"] + ["500"] * download.ATTEMPTS
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    server.tag, server.content = '"v2"', CONTENT[::-1]
    assert get(server, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.plan = ["cut", "no-range"]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_without_tag_or_checksum_nothing_is_stitched(server, tmp_path):
    server.plan = ["no-tag", "no-tag"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None, None]


def test_with_a_checksum_no_tag_is_needed(server, tmp_path):
    server.plan = ["no-tag"]
    assert get(server, tmp_path, sha256=SHA).read_bytes() == CONTENT
    assert server.ranges[1] == f"bytes={KEPT}-"


@pytest.mark.parametrize("behaviour", ["other-range", "416"])
def test_a_wrong_range_begins_anew(server, tmp_path, behaviour):
    server.plan = ["cut", behaviour]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_is_tried_again(server, tmp_path):
    server.plan = ["reset", "500"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    server.plan = ["reset"] * download.ATTEMPTS
    (tmp_path / "data.zip").unlink()
    with pytest.raises(DownloadError, match=f"connection was lost, {download.ATTEMPTS} times"):
        get(server, tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("404", "responded 404 Not Found.*does not exist"),
        ("403", "responded 403 Forbidden"),
        ("page", r"sent a web page instead of data\.zip"),
    ],
)
def test_refusals_are_not_tried_again_and_leave_nothing(server, tmp_path, behaviour, message):
    server.plan = [behaviour]
    with pytest.raises(DownloadError, match=message):
        get(server, tmp_path)
    assert len(server.ranges) == 1
    assert names(tmp_path) == []


def test_a_wrong_size_is_thrown_away(server, tmp_path):
    with pytest.raises(
        DownloadError, match="received 2,304,000 bytes, but the table states 2,304,001"
    ):
        get(server, tmp_path, size=len(CONTENT) + 1)
    assert names(tmp_path) == []


def test_a_wrong_checksum_is_thrown_away(server, tmp_path):
    with pytest.raises(DownloadError, match=r"checksum mismatch.* 000000"):
        get(server, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_wrong_file_that_is_there_is_not_overwritten(server, tmp_path):
    (tmp_path / "data.zip").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="4 bytes instead of 2,304,000"):
        get(server, tmp_path, size=len(CONTENT))
    with pytest.raises(DownloadError, match="its SHA-256 checksum is not the expected one"):
        get(server, tmp_path, sha256=SHA)
    assert (tmp_path / "data.zip").read_bytes() == b"mine"


def test_offline_is_said_plainly(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_address[1]
    remote = RemoteFile(url=f"http://127.0.0.1:{port}/x.zip", name="x.zip")
    with pytest.raises(DownloadError, match="may be offline"):
        download.get_file(remote, tmp_path)
    nowhere = RemoteFile(url="http://no-such-host.invalid/x.zip", name="x.zip")
    with pytest.raises(DownloadError, match="may be offline"):
        download.get_file(nowhere, tmp_path)
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(server, tmp_path):
    with pytest.raises(DownloadError, match="nowhere does not exist"):
        get(server, tmp_path / "nowhere")


def test_unpack(tmp_path):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/table.tsv", "x\ty\n" * 1000)
    (tmp_path / "good.zip").write_bytes(buffer.getvalue())
    assert [p.name for p in download.unpack(tmp_path / "good.zip")] == ["table.tsv"]
    with pytest.raises(DownloadError, match="good already exists"):
        download.unpack(tmp_path / "good.zip")


def test_a_folder_named_like_its_archive_does_not_come_twice(tmp_path):
    """So that the path of the tables is the same whichever way the archive was made."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("set/table.tsv", "x\n")
        archive.writestr("set/more/table.tsv", "x\n")
    found = download.unpack(tmp_path / "set.zip")
    assert found == [tmp_path / "set" / "more" / "table.tsv", tmp_path / "set" / "table.tsv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "set.zip"]


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, damage):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("table.tsv", "x\ty\n" * 1000)
    content = bytearray(buffer.getvalue())
    if damage == "cut":
        content = content[:-50]
    else:
        content[500] ^= 255
    (tmp_path / "bad.zip").write_bytes(bytes(content))
    with pytest.raises(DownloadError, match=r"bad\.zip(, member table\.tsv)?: not a readable"):
        download.unpack(tmp_path / "bad.zip")
    assert names(tmp_path) == ["bad.zip"]


def test_the_catalogue_of_the_package_is_sound():
    sources = catalogue()
    assert {"wosis-2019-september", "wosis-2023-december"} <= set(sources)
    for source in sources.values():
        assert source.licence
        assert source.citation
    wosis = sources["wosis-2023-december"].files[0]
    assert wosis.url == "https://files.isric.org/public/wosis_snapshot/WoSIS_2023_December.zip"
    assert wosis.sha256 is None  # not confirmed, so not stated


def test_the_command_downloads_unpacks_and_shows_the_terms(server, tmp_path):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.tsv", "x\n")
    server.content, server.plan = buffer.getvalue(), ["cut"]
    (tmp_path / "own.toml").write_text(
        OWN.replace("https://example.org/a.csv", server.url)
        .replace('"a.csv"', '"a.zip"')
        .replace("size = 12", f"size = {len(server.content)}")
    )
    own = ["--catalogue", str(tmp_path / "own.toml"), "--folder", str(tmp_path / "new")]
    result = CliRunner().invoke(app, ["get", "mine", *own, "--unpack"])
    assert result.exit_code == 0, result.exception
    assert "CC0" in result.stdout
    assert (tmp_path / "new" / "a" / "a.tsv").read_text() == "x\n"


OWN = """
[mine]
title = "Mine"
licence = "CC0"
citation = "Me"
[[mine.files]]
url = "https://example.org/a.csv"
name = "a.csv"
size = 12
"""


def test_users_add_their_own_table(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(OWN)
    assert catalogue([tmp_path / "own.toml"])["mine"].files[0].size == 12
    assert "mine" not in catalogue()
    monkeypatch.setenv("PRODA_CATALOGUE", str(tmp_path / "own.toml"))
    assert "mine" in catalogue()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "CC0"\n', "", r"\[mine\] is not understood: licence is missing"),
        ("https://", "ftp://", r"files\.0\.url"),
        ('"a.csv"', '"../a.csv"', r"files\.0\.name"),
        ("size = 12", "size = 12\nsha256 = 'abc'", r"files\.0\.sha256"),
        ("[mine]", "[mine", "cannot be read as settings .*line 2"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, old, new, message):
    (tmp_path / "own.toml").write_text(OWN.replace(old, new, 1))
    with pytest.raises(DownloadError, match=message):
        catalogue([tmp_path / "own.toml"])


def test_an_absent_table_is_named(tmp_path):
    with pytest.raises(DownloadError, match="catalogue cannot be read"):
        catalogue([tmp_path / "no.toml"])


def archive(path, *members, encrypted=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for member, text in members:
            content.writestr(member, text)
    if encrypted:
        data = bytearray(path.read_bytes())
        for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.find(mark) + place] |= 1
        path.write_bytes(bytes(data))
    return path


def _link():
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    return link


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "what"),
    [
        ([("/etc/x", "1")], "member /etc/x has an absolute path"),
        ([("C:/x", "1")], "absolute path"),
        ([("a/../../x", "1")], "would leave the folder"),
        ([("NUL", "1")], "name of a device"),
        ([(_link(), "/etc/passwd")], "member link is a symbolic link"),
        ([("a.txt", "1"), ("a.txt", "2")], "member a.txt appears twice"),
        ([("a.txt", "1"), ("A.TXT", "2")], "appears twice"),
        ([("a", "1"), ("a/b", "2")], "lies below a, which is a file"),
        ([], "contains no file"),
    ],
)
def test_odd_members_are_refused_and_nothing_is_left(tmp_path, members, what):
    with pytest.raises(DownloadError, match=rf"odd\.zip: .*{what}|odd\.zip: {what}"):
        download.unpack(archive(tmp_path / "odd.zip", *members))
    assert names(tmp_path) == ["odd.zip"]


def test_encrypted_members_and_bombs_are_refused(tmp_path, monkeypatch):
    locked = archive(tmp_path / "locked.zip", ("x.txt", "secret"), encrypted=True)
    with pytest.raises(DownloadError, match=r"locked\.zip: the member x\.txt is encrypted"):
        download.unpack(locked)
    monkeypatch.setattr(download, "BOMB_BYTES", 100_000)
    bomb = archive(tmp_path / "bomb.zip", ("x.txt", "0" * 1_000_000))
    with pytest.raises(DownloadError, match="would become 1,000,000"):
        download.unpack(bomb)
    assert names(tmp_path) == ["bomb.zip", "locked.zip"]


def test_a_usual_archive_with_folders_is_unpacked_and_never_over_another(tmp_path):
    good = archive(tmp_path / "good.zip", ("data/", ""), ("data/a.csv", "1"), ("b.csv", "2"))
    assert [p.name for p in download.unpack(good)] == ["b.csv", "a.csv"]
    with pytest.raises(DownloadError, match="good already exists"):
        download.unpack(good)
