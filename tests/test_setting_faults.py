"""Settings that are wrong are described in plain words, wherever they enter."""

import re

import pytest

from proda.blocks.cluster_settings import check_cluster
from proda.drivers.catalogue import catalogue
from proda.errors import (
    AssimilationError,
    DownloadError,
    ExecutorError,
    FileError,
    ObservationError,
    StudyError,
)
from proda.files import read_toml
from proda.inference.problem import checked_settings
from proda.observations.profile_settings import from_mapping
from proda.study.settings import parse

PARSER = re.compile(
    r"Input should|should have|Field required|Extra inputs|pydantic|Tuple|unable to"
)


def words(kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert not PARSER.search(str(caught.value)), str(caught.value)
    return str(caught.value)


SOURCE = {"reader": "tidy", "name": "a", "folder": "x"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": []}, "source: needs at least 1, has 0"),
        ({}, "source is missing"),
        ({"source": 3}, "source: must be a list in [ ] (it is 3)"),
        ({"source": [SOURCE], "rules": {"min_layer": 2}}, "did you mean min_layers"),
        ({"source": [SOURCE], "rules": {"min_layers": 0}}, "must be at least 1 (it is 0)"),
        ({"source": [SOURCE], "rules": {"min_layers": "two"}}, "must be a whole number"),
        ({"source": [SOURCE], "rules": {"max_soc": float("nan")}}, "must be a finite number"),
        ({"source": [SOURCE], "rules": {"replicates": "mean"}}, "'average' or 'reject'"),
        ({"source": [SOURCE], "rules": {"min_density": 3000}}, "must be below max_density"),
        (
            {"source": [{**SOURCE, "reader": "wosis"}]},
            "source.0: 'reader' is wosis; use one of 'tidy'",
        ),
        ({"source": [{**SOURCE, "name": "a b"}]}, "may contain only letters"),
    ],
)
def test_profiles(settings, message):
    assert message in words(ObservationError, lambda: from_mapping(settings, "test"))


def test_other_settings(tmp_path):
    assert "draws: must be a whole number (it is 'many')" in words(
        AssimilationError, lambda: checked_settings(model="clm5", draws="many")
    )
    assert "cores" in words(
        ExecutorError, lambda: check_cluster({"jobqueue": {"system": "slurm", "cores": []}})
    )
    assert words(StudyError, lambda: parse({"study": {"models": []}}, "study.toml", tmp_path))
    path = tmp_path / "catalogue.toml"
    path.write_text("[mine]\nfiles = 3\n")
    assert "[mine] is not understood" in words(DownloadError, lambda: catalogue([path]))


def test_toml_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "s.toml"
    for content in (b"\xef\xbb\xbfa = 1\r\n", b"a = 1\n"):
        path.write_bytes(content)
        assert read_toml(path) == {"a": 1}
    path.write_text("a = 1", encoding="utf-16")
    with pytest.raises(FileError, match="is UTF-16 text; save it as UTF-8"):
        read_toml(path)
    path.write_bytes("a = 1\nb = 'é'".encode("latin-1"))
    with pytest.raises(FileError, match="byte 0xe9 in line 2 is not UTF-8"):
        read_toml(path)


@pytest.mark.parametrize("value", [r'"C:\data\soil"', r'"C:\Users\me"', r'"C:\temp\new.csv"'])
def test_windows_paths_in_toml(tmp_path, value):
    path = tmp_path / "s.toml"
    path.write_text(f"folder = {value}\n")
    with pytest.raises(FileError, match=r"s.toml.*Windows path in single quotes"):
        read_toml(path)
    path.write_text("folder = " + value.replace('"', "'") + "\n")
    assert read_toml(path)["folder"] == value.strip('"')
    path.write_text('delimiter = "\\t"\ntext = """a: b\nC\n"""\n')
    assert read_toml(path)["delimiter"] == "\t"


def test_toml_nested_too_deeply(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(FileError, match=r"s.toml: nested too deeply to be settings"):
        read_toml(path)
    path.write_text("a = " + "[" * 20 + "]" * 20)
    assert read_toml(path)
