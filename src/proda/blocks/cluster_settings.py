"""The settings of a cluster in a small TOML file, and the client that connects to it.

[local]                     # this machine
workers = 4                 # or gpus = "all", gpus = [0, 1]: one process each

[scheduler]                 # a Dask scheduler that is running already
address = "tcp://10.0.0.5:8786"

[jobqueue]                  # jobs of a batch system, by dask-jobqueue
system = "slurm"
jobs = 20                   # or minimum_jobs = 1, maximum_jobs = 50
memory = "4GB"              # this and all other keys: arguments of dask_jobqueue's cluster
walltime = "08:00:00"
interface = "ib0"           # network interface that scheduler and workers listen on

A scheduler runs any code that a client sends. The clusters that are started here therefore encrypt
all connections and accept only clients with the credentials of this run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import dask
import distributed
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proda import faults
from proda.errors import ExecutorError
from proda.files import read_toml
from proda.machine import (
    ONE_THREAD,
    PROCESSORS,
    cores,
    one_thread_environment,
    private_cache,
)

SYSTEMS = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}


_RENAMED = {
    "env_extra": "job_script_prologue",
    "extra": "worker_extra_args",
    "header_skip": "job_directives_skip",
    "job_extra": "job_extra_directives",
    "project": "account",
}
"""Old names of arguments of dask_jobqueue, which it ignores where the new one is given too."""
_LISTS = ("job_script_prologue", "job_extra_directives", "job_directives_skip", "worker_extra_args")
"""Arguments that are lists of lines; from text, dask_jobqueue would write one letter per line."""


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
            raise ValueError("gpus is empty; give at least one")
        return self


class Scheduler(BaseModel):
    """A scheduler that is running already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(pattern=r"^[a-z]+://.+$")


