"""Which stages of a study are done, and why: with stages that copy small files."""

from __future__ import annotations

import platform

import psutil
import pytest
from filelock import FileLock

from proda.blocks.executor import Control, Stopped
from proda.cli.run import beginning
from proda.errors import StudyError
from proda.study import pipeline
from proda.study.pipeline import open_study, plan_study, run_study
from proda.study.record import read_record
from proda.study.settings import parse
from proda.study.stage import Reporter, Stage
from proda.study.watch import release_freed_memory


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A study of three stages: a -> m/b -> c, each adding its setting to the text before it."""
    (tmp_path / "given.txt").write_text("given")
    (tmp_path / "out").mkdir()
    given = {"a": 1, "b": 1, "fail": ""}
    done = []

    def stages(folder):
        def stage(name, needs, source, **more):
            kind = name.rpartition("/")[2]
            target = folder.path / f"{kind}.txt"

            def run(context):
                done.append(name)
                context.reporter.progress(1, 2, "steps")
                if given["fail"] == kind:
                    target.write_text("half")
                    raise KeyboardInterrupt
                before = target.read_text() if target.is_file() else ""
                target.write_text(f"{source.read_text()} {kind}{given.get(kind, '')}")
                return f"after {before!r}"

            reads = (source,) if not needs else ()
            settings = {"value": given[kind]} if kind in given else {}
            return Stage(name, needs, settings, reads, (target,), run, **more)

        path = folder.path
        return [
            stage("a", (), tmp_path / "given.txt"),
            stage("m/b", ("a",), path / "a.txt", resumable=True),
            stage("c", ("m/b",), path / "b.txt"),
        ]

    monkeypatch.setattr(pipeline, "stages_of", stages)
    for name in ("layers", "profiles"):
        (tmp_path / f"{name}.parquet").touch()
    settings = parse(
        {
            "study": {"name": "trial"},
            "profiles": {"source": [{"reader": "tidy", "name": "x", "folder": "."}]},
            "forcing": {"climate": "climate.nc"},
            "covariates": {"grid": "covariates.nc"},
        },
        "test",
        tmp_path,
    )

    class World:
        folder = tmp_path / "out"
        source = tmp_path / "given.txt"

        def run(self, **asked):
            done.clear()
            record = run_study(settings, self.folder, **asked)
            return list(done), record

        def why(self, **asked):
            return {s.stage.name: s.why for s in plan_study(settings, self.folder, **asked)[0]}

        def steps(self):
            return plan_study(settings, self.folder)[0]

        def result(self):
            return (self.folder / "c.txt").read_text()

    world = World()
    world.given = given
    return world


def test_nothing_is_done_twice(world):
    done, record = world.run()
    assert done == ["a", "m/b", "c"]
    assert world.result() == "given a1 b1 c"
    assert all(s.status == "done" and s.disk_bytes > 0 for s in record.stages.values())
    assert world.run()[0] == []
    assert set(world.why().values()) == {""}


def test_a_setting_redoes_its_stage_and_what_builds_on_it(world):
    world.run()
    world.given["b"] = 2
    assert world.why() == {"a": "", "m/b": "changed: setting value", "c": "changed: stage m/b"}
    assert world.run()[0] == ["m/b", "c"]
    assert world.result() == "given a1 b2 c"


def test_a_file_redoes_its_stage(world):
    world.run()
    world.source.write_text("other")
    assert world.why()["a"] == f"changed: file {world.source}"
    world.run()
    assert world.result() == "other a1 b1 c"


def test_a_file_that_is_only_touched_redoes_nothing(world):
    world.run()
    world.source.write_text("given")
    assert world.run()[0] == []


@pytest.mark.parametrize("change", ["missing", "changed"])
def test_a_result_that_is_not_what_was_written_is_done_again(world, change):
    world.run()
    path = world.folder / "b.txt"
    path.unlink() if change == "missing" else path.write_text("tampered with")
    assert change in world.why()["m/b"]
    world.run()
    assert world.result() == "given a1 b1 c"


def test_another_version_redoes_all(world, monkeypatch):
    world.run()
    monkeypatch.setattr("proda.study.plan.version", lambda _: "99")
    assert world.why()["a"] == "changed: proda"
    assert world.run()[0] == ["a", "m/b", "c"]


@pytest.mark.parametrize("kind", ["a", "b", "c"])
def test_interrupted_anywhere_it_ends_in_the_same(world, kind):
    world.given["fail"] = kind
    with pytest.raises(KeyboardInterrupt):
        world.run()
    record = read_record(world.folder)
    name = {"a": "a", "b": "m/b", "c": "c"}[kind]
    assert record.stages[name].status == "begun"
    world.given["fail"] = ""
    done, record = world.run()
    assert done == {"a": ["a", "m/b", "c"], "b": ["m/b", "c"], "c": ["c"]}[kind]
    assert world.result() == "given a1 b1 c"
    # Only the stage that can go on was left what it had.
    assert record.stages[name].note == ("after 'half'" if kind == "b" else "after ''")


def test_what_was_begun_with_other_settings_is_not_gone_on_with(world):
    world.given["fail"] = "b"
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.given |= {"fail": "", "b": 5}
    _, record = world.run()
    assert record.stages["m/b"].note == "after ''"
    assert world.result() == "given a1 b5 c"


def test_only_and_from(world):
    world.run()
    assert world.run(only="c")[0] == ["c"]
    assert world.run(start="b")[0] == ["m/b", "c"]
    assert world.run(start="m/b")[0] == ["m/b", "c"]
    assert world.why(only="b") == {"a": "", "m/b": "requested", "c": ""}
    world.given["a"] = 2
    with pytest.raises(StudyError, match="m/b needs a, to be done first"):
        world.run(only="b")
    with pytest.raises(StudyError, match="Unknown stage 'maps'; choose one of a, b, c"):
        world.run(only="maps")


def test_until_ends_early_and_is_gone_on_with(world):
    assert world.run(until="b")[0] == ["a", "m/b"]
    assert world.why(until="a") == {"a": ""}
    assert world.run()[0] == ["c"]
    assert world.run(start="a", until="m/b")[0] == ["a", "m/b"]
    with pytest.raises(StudyError, match="Unknown stage 'maps'; choose one of a, b, c"):
        world.run(until="maps")
    with pytest.raises(StudyError, match="c comes after a"):
        world.run(start="c", until="a")


def test_only_leaves_what_builds_on_it_to_the_next_run(world):
    world.run()
    world.given["b"] = 2
    assert world.run(only="b")[0] == ["m/b"]
    assert world.run()[0] == ["c"]
    assert world.result() == "given a1 b2 c"


def test_stops_between_stages(world):
    control = Control()
    seen = []

    def told(*_):
        seen.append(1)
        control.stop.set()

    with pytest.raises(Stopped):
        world.run(control=control, reporter=Reporter(told))
    assert world.run()[0] == ["m/b", "c"]


def test_refuses_other_folders(world):
    (world.folder / "thesis.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"contains thesis.txt but no study.json"):
        world.run()
    assert (world.folder / "thesis.txt").read_text() == "mine"


def test_refuses_a_record_that_it_did_not_write(world):
    world.run()
    (world.folder / "study.json").write_text('{"format": 1, "stages": {"a": {}}}')
    with pytest.raises(StudyError, match="not written by this version"):
        world.run()


def test_two_at_once(world):
    world.run()
    with (
        FileLock(world.folder / ".lock"),
        pytest.raises(StudyError, match="another process is working on this study"),
    ):
        world.run(only="c")


def test_absent_input(world):
    world.source.unlink()
    with pytest.raises(StudyError, match=r"given.txt: there is no such file"):
        world.run()


# A kill or a full disk between the first two writes left a folder that was refused for good.
@pytest.mark.parametrize(
    "left", ["study.toml", ".study.toml.host.1.part", ".study.json.host.1.part"]
)
def test_a_study_stopped_in_its_first_moment_starts(world, left):
    world.run()
    text = (world.folder / "study.toml").read_text()
    for path in list(world.folder.iterdir()):
        path.unlink()
    (world.folder / left).write_text(text if left == "study.toml" else text[:40])
    if left == "study.toml":
        assert open_study(world.folder).study.name == "trial"
    else:
        with pytest.raises(StudyError, match=r"start it again: proda run STUDY\.toml"):
            open_study(world.folder)
    assert world.run()[0] == ["a", "m/b", "c"]
    assert not list(world.folder.glob("*.part"))
    assert not list(world.folder.glob(".*.part"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("study.toml", "[study]\nname = 'my own'\n"), ("thesis.txt", "x"), (".notes.part", "x")],
)
def test_what_is_not_ours_is_left_alone(world, name, text):
    (world.folder / name).write_text(text)
    with pytest.raises(StudyError, match=f"contains {name} but no study"):
        world.run()
    assert (world.folder / name).read_text() == text


def test_what_begins_is_said(world):
    steps = {s.stage.name: beginning(s) for s in world.steps()}
    assert steps["m/b"] == "m/b: started"
    world.run()
    world.given["b"] = 2
    assert {s.stage.name: beginning(s) for s in world.steps()}["m/b"].endswith(
        "(changed: setting value)"
    )


def test_the_peak_of_a_stage_is_its_own():
    """Freed memory goes back to the system, so that later stages do not seem to need it."""
    process, size = psutil.Process(), 64 * 1024  # below what the C library maps on its own
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can be asked to return memory")
    many = [bytearray(size) for _ in range(4096)]
    last = bytearray(size)  # keeps the heap from shrinking by itself
    full = process.memory_info().rss
    del many
    release_freed_memory()
    assert full - process.memory_info().rss > 2048 * size
    assert last
