"""The file that says which cluster, and the workers that it leads to."""

from __future__ import annotations

import importlib.util
import os
import shutil
import ssl
import sys
from typing import ClassVar

import dask
import distributed
import pytest

from proda.blocks.cluster_settings import (
    SYSTEMS,
    Local,
    check_cluster,
    client_from,
    credentials,
    found_gpus,
    read_cluster,
    worker_specification,
)
from proda.blocks.executor import check_threads
from proda.errors import ExecutorError, FileError
from proda.machine import ONE_THREAD, PROCESSORS

EXPORTS = [f'export XLA_FLAGS="$XLA_FLAGS {ONE_THREAD}"', f"export {PROCESSORS}=1"]
JOBS = {"system": "slurm", "memory": "1GB", "jobs": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file: .*expected one of the tables .*found none"),
        ("[local]\n[scheduler]\naddress='tcp://a:1'", "file: .*found local, scheduler"),
        ("[local]\nworkers = 0", r"local\.workers: must be at least 1"),
        ("[local]\nworkrs = 2", r"local\.workrs: unknown setting"),
        ("[local]\nworkers = 1\ngpus = 'all'", "local: .*not both"),
        ("[local]\ngpus = []", "local: .*gpus is empty"),
        ("[cloud]\n", "cloud: unknown setting"),
        ("[scheduler]\n", r"scheduler\.address is missing"),
        ("[scheduler]\naddress = 'somewhere'", r"scheduler\.address: must be an address"),
        ("[jobqueue]\njobs = 1", r"jobqueue\.system is missing"),
        ("[jobqueue]\nsystem = 'slurmm'\njobs = 1", r"jobqueue\.system: .*'slurm'"),
        ("[jobqueue]\nsystem = 'slurm'", "jobqueue: .*give either jobs, or maximum_jobs"),
        ("[jobqueue]\nsystem = 'slurm'\njobs = 1\nminimum_jobs = 1", "jobqueue: .*either"),
        (
            "[jobqueue]\nsystem='slurm'\nminimum_jobs=3\nmaximum_jobs=2",
            "jobqueue: .*first is larger",
        ),
        ("[jobqueue]\nsystem='slurm'\njobs=1\ncores=8", "jobqueue: .*cores = 8, processes = 1"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(ExecutorError, match=rf"cluster\.toml: {message}"):
        read_cluster(tmp_path / "cluster.toml")


@pytest.mark.parametrize("content", [b"[local", b"\xff"])
def test_no_toml(tmp_path, content):
    (tmp_path / "cluster.toml").write_bytes(content)
    with pytest.raises(FileError, match=r"cluster\.toml: cannot be read as settings"):
        read_cluster(tmp_path / "cluster.toml")
    with pytest.raises(FileError, match=r"none\.toml: cannot be read as settings"):
        read_cluster(tmp_path / "none.toml")


def test_cpu_workers(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    workers = worker_specification(Local(workers=3))
    assert len(workers) == 3
    for worker in workers.values():
        assert worker["cls"] is distributed.Nanny
        assert worker["options"]["nthreads"] == 1
        assert worker["options"]["env"] == {
            "XLA_FLAGS": f"--xla_dump_to=x {ONE_THREAD}",
            PROCESSORS: "1",
        }
    assert len(worker_specification(Local())) == len(os.sched_getaffinity(0))


def test_gpu_workers():
    workers = worker_specification(Local(gpus=(0, "GPU-5f", 3)))
    environments = [worker["options"]["env"] for worker in workers.values()]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments] == ["0", "GPU-5f", "3"]
    assert all(e["JAX_PLATFORMS"].startswith("cuda") for e in environments)


def test_all_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 4")
    workers = worker_specification(Local(gpus="all"))
    assert [w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for w in workers.values()] == ["2", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ExecutorError, match="no GPU was found"):
        found_gpus()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho '  MIG 1'\necho 'GPU 1: A'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert found_gpus() == ["0", "1"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ExecutorError, match="no GPU was found"):
        found_gpus()


def test_workers_see_their_environment():
    """Started for real; what they see is asked of them."""
    with client_from(check_cluster({"local": {"gpus": [5, 7]}})) as client:
        client.wait_for_workers(2, 120)
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["5", "7"]
        assert set(client.nthreads().values()) == {1}
        assert len(set(client.run(os.getpid).values())) == 2
        # Nobody else on the machine: only with the credentials, and on the loopback alone.
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(worker.startswith("tls://127.0.0.1:") for worker in client.nthreads())
        for plain in (address, address.replace("tls", "tcp")):
            with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
                with pytest.raises(ExecutorError, match=r"requires credentials|no scheduler"):
                    with client_from(check_cluster({"scheduler": {"address": plain}})):
                        pass
        with pytest.raises(ValueError, match="No clients found"):
            distributed.default_client()


def test_a_scheduler_that_runs_already():
    with distributed.LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1", scheduler_port=0
    ) as cluster:
        settings = check_cluster({"scheduler": {"address": cluster.scheduler_address}})
        with client_from(settings) as client:
            assert client.nthreads() == {}


@pytest.mark.parametrize("made_by", ["openssl", "cryptography"])
def test_credentials(monkeypatch, made_by):
    if made_by == "cryptography":
        pytest.importorskip("cryptography")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        if shutil.which("openssl") is None:
            pytest.skip("no openssl")
    first, second = credentials(), credentials()
    for role in ("client", "scheduler", "worker"):
        assert isinstance(first.get_connection_args(role)["ssl_context"], ssl.SSLContext)
    assert first.require_encryption
    assert first.tls_scheduler_key != second.tls_scheduler_key
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ExecutorError, match="pip install cryptography"):
        credentials()