class JobQueue(BaseModel):
    """Jobs of a batch system; other keys are passed to dask_jobqueue unchanged."""

    model_config = ConfigDict(extra="allow", frozen=True)

    system: Literal["htcondor", "lsf", "moab", "oar", "pbs", "sge", "slurm"]
    processes: int = Field(1, ge=1)
    """Worker processes of a job, of one thread each."""
    cores: int | None = None
    jobs: int | None = Field(None, ge=1)
    minimum_jobs: int | None = Field(None, ge=0)
    maximum_jobs: int | None = Field(None, ge=1)
    interface: str | None = Field(None, min_length=1)
    """Network interface that the scheduler and the workers listen on; by default all."""
    encryption: bool = True
    """TLS with credentials of this run. Without it, anyone who can reach the scheduler can run
    code."""
    job_script_prologue: tuple[str, ...] | None = None
    """Lines of the job script before the worker starts; by default those of the site."""

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for old, new in _RENAMED.items():
            if old in values:
                raise ValueError(f"{old} is now called {new}; rename it")
        for name in _LISTS:
            if isinstance(values.get(name), str):
                raise ValueError(
                    f"{name} = {values[name]!r}: expected a list of lines; "
                    f"write {name} = [{json.dumps(values[name])}]"
                )
        for name in ("host", "dashboard_address"):
            if name in values:
                raise ValueError(f"{name}: give it in the table [jobqueue.scheduler_options]")
        return values

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
            raise ValueError(
                f"minimum_jobs, maximum_jobs = {bounds}: the first is larger than the second"
            )
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of dask_jobqueue's cluster without its credentials.

        Other arguments come from the site's own configuration (dask's jobqueue.yaml), as
        dask_jobqueue reads it; our line is added after its prologue.

        Raises
        ------
        ExecutorError
            If the site's prologue is not a list of lines.
        """
        given = dict(self.model_extra or {})
        given.pop("scheduler_options", None)
        prologue = self.job_script_prologue
        if prologue is None:
            prologue = self._site_prologue()
        if self.interface is not None:
            given["interface"] = self.interface
        one_thread = [f'export XLA_FLAGS="$XLA_FLAGS {ONE_THREAD}"', f"export {PROCESSORS}=1"]
        return given | {
            "processes": self.processes,
            "cores": self.processes,
            "job_script_prologue": [*prologue, *one_thread],
        }

    def scheduler_options(self) -> dict[str, Any]:
        """Return the options of the scheduler, which are not passed to jobs."""
        given = (self.model_extra or {}).get("scheduler_options")
        if given is None:
            given = self.of_site("scheduler-options") or {}
        # The dashboard is not open to others. Any free port is used, because two runs may share a
        # machine.
        return {"dashboard_address": "127.0.0.1:0"} | given

    def of_site(self, name: str) -> Any:
        """Return a value of the site's configuration, or None."""
        return dask.config.get(f"jobqueue.{self.site_section}.{name}", None)

    @property
    def site_section(self) -> str:
        """Name of the site's section in jobqueue.yaml."""
        return str((self.model_extra or {}).get("config_name", self.system))

    def _site_prologue(self) -> tuple[str, ...]:
        where = f"jobqueue.{self.site_section}"
        for name in ("job-script-prologue", "env-extra"):  # the old name, which dask still accepts
            lines = self.of_site(name)
            if isinstance(lines, str) or not isinstance(lines, (list, tuple, type(None))):
                raise ExecutorError(
                    f"{where}.{name} in dask's configuration (jobqueue.yaml) is {lines!r}; "
                    "expected a list of lines."
                )
            if lines:
                return tuple(str(line) for line in lines)
        return ()


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
    ExecutorError
        Naming each key that is wrong.
    """
    values = read_toml(path)
    return check_cluster(values, str(path))


def check_cluster(values: dict[str, Any], where: str = "cluster") -> ClusterSettings:
    """Return checked settings of a cluster.

    Raises
    ------
    ExecutorError
        Naming each key that is wrong.
    """
    try:
        return ClusterSettings.model_validate(values)
    except ValidationError as error:
        message = faults.say(error, ClusterSettings)
        raise ExecutorError(f"{where}: {message}.") from error


@contextmanager
def client_from(settings: ClusterSettings) -> Iterator[distributed.Client]:
    """Connect to a cluster, after starting it if necessary, and close both at the end.

    Raises
    ------
    ExecutorError
        If dask-jobqueue is not installed, an argument of it is wrong, there is no GPU, or no
        scheduler answers.
    """
    with ExitStack() as stack:
        if settings.scheduler is not None:
            target: Any = settings.scheduler.address
        elif settings.local is not None:
            target = stack.enter_context(_local_cluster(settings.local))
        else:
            assert settings.jobqueue is not None
            target = stack.enter_context(_job_cluster(settings.jobqueue))
        security = getattr(target, "security", None)
        try:
            client = stack.enter_context(
                distributed.Client(target, security=security, set_as_default=False)
            )
        except TypeError as error:
            if not str(target).startswith("tls://"):
                raise
            raise ExecutorError(
                f"scheduler.address = {target}: this scheduler requires credentials. Name their "
                "files "
                "in dask's configuration (distributed.comm.tls.ca-file, client.cert, client.key)."
            ) from error
        except (OSError, ValueError) as error:
            raise ExecutorError(
                f"scheduler.address = {target}: no scheduler responds at this address ({error})."
            ) from error
        yield client


def _local_cluster(local: Local) -> distributed.SpecCluster:
    """Start a cluster on this machine, to which no other user of the machine can connect."""
    security = credentials()
    listening = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
    workers = worker_specification(local)
    for worker in workers.values():
        worker["options"] |= listening
    return distributed.SpecCluster(
        workers=workers,
        security=security,
        scheduler={
            "cls": distributed.Scheduler,
            # Any free port is used, because two runs may share a machine.
            "options": listening
            | {"dashboard": False, "port": 0, "dashboard_address": "127.0.0.1:0"},
        },
    )


def credentials() -> distributed.Security:
    """Create the credentials of one cluster, which are required to connect to it.

    Raises
    ------
    ExecutorError
        If neither the package cryptography nor the program openssl is installed.
    """
    if importlib.util.find_spec("cryptography") is not None:
        return distributed.Security.temporary()
    program = shutil.which("openssl")
    if program is None:
        raise ExecutorError(
            "cluster: its encrypted connections need the package cryptography; install it with "
            "`pip install cryptography`. For a [jobqueue], `encryption = false` avoids it, on a "
            "network that nobody else can reach."
        )
    command = [
        program,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "365",
        "-subj",
        "/CN=dask-internal",
        "-keyout",
        "-",
        "-out",
        "-",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    parts = re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", made.stdout, re.DOTALL)
    if made.returncode or len(parts) != 2:
        raise ExecutorError(
            f"cluster: openssl could not create credentials ({made.stderr.strip()})."
        )
    key, certificate = sorted(parts, key=lambda part: "CERTIFICATE" in part)
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_client_key=key,
        tls_client_cert=certificate,
        tls_scheduler_key=key,
        tls_scheduler_cert=certificate,
        tls_worker_key=key,
        tls_worker_cert=certificate,
    )


def worker_specification(local: Local) -> dict[str, dict[str, Any]]:
    """Return the workers of this machine, one process and one thread each.

    Each GPU process uses its own GPU only, and fails if that is not usable instead of falling back
    to the CPU. The calling process should not use the GPUs, because JAX reserves most of the memory
    of a GPU at its first use (set ``JAX_PLATFORMS=cpu`` for it).
    """
    if local.gpus is not None:
        gpus = found_gpus() if local.gpus == "all" else [str(gpu) for gpu in local.gpus]
        environments = [{"CUDA_VISIBLE_DEVICES": gpu, "JAX_PLATFORMS": "cuda,cpu"} for gpu in gpus]
    else:
        n = local.workers or cores()
        environments = [one_thread_environment() for _ in range(n)]
    return {
        f"worker-{i}": {
            "cls": distributed.Nanny,
            # The memory of compiled programs cannot be spilled, so that limits would only pause
            # workers.
            "options": {
                "nthreads": 1,
                "memory_limit": None,
                "env": environment,
                "dashboard": False,
            },
        }
        for i, environment in enumerate(environments)
    }


def found_gpus() -> list[str]:
    """Return the GPUs of this machine: those in CUDA_VISIBLE_DEVICES, or all.

    Raises
    ------
    ExecutorError
        If there is no GPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    elif (program := shutil.which("nvidia-smi")) is not None:
        # Not by JAX, which would reserve the memory of the GPUs for this process.
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
        n = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
        gpus = [str(i) for i in range(n)]
    else:
        gpus = []
    if not gpus:
        raise ExecutorError(
            'local.gpus = "all": no GPU was found (`nvidia-smi -L` lists none, or '
            "CUDA_VISIBLE_DEVICES is empty). Give workers instead."
        )
    return gpus


