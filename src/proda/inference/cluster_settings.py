"""Which cluster: a small TOML file, checked, and the client that it leads to.

[local]                     # this machine
workers = 4                 # or gpus = "all", gpus = [0, 1]: one process each

[scheduler]                 # a Dask scheduler that is running already
address = "tcp://10.0.0.5:8786"

[jobqueue]                  # jobs of a batch system, by dask-jobqueue
system = "slurm"
jobs = 20                   # or minimum_jobs = 1, maximum_jobs = 50
memory = "4GB"              # this and all else: arguments of dask_jobqueue's cluster
walltime = "08:00:00"
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import distributed
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proda import faults
from proda.errors import AssimilationError
from proda.files import read_toml
from proda.inference.runner import ONE_THREAD
from proda.machine import cores

SYSTEMS = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}


class Local(BaseModel):
    """Worker processes on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int | None = Field(None, ge=1)
    """Processes on the CPU; by default as many as there are processors."""
    gpus: Literal["all"] | tuple[int | str, ...] | None = None
    """GPUs, by number or identifier; one process each."""

    @model_validator(mode="after")
    def _one_kind(self) -> Local:
        if self.gpus is not None and self.workers is not None:
            raise ValueError("give workers or gpus, not both; there is one process per GPU")
        if self.gpus == ():
            raise ValueError("gpus is empty; name at least one")
        return self


class Scheduler(BaseModel):
    """A scheduler that runs already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=r"^[a-z]+://.+$")


class JobQueue(BaseModel):
    """Jobs of a batch system; what is not named here goes to dask_jobqueue as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    system: Literal["htcondor", "lsf", "moab", "oar", "pbs", "sge", "slurm"]
    processes: int = Field(1, ge=1)
    """Worker processes of a job, of one thread each."""
    cores: int | None = None
    jobs: int | None = Field(None, ge=1)
    minimum_jobs: int | None = Field(None, ge=0)
    maximum_jobs: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> JobQueue:
        if self.cores not in (None, self.processes):
            raise ValueError(
                f"cores = {self.cores}, processes = {self.processes}: a worker process has one "
                "thread; make them equal, or leave cores out"
            )
        bounds = (self.minimum_jobs, self.maximum_jobs)
        if (self.jobs is None) == (self.maximum_jobs is None):
            raise ValueError("give either jobs, or maximum_jobs (and minimum_jobs)")
        if self.jobs is not None and bounds != (None, None):
            raise ValueError("give either jobs, or minimum_jobs and maximum_jobs")
        if self.maximum_jobs is not None and (self.minimum_jobs or 0) > self.maximum_jobs:
            raise ValueError(f"minimum_jobs, maximum_jobs = {bounds}: the first is the larger")
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of dask_jobqueue's cluster."""
        given = dict(self.model_extra or {})
        prologue = [*given.pop("job_script_prologue", []),
                    f'export XLA_FLAGS="$XLA_FLAGS {ONE_THREAD}"']  # fmt: skip
        return given | {
            "processes": self.processes,
            "cores": self.processes,
            "job_script_prologue": prologue,
        }