def test_no_scheduler_there():
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        with pytest.raises(ExecutorError, match=r"scheduler\.address = tcp://127\.0\.0\.1:9"):
            with client_from(check_cluster({"scheduler": {"address": "tcp://127.0.0.1:9"}})):
                pass


def test_threads():
    check_threads({"tcp://a": 1})
    with pytest.raises(ExecutorError, match="Worker tcp://b has 4 threads; expected 1"):
        check_threads({"tcp://a": 1, "tcp://b": 4})


@pytest.mark.filterwarnings("ignore:OAR Job memory")
@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_job_scripts(system):
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    settings = check_cluster(
        {"jobqueue": JOBS | {"system": system, "processes": 2, "disk": "1GB"}}
    ).jobqueue
    kind = getattr(dask_jobqueue, SYSTEMS[system])
    arguments = settings.arguments()
    if system != "htcondor":
        del arguments["disk"]
    script = kind.job_cls("tcp://a:1", name="x", **arguments).job_script()
    assert "--nthreads 1" in script
    assert "--nworkers 2" in script
    assert ONE_THREAD in script


def test_a_prologue_is_kept():
    settings = check_cluster({"jobqueue": JOBS | {"job_script_prologue": ["module load x"]}})
    prologue = settings.jobqueue.arguments()["job_script_prologue"]
    assert prologue == ["module load x", *EXPORTS]
    assert settings.jobqueue.arguments()["memory"] == "1GB"


# Cluster settings of a site, dask/dask-jobqueue: its prologue was dropped, or one letter a line.
@pytest.mark.parametrize("name", ["job-script-prologue", "env-extra"])
def test_the_prologue_of_the_site_stays(name):
    lines = ["module load python/3.11", "source /project/venv/bin/activate"]
    with dask.config.set({f"jobqueue.slurm.{name}": lines}):
        prologue = check_cluster({"jobqueue": JOBS}).jobqueue.arguments()["job_script_prologue"]
        assert prologue == [*lines, *EXPORTS]
        own = check_cluster({"jobqueue": JOBS | {"job_script_prologue": ["module load y"]}})
        assert own.jobqueue.arguments()["job_script_prologue"] == [
            "module load y",
            *EXPORTS,
        ]
    with dask.config.set({f"jobqueue.slurm.{name}": "module load x"}):
        with pytest.raises(ExecutorError, match=r"jobqueue\.yaml.*expected a list of lines"):
            check_cluster({"jobqueue": JOBS}).jobqueue.arguments()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"job_script_prologue": "module load cuda"}, r'write job_script_prologue = \["module lo'),
        ({"job_extra_directives": "-p x"}, "job_extra_directives = '-p x': expected a list"),
        ({"env_extra": ["module load cuda"]}, "env_extra is now called job_script_prologue"),
        ({"project": "abc"}, "project is now called account"),
        ({"dashboard_address": ":1"}, "scheduler_options"),
    ],
)
def test_arguments_that_would_have_no_effect(given, message):
    with pytest.raises(ExecutorError, match=message):
        check_cluster({"jobqueue": JOBS | given})


@pytest.mark.parametrize("encryption", [True, False])
def test_the_scheduler_of_jobs_is_not_open_to_all(monkeypatch, tmp_path, encryption):
    from proda.blocks import cluster_settings

    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", _Recorder)
    monkeypatch.setenv("PRODA_CACHE_DIR", str(tmp_path))
    given = JOBS | {"encryption": encryption, "interface": "lo"}
    cluster_settings._job_cluster(check_cluster({"jobqueue": given}).jobqueue)
    passed = _Recorder.calls[0]
    assert passed["interface"] == "lo"
    assert passed["scheduler_options"] == {"dashboard_address": "127.0.0.1:0"}
    assert ("security" in passed) == encryption
    assert "encryption" not in passed
    if encryption:
        assert passed["security"].require_encryption
        folder = tmp_path / "proda" / "credentials"
        assert passed["shared_temp_directory"] == str(folder)
        assert folder.stat().st_mode & 0o077 == 0


def test_jobqueue_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ExecutorError, match=r"not installed; install it with .*proda\[cluster\]"):
        with client_from(check_cluster({"jobqueue": JOBS})):
            pass


class _Recorder:
    """Takes the place of a batch system, which a test has none of."""

    calls: ClassVar[list] = []

    def __init__(self, **given):
        self.calls[:] = [given]

    def scale(self, jobs):
        self.calls.append(("scale", jobs))

    def adapt(self, minimum_jobs, maximum_jobs):
        self.calls.append(("adapt", minimum_jobs, maximum_jobs))


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"jobs": 3}, ("scale", 3)),
        ({"maximum_jobs": 5}, ("adapt", 0, 5)),
        ({"minimum_jobs": 2, "maximum_jobs": 5}, ("adapt", 2, 5)),
    ],
)
def test_numbers_of_jobs(monkeypatch, bounds, expected):
    from proda.blocks import cluster_settings

    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(dask_jobqueue, "SLURMCluster", _Recorder)
    settings = check_cluster({"jobqueue": {"system": "slurm", "queue": "long"} | bounds}).jobqueue
    cluster_settings._job_cluster(settings)
    given, passed = _Recorder.calls
    assert given["queue"] == "long"
    assert not {"jobs", "minimum_jobs", "maximum_jobs", "system"} & set(given)
    assert passed == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of dask_jobqueue
def test_a_wrong_argument_of_jobqueue():
    pytest.importorskip("dask_jobqueue")
    settings = check_cluster({"jobqueue": JOBS | {"colour": "red"}})
    with pytest.raises(ExecutorError, match=r"jobqueue: .*colour"):
        with client_from(settings):
            pass