def shared_folder() -> Path:
    """Create a private folder in the home folder, which the nodes of a cluster share.

    Raises
    ------
    ExecutorError
        If it cannot be created.
    """
    place = private_cache("credentials")
    if place is None:
        raise ExecutorError(
            "jobqueue: the credentials of the workers need a private folder that all nodes can "
            "read; set shared_temp_directory, or PRODA_CACHE_DIR."
        )
    return place


def _job_cluster(settings: JobQueue) -> Any:
    try:
        import dask_jobqueue
    except ModuleNotFoundError as error:
        raise ExecutorError(
            "jobqueue: the package dask-jobqueue is not installed; "
            'install it with `pip install "proda[cluster]"`.'
        ) from error
    arguments = settings.arguments() | {"scheduler_options": settings.scheduler_options()}
    if settings.encryption and "security" not in arguments:
        arguments["security"] = credentials()
        if not arguments.get("shared_temp_directory") and not settings.of_site(
            "shared-temp-directory"
        ):
            # The workers read the credentials from a shared folder that other users cannot read.
            arguments["shared_temp_directory"] = str(shared_folder())
    try:
        cluster = getattr(dask_jobqueue, SYSTEMS[settings.system])(**arguments)
    except (TypeError, ValueError) as error:
        raise ExecutorError(f"jobqueue: {error} (system {settings.system!r}).") from error
    if settings.jobs is not None:
        cluster.scale(jobs=settings.jobs)
    else:
        cluster.adapt(minimum_jobs=settings.minimum_jobs or 0, maximum_jobs=settings.maximum_jobs)
    return cluster