class ClusterSettings(BaseModel):
    """Exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    local: Local | None = None
    scheduler: Scheduler | None = None
    jobqueue: JobQueue | None = None

    @model_validator(mode="after")
    def _one(self) -> ClusterSettings:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "expected one of the tables [local], [scheduler] and [jobqueue]; "
                f"found {', '.join(given) or 'none'}"
            )
        return self


def read_cluster(path: str | os.PathLike[str]) -> ClusterSettings:
    """Read the TOML file of a cluster.

    Raises
    ------
    FileError
        If it cannot be read.
    AssimilationError
        Naming each key that is wrong.
    """
    values = read_toml(path)
    return check_cluster(values, str(path))


def check_cluster(values: dict[str, Any], where: str = "cluster") -> ClusterSettings:
    """Return checked settings of a cluster.

    Raises
    ------
    AssimilationError
        Naming each key that is wrong.
    """
    try:
        return ClusterSettings.model_validate(values)
    except ValidationError as error:
        said = faults.say(error, ClusterSettings)
        raise AssimilationError(f"{where}: {said}.") from error


@contextmanager
def client_from(settings: ClusterSettings) -> Iterator[distributed.Client]:
    """Connect to a cluster, starting it if it is to be started, and close both at the end.

    Raises
    ------
    AssimilationError
        If dask-jobqueue is not installed, an argument of it is wrong, there is no GPU, or no
        scheduler answers.
    """
    with ExitStack() as stack:
        if settings.scheduler is not None:
            target: Any = settings.scheduler.address
        elif settings.local is not None:
            target = stack.enter_context(
                distributed.SpecCluster(
                    workers=worker_specification(settings.local),
                    scheduler={"cls": distributed.Scheduler,
                               "options": {"dashboard": False, "host": "127.0.0.1", "port": 0,
                                           # Any free port: two runs may share a machine.
                                           "dashboard_address": "127.0.0.1:0"}},
                )
            )  # fmt: skip
        else:
            assert settings.jobqueue is not None
            target = stack.enter_context(_job_cluster(settings.jobqueue))
        try:
            client = stack.enter_context(distributed.Client(target, set_as_default=False))
        except (OSError, ValueError) as error:
            raise AssimilationError(
                f"scheduler.address = {target}: no scheduler answers there ({error})."
            ) from error
        yield client


def worker_specification(local: Local) -> dict[str, dict[str, Any]]:
    """Return the workers of this machine, one process and one thread each.

    Each GPU process sees its own GPU only, and fails where that cannot be used, rather than fall
    back to the CPU. The calling process should leave the GPUs alone: JAX takes most of their
    memory when it first uses one (set ``JAX_PLATFORMS=cpu`` for it).
    """
    if local.gpus is not None:
        gpus = found_gpus() if local.gpus == "all" else [str(gpu) for gpu in local.gpus]
        environments = [{"CUDA_VISIBLE_DEVICES": gpu, "JAX_PLATFORMS": "cuda,cpu"} for gpu in gpus]
    else:
        flags = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
        n = local.workers or cores()
        environments = [{"XLA_FLAGS": flags} for _ in range(n)]
    return {
        f"worker-{i}": {
            "cls": distributed.Nanny,
            # Compiled programs' memory cannot be spilled, so limits would only pause workers.
            "options": {"nthreads": 1, "memory_limit": None, "env": environment,
                        "host": "127.0.0.1", "dashboard": False},
        }
        for i, environment in enumerate(environments)
    }  # fmt: skip


def found_gpus() -> list[str]:
    """Return the GPUs of this machine: those in CUDA_VISIBLE_DEVICES, or all.

    Raises
    ------
    AssimilationError
        If there is none.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found = [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    elif (program := shutil.which("nvidia-smi")) is not None:
        # Not by JAX, which would take the GPUs' memory for this process.
        told = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
        n = sum(line.startswith("GPU ") for line in told.stdout.splitlines())
        found = [str(i) for i in range(n)]
    else:
        found = []
    if not found:
        raise AssimilationError(
            'local.gpus = "all": no GPU was found (`nvidia-smi -L` lists none, or '
            "CUDA_VISIBLE_DEVICES is empty). Give workers instead."
        )
    return found


def _job_cluster(settings: JobQueue) -> Any:
    try:
        import dask_jobqueue
    except ModuleNotFoundError as error:
        raise AssimilationError(
            "jobqueue: the package dask-jobqueue is not installed; "
            'install it with `pip install "proda[cluster]"`.'
        ) from error
    try:
        cluster = getattr(dask_jobqueue, SYSTEMS[settings.system])(**settings.arguments())
    except (TypeError, ValueError) as error:
        raise AssimilationError(f"jobqueue: {error} (system {settings.system!r}).") from error
    if settings.jobs is not None:
        cluster.scale(jobs=settings.jobs)
    else:
        cluster.adapt(minimum_jobs=settings.minimum_jobs or 0, maximum_jobs=settings.maximum_jobs)
    return cluster
