"""The folder of a run: its sites, blocks and settings, and what has been computed.

run.json           settings, sources and their checksums, versions
places.json        where profiles and forcing are now, if they were moved
versions.json      other versions that resumed the run, if that was accepted
sites.parquet      the sites in order, with their block
left_out.csv       profiles without forcing
blocks/00012.nc    a finished block, with its manifest 00012.json
posterior.zarr     draws of all sites, once all blocks are done
summary.nc         all other results of all sites; written last
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import dask
import jax
import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proda import files
from proda.blocks.store import ABSENT, BlockStore
from proda.checksums import file_digest, tree_digest
from proda.errors import AssimilationError, FileError, ProdaError
from proda.forcing import Forcing
from proda.inference.assimilation_settings import AssimilationSettings
from proda.inference.padded_sites import padded_layers
from proda.inference.problem import build_problem, unanswered
from proda.inference.profiles import Profiles, read_profiles
from proda.inference.samplers.islands import Islands
from proda.inference.sampling import SamplingProblem
from proda.inference.site_summary import join
from proda.inference.target import sampled_rows
from proda.layout import RUN_DESCRIPTION, SUMMARY
from proda.locks import locked
from proda.models.outside import provenance
from proda.observations.build_summary import read_summary
from proda.places import check_dataset_sites
from proda.streams.table import StreamTable, read_all

FORMAT = 1
CPU_LANES = 1024
"""Columns that one compiled program runs together (measured: benchmarks/assimilation.py)."""
GPU_LANES = 32768
FIXED_COST = 1 / 16
"""Cost of a step without columns over that of `CPU_LANES`, at most (measured for CLM5: 1/50)."""
SMALLEST_BLOCK = 56
"""Most sites of a block of several programs by default: some ten seconds of work."""
_SUMMARY_BYTES_PER_SITE = 4000
_SOURCES = ("profiles", "forcing")


class Description(BaseModel):
    """The content of run.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    proda: str
    jax: str
    platform: str
    created: str
    settings: AssimilationSettings
    profiles: str
    profile_tables: dict[str, str]
    """SHA-256 of the tables of profiles."""
    forcing: str
    forcing_files: str | None = None
    """SHA-256 of the forcing's files."""
    stream_tables: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the table of each stream."""
    n_sites: int
    sites: str
    """SHA-256 of sites.parquet."""
    block_size: int
    width: int
    """Sites per compiled program; draws agree bit for bit only between programs of one width."""


class Run:
    """An opened run folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the folder; data are read when they are needed.

        Raises
        ------
        FileError
            If it is not a run folder, or is one of another version.
        """
        self.folder = Path(folder)
        path = self.folder / RUN_DESCRIPTION
        if not path.is_file():
            raise FileError(
                f"{path}: there is no such file; `proda assimilate` writes it. If a run stopped "
                "before it started, start it again with `proda assimilate PROFILES FORCING "
                f"{self.folder}`."
            )
        try:
            self.description = Description.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise FileError(
                f"{path}: not written by this version of proda ({error.error_count()} faults); "
                "start the run again in another folder."
            ) from error
        if self.description.format != FORMAT:
            raise FileError(f"{path}: format {self.description.format}; expected {FORMAT}.")

    @cached_property
    def identity(self) -> str:
        """SHA-256 of run.json, which identifies this run, even among runs of the same sites."""
        return file_digest(self.folder / RUN_DESCRIPTION)

    @property
    def settings(self) -> AssimilationSettings:
        """The settings of the run."""
        return self.description.settings

    @cached_property
    def problem(self) -> SamplingProblem:
        """Model, likelihood and sampler."""
        return build_problem(self.settings, f"the run {self.folder}")

    @cached_property
    def stream_tables(self) -> tuple[StreamTable, ...]:
        """Tables of the streams that the model can answer, in the order of the problem.

        Raises
        ------
        AssimilationError
            If a table was built again since this run started.
        """
        tables = read_all(self.settings.streams)
        for name, table in tables.items():
            if table.made.table != self.description.stream_tables.get(name):
                raise AssimilationError(
                    f"{self.settings.streams[name]}: the table of {name} was rebuilt since this "
                    "run started; its sites would mix old and new data. Start a new run."
                )
        return tuple(tables[stream.name] for stream in self.problem.streams)

    @cached_property
    def sites(self) -> pd.DataFrame:
        """The sites in order: site, forcing_index, profile_index, block."""
        path = self.folder / "sites.parquet"
        if not path.is_file() or file_digest(path) != self.description.sites:
            raise FileError(f"{path}: absent, or not the table of this run; start it again.")
        return files.read_parquet(path)

    @cached_property
    def places(self) -> dict[str, str]:
        """Paths of profiles and forcing: the original ones, or those to which they were moved."""
        path = self.folder / "places.json"
        places = {name: str(getattr(self.description, name)) for name in _SOURCES}
        if not path.is_file():
            return places
        with files.reading(path, "JSON file", advice="Remove it, and give the places again."):
            moved = json.loads(path.read_text(encoding="utf-8"))
            places |= {name: str(Path(moved[name])) for name in _SOURCES if name in moved}
        return places

    def relocate(self, **places: str | os.PathLike[str] | None) -> None:
        """Set new paths of the profiles or the forcing, and record them in the run folder.

        Parameters
        ----------
        places
            `profiles` and `forcing`; None keeps the present path.

        Raises
        ------
        FileError
            If a path does not exist.
        AssimilationError
            If the content differs from that at the start of the run; nothing is recorded then.
        """
        given = {name: str(Path(place).absolute()) for name, place in places.items() if place}
        if not given:
            return
        if "forcing" in given and self.description.forcing_files is None:
            raise AssimilationError(
                f"{self.folder}: this run holds no checksum of its forcing, so a new place "
                "cannot be verified. Move the forcing back, or start a new run."
            )
        before = self.places
        self.__dict__["places"] = before | given
        try:
            if "profiles" in given:
                self.check_profiles()
            if "forcing" in given:
                self.check_forcing()
        except ProdaError:
            self.__dict__["places"] = before
            raise
        with files.whole_file(self.folder / "places.json") as temporary:
            temporary.write_text(json.dumps(before | given, indent=2) + "\n", encoding="utf-8")

    def check_profiles(self) -> None:
        """Make sure that the profiles are still those with which the run was started.

        Raises
        ------
        FileError
            If they do not exist at their path.
        AssimilationError
            If they have changed: the run would mix old and new.
        """
        place = Path(self._present("profiles"))
        if read_summary(place).tables != self.description.profile_tables:
            raise AssimilationError(
                f"{place}: the profiles were rebuilt since this run started; "
                "its sites would mix old and new data. Start a new run."
            )

    @cached_property
    def profiles(self) -> Profiles:
        """The measured profiles of the run's sites, in order."""
        self.check_profiles()
        profiles = read_profiles(self.places["profiles"])
        return profiles.select(self.sites["profile_index"].to_numpy())

    def check_forcing(self) -> None:
        """Make sure that the forcing is still the one with which the run was started.

        Raises
        ------
        FileError
            If it does not exist at its path.
        AssimilationError
            If it has changed: the run would mix old and new.
        """
        place = Path(self._present("forcing"))
        before = self.description.forcing_files
        if before is not None and tree_digest(place) != before:
            raise AssimilationError(
                f"{place}: the forcing has changed since this run started; its "
                "sites would mix old and new data. Start a new run."
            )

    def _present(self, name: str) -> str:
        """Return the path of a source, which must exist."""
        place = self.places[name]
        if not Path(place).exists():
            raise FileError(
                f"{place}: the {name} of this run ({self.folder}) should be at this place, but "
                "there is no "
                "such file or folder. If it was moved, give the new place: `proda assimilate "
                f"--resume {self.folder} --{name}-moved-to PLACE`."
            )
        return place

    def forcing_of(self, sites: np.ndarray) -> Forcing:
        """Read the forcing of some sites, by position in the run."""
        index = self.sites["forcing_index"].to_numpy()[sites]
        with files.open_dataset(self._present("forcing")) as forcing:
            return Forcing.from_dataset(forcing.isel(site=index).load())

    def check_versions(self, *, accept: bool = False) -> None:
        """Refuse to join blocks of this version with those of another.

        Parameters
        ----------
        accept
            Whether to resume nevertheless, and record it in versions.json and in the results.

        Raises
        ------
        AssimilationError
            If the run was started by another version of proda or JAX.
        """
        here = {"proda": version("proda"), "jax": jax.__version__}
        begun = {"proda": self.description.proda, "jax": self.description.jax}
        if here == begun or here in self.other_versions:
            return
        then, now = (", ".join(f"{k} {v}" for k, v in x.items()) for x in (begun, here))
        if not accept:
            raise AssimilationError(
                f"{self.folder} was started with {then}, and this is {now}: their draws may "
                "differ, "
                "and the run would mix both. Install the versions that it was started with, "
                "start a "
                "new run (in a study: `proda run --resume STUDY --from MODEL/assimilation`), or "
                f"pass --accept-versions to `proda assimilate --resume {self.folder}`."
            )
        with files.whole_file(self.folder / "versions.json") as temporary:
            text = json.dumps([*self.other_versions, here], indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")

    @property
    def other_versions(self) -> list[dict[str, str]]:
        """Versions that resumed the run although another had started it."""
        path = self.folder / "versions.json"
        if not path.is_file():
            return []
        with files.reading(path, "JSON file", advice="Remove it, and accept the versions again."):
            return [{k: str(v) for k, v in entry.items()} for entry in json.loads(path.read_text())]

    @cached_property
    def blocks(self) -> dict[int, np.ndarray]:
        """Positions of the sites of each block, by its number."""
        number = self.sites["block"].to_numpy()
        return {int(b): np.flatnonzero(number == b) for b in np.unique(number)}

    @cached_property
    def store(self) -> BlockStore:
        """Finished blocks."""
        return BlockStore(self.folder / "blocks", {"run": self.identity}, ".nc")

    @property
    def complete(self) -> bool:
        """Whether the results of all sites exist."""
        return (self.folder / SUMMARY).is_file()

    def assemble(self) -> None:
        """Join all blocks into posterior.zarr and summary.nc, then remove them.

        Raises
        ------
        FileError
            If a block is missing or damaged, or the disk is full.
        """
        for number in self.blocks:
            if why := self.store.check(number):
                path = self.store.path(number)
                raise FileError(f"{path}: not computed yet." if why == ABSENT else f"{why}.")
        drawn = ["posterior", "log_likelihood"]
        parts = [
            xr.open_dataset(self.store.path(number), chunks={}, decode_timedelta=False)
            for number in self.blocks
        ]
        try:
            draws = xr.concat(
                [p[drawn] for p in parts],
                dim="site",
                join="exact",
                coords="minimal",
                compat="override",
            )
            chunks = {"site": self.description.block_size, "chain": -1, "draw": -1, "parameter": -1}
            # In this process, even where Dask's default is a client of a cluster.
            with dask.config.set(scheduler="threads"):
                files.write_zarr(
                    self._described(draws).chunk(chunks), self.folder / "posterior.zarr"
                )
                rest = [p.drop_vars([*drawn, "draw"]).load() for p in parts]
        finally:
            for part in parts:
                part.close()
        files.write_netcdf(self._described(join(rest)), self.folder / SUMMARY)
        self.store.remove()

    def _described(self, dataset: xr.Dataset) -> xr.Dataset:
        """Add units, prior ranges and provenance."""
        rows = sampled_rows(self.problem.model, self.problem.likelihood, self.problem.streams)
        exact = self.problem.sampler.exact
        dataset = dataset.assign_coords(
            unit=("parameter", [row.unit for row in rows]),
            lower=("parameter", [row.lower for row in rows], {"long_name": "lower end of prior"}),
            upper=("parameter", [row.upper for row in rows], {"long_name": "upper end of prior"}),
            component=("parameter", [row.component for row in rows]),
        ).assign_attrs(
            Conventions="CF-1.11",
            title=f"Parameters of {self.settings.model} at sites, given their profiles",
            model=self.settings.model,
            variant=self.settings.variant,
            **provenance(self.problem.model),
            proda_version=self.description.proda,
            settings=self.settings.model_dump_json(),
            forcing=self.places["forcing"],
            profiles=self.places["profiles"],
            is_posterior="yes"
            if exact
            else "NO: annealed draws of the published sampler, for comparison only",
        )
        if self.settings.streams:
            dataset.attrs["streams"] = ", ".join(s.name for s in self.problem.streams)
            dataset.attrs["streams_not_answered"] = "; ".join(
                f"{name}: {why}" for name, why in unanswered(self.settings).items()
            )
        if self.problem.held_out:
            dataset.attrs["held_out"] = ", ".join(self.problem.held_out)
        if others := self.other_versions:
            dataset.attrs["also_run_with"] = json.dumps(others)
        for name, (unit, meaning) in _MEANING.items():
            if name in dataset:
                dataset[name].attrs |= {"long_name": meaning} | ({"units": unit} if unit else {})
        return dataset


_MEANING: dict[str, tuple[str, str]] = {
    "posterior": ("", "draws, each parameter in its own unit (coordinate unit)"),
    "log_likelihood": ("1", "log-likelihood of each draw"),
    "acceptance": ("1", "mean acceptance probability while draws were kept"),
    "log_evidence": (
        "1",
        "log of the mean likelihood over the part of the prior with a steady state",
    ),
    "log_evidence_error": ("1", "standard error of the mean of log_evidence over chains"),
    "converged": ("1", "whether the draws passed the limits of the settings (max_rhat, min_ess)"),
    "evaluations": ("1", "solutions of the model, all chains together"),
    "reason": ("1", "0 sampled, 1 no start, 2 no data, 3 a chain accepted no proposal"),
    "n_layers": ("1", "measured layers used"),
    "posterior_mean": ("", "mean, each parameter in its own unit"),
    "posterior_sd": ("", "standard deviation, each parameter in its own unit"),
    "posterior_quantile": ("", "quantiles, each parameter in its own unit"),
    "gelman_rubin": ("1", "Gelman-Rubin statistic, unsplit chains (Gelman et al. 2014)"),
    "rank_rhat": ("1", "rank-normalised split R-hat (Vehtari et al. 2021)"),
    "ess_bulk": ("1", "effective size of the bulk, all chains"),
    "ess_tail": ("1", "effective size of the 5 and 95 % quantiles, all chains"),
    "spread_reduction": ("1", "1 - posterior over prior standard deviation"),
    "information_gain": ("bit", "divergence of the posterior marginal from the prior"),
    "nash_sutcliffe": ("1", "efficiency of the posterior mean profile (P-Eq 1)"),
    "nash_sutcliffe_mean_parameters": ("1", "efficiency of the profile at the mean parameters"),
    "rmse": ("g m-3", "root mean square error of the posterior mean profile"),
    "mean_log_likelihood": ("1", "mean log-likelihood over draws"),
    "elpd_loo": ("1", "expected log predictive density, leaving one layer out (PSIS)"),
    "p_loo": ("1", "effective number of parameters (PSIS-LOO)"),
    "pareto_k": ("1", "largest Pareto k; above 0.7 elpd_loo is unreliable"),
    "elpd_waic": ("1", "expected log predictive density (WAIC)"),
    "p_waic": ("1", "effective number of parameters (WAIC)"),
    "mean_age_0_100_quantile": (
        "yr",
        "posterior quantiles of the mean age of the carbon of the soil pools in 0-100 cm",
    ),
    "row_upper": ("m", "upper bound of a measured layer"),
    "row_lower": ("m", "lower bound of a measured layer"),
    "row_used": ("1", "whether the layer was fitted (its middle lies in the model's soil)"),
    "row_observed": ("g m-3", "measured carbon"),
    "row_modelled": ("g m-3", "posterior mean of the modelled carbon"),
    "row_quantile": ("g m-3", "posterior quantiles of the modelled carbon"),
}


def default_width(
    problem: SamplingProblem,
    n_chains: int,
    platform: str | None = None,
    counts: Collection[int] = (),
) -> int:
    """Return how many sites one compiled program runs together on a kind of processor.

    Parameters
    ----------
    counts
        Sites of each padded number of layers, which are not mixed in a program. A wide program that
        few sites fill would compute the rest in vain.
    """
    on_cpu, sampler = (platform or jax.default_backend()) == "cpu", problem.sampler
    if on_cpu and isinstance(sampler, Islands):
        return 1  # its walkers fill a processor, and a site does not wait for others
    lanes = CPU_LANES if on_cpu else GPU_LANES
    each = n_chains * (sampler.walkers if isinstance(sampler, Islands) else sampler.n_replicas)
    widest = max(1, lanes // each)

    def cost(width: int) -> float:
        return sum(-(-n // width) * (width * each + FIXED_COST * lanes) for n in counts)

    return min(range(widest, 0, -1), key=cost)


def predicted_bytes(settings: AssimilationSettings, n_sites: int) -> int:
    """Return the maximum disk space of a run, with blocks and joined results at the same time."""
    problem = build_problem(settings)
    n = len(sampled_rows(problem.model, problem.likelihood, problem.streams)) + 1
    return n_sites * 2 * (settings.chains * settings.draws * n * 4 + _SUMMARY_BYTES_PER_SITE)


def create(
    folder: str | os.PathLike[str],
    settings: AssimilationSettings,
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
    *,
    n_sites: int | None = None,
    sites: list[str] | None = None,
    block_size: int | None = None,
    width: int | None = None,
    platform: str | None = None,
) -> Run:
    """Make a run folder.

    Parameters
    ----------
    folder
        Folder, created if absent; it must not contain a run.
    settings
        What is fitted and how.
    profiles
        Folder of `proda profiles build`.
    forcing
        Forcing at sites, whose coordinate `site` names the profiles.
    n_sites
        Use at most this many sites, spread over latitudes.
    sites
        Use only these sites, by name.
    block_size
        Sites per block, the unit that is written and sent to workers; by default the width, or as
        often the width as fits into 56 sites.
    width
        Sites that the compiled program runs together; the default depends on the processor and on
        how many sites have few and many layers.
    platform
        Kind of processor of the run, `cpu` or `gpu`; by default that of this process, which on the
        login node of a cluster may differ from that of its workers.

    Raises
    ------
    ProdaError
        If data are missing or inconsistent, or the disk is too small.
    """
    target = Path(folder)
    _refuse_a_run(target)
    _check_sizes(n_sites, block_size, width)
    problem = build_problem(settings)
    measured = read_profiles(profiles)
    position = _forcing_positions(forcing)
    index = np.arange(len(measured)) if sites is None else _requested(measured, sites, profiles)
    index, left_out = _with_forcing(measured, index, position, profiles, forcing)
    if n_sites is not None and n_sites < len(index):
        spread = measured.select(index).spread(n_sites, settings.seed).site
        index = index[pd.Index(measured.site[index]).isin(spread)]
    platform = platform or jax.default_backend()
    if width is None:
        padded = [padded_layers(int(n)) for n in measured.n_layers[index]]
        counts = Counter(padded).values()
        width = default_width(problem, settings.chains, platform, counts)
    if block_size is None:
        block_size = width * max(1, SMALLEST_BLOCK // width)
    table = _site_table(measured, index, position, block_size)
    _check_space(target, predicted_bytes(settings, len(index)))
    try:
        (target / "blocks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target}: cannot be created ({error}).") from error
    about = Description(
        proda=version("proda"),
        jax=jax.__version__,
        platform=platform,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        profiles=str(Path(profiles).absolute()),
        profile_tables=read_summary(profiles).tables,
        forcing=str(Path(forcing).absolute()),
        forcing_files=tree_digest(forcing),
        stream_tables={
            name: table.made.table for name, table in read_all(settings.streams).items()
        },
        n_sites=len(index),
        sites="",
        block_size=block_size,
        width=width,
    )
    with locked(target, "run", AssimilationError):
        _refuse_a_run(target)  # a run that was started in the meantime
        _begin(target, table, left_out, about)
    return Run(target)


def _check_sizes(n_sites: int | None, block_size: int | None, width: int | None) -> None:
    if n_sites is not None and n_sites < 1:
        raise AssimilationError(f"n_sites = {n_sites}: expected 1 or more.")
    if any(size is not None and size < 1 for size in (block_size, width)):
        raise AssimilationError(f"block size {block_size}, width {width}: expected 1 or more.")


def _forcing_positions(forcing: str | os.PathLike[str]) -> pd.Series:
    """Return the position of each site in a forcing, by name."""
    with files.open_dataset(forcing) as opened:
        if "site" not in opened.coords:
            raise AssimilationError(
                f"{forcing}: has no coordinate site by which profiles could be matched."
            )
        names = opened["site"].to_numpy().astype(str)
    position = pd.Series(np.arange(len(names)), index=names)
    if position.index.has_duplicates:
        twice = position.index[position.index.duplicated()][0]
        raise AssimilationError(f"{forcing}: site {twice} appears more than once.")
    return position


def _requested(
    measured: Profiles, sites: list[str], profiles: str | os.PathLike[str]
) -> np.ndarray:
    """Return the positions of sites among the profiles, in ascending order."""
    chosen = pd.Index(measured.site).get_indexer(pd.Index(sites))
    if (chosen < 0).any():
        lost = [s for s, i in zip(sites, chosen, strict=True) if i < 0]
        raise AssimilationError(
            f"{len(lost)} of the requested sites are not among the profiles of {profiles}: "
            f"{', '.join(lost[:5])}{', ...' if len(lost) > 5 else ''}."
        )
    return np.unique(chosen)


def _with_forcing(
    measured: Profiles,
    index: np.ndarray,
    position: pd.Series,
    profiles: str | os.PathLike[str],
    forcing: str | os.PathLike[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the profiles that have forcing, and the names of the others."""
    # numpy compares every name with every other where their type is object: a minute for 20,000.
    has_forcing = pd.Index(measured.site[index]).isin(position.index)
    left_out = measured.site[index[~has_forcing]]
    if not has_forcing.any():
        raise AssimilationError(
            f"None of the {len(left_out)} profiles of {profiles} has forcing in {forcing}; sample "
            "it at the sites with `proda forcing at-sites`."
        )
    return index[has_forcing], left_out


def _site_table(
    measured: Profiles, index: np.ndarray, position: pd.Series, block_size: int
) -> pd.DataFrame:
    """Return the sites of a run in the order of its blocks: by padded number of layers."""
    size = np.array([padded_layers(int(n)) for n in measured.n_layers[index]])
    index = index[np.argsort(size, kind="stable")]
    return pd.DataFrame(
        {
            "site": measured.site[index],
            "profile_index": index,
            "forcing_index": position.loc[measured.site[index]].to_numpy(),
            "latitude": measured.latitude[index],
            "longitude": measured.longitude[index],
            "n_layers": measured.n_layers[index],
            "block": list(_block_numbers(np.sort(size), block_size)),
        }
    )


def _refuse_a_run(target: Path) -> None:
    """Refuse a folder that contains a run, or the remains of one."""
    if (target / RUN_DESCRIPTION).exists():
        raise AssimilationError(
            f"{target} already contains a run. Pass --resume to resume it, or choose another "
            "folder."
        )
    if left := _left_by_another_run(target):
        raise AssimilationError(
            f"{target} has no {RUN_DESCRIPTION}, but contains {left} of another run; remove it, "
            "or choose another folder."
        )


def _begin(target: Path, table: pd.DataFrame, left_out: np.ndarray, about: Description) -> None:
    """Write the files of a new run; run.json, which makes it one, last."""
    files.write_parquet(table, target / "sites.parquet")
    with files.whole_file(target / "left_out.csv") as temporary:
        pd.DataFrame({"site": left_out, "reason": "no forcing"}).to_csv(temporary, index=False)
    description = about.model_copy(update={"sites": file_digest(target / "sites.parquet")})
    with files.whole_file(target / RUN_DESCRIPTION) as temporary:
        temporary.write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _left_by_another_run(folder: Path) -> str | None:
    """Return a result in a folder without run.json, which could seem to belong to a new run."""
    blocks = folder / "blocks"
    inside = sorted(blocks.iterdir()) if blocks.is_dir() else []
    results = [p for p in (folder / SUMMARY, folder / "posterior.zarr", *inside) if p.exists()]
    return results[0].relative_to(folder).as_posix() if results else None


def _block_numbers(size: np.ndarray, block_size: int) -> Iterator[int]:
    """Yield the block of each site; all sites of a block have the same padded number of layers."""
    number, inside = 0, 0
    for i, own in enumerate(size):
        if i and (inside == block_size or own != size[i - 1]):
            number, inside = number + 1, 0
        inside += 1
        yield number


def _check_space(folder: Path, needed: int) -> None:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise FileError(
            f"{folder}: the run needs up to {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB "
            "are free. Keep fewer draws, or choose another disk."
        )


def open_posterior(folder: str | os.PathLike[str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open the draws (lazily) and the summary of a finished run.

    Raises
    ------
    FileError
        If the run is not finished.
    """
    run = Run(folder)
    if not run.complete:
        done = len(run.blocks) - len(run.store.missing(run.blocks)[0])
        raise FileError(
            f"{run.folder}: {done} of {len(run.blocks)} blocks are done; resume with "
            f"`proda assimilate --resume {run.folder}`."
        )
    path = run.folder / SUMMARY
    with files.open_netcdf(path, result=True) as opened:
        summary = files.load(opened, path)
    check_dataset_sites(summary, path, AssimilationError)
    return files.open_dataset(run.folder / "posterior.zarr", result=True), summary
