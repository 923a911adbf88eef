"""`proda assimilate`: estimate a model's parameters at every profile."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proda import machine
from proda.cli.app import app
from proda.cli.numbers import number, whole_number
from proda.cli.options import StopAfter, folders_of, option
from proda.cli.stopping import STOPPED, seconds
from proda.inference.assimilation_settings import AssimilationSettings, AssimilationWork

if TYPE_CHECKING:
    import xarray as xr

    from proda.inference.assimilation_run import Run


_Profiles = Annotated[Path | None, typer.Argument(help="Folder of `proda profiles build`.")]
_Forcing = Annotated[
    Path | None, typer.Argument(help="Forcing at sites, from `proda forcing at-sites`.")
]
_Resume = Annotated[
    Path | None, typer.Option(help="Resume this run; its settings come from its folder.")
]
_Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="NAME=VALUE, an option of the sampler such as its steps; repeatable."
    ),
]
_Stream = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        help="NAME=FOLDER of `proda streams build`: data to fit beside carbon; repeatable.",
    ),
]
_HoldOut = Annotated[
    list[str] | None,
    typer.Option(
        "--hold-out",
        help="Data to predict but not to fit: carbon, or the NAME of a stream; repeatable.",
    ),
]
_ProfilesMovedTo = Annotated[
    Path | None,
    typer.Option(help="With --resume: the new place of the run's profiles, if they were moved."),
]
_ForcingMovedTo = Annotated[
    Path | None,
    typer.Option(help="With --resume: the new place of the run's forcing, if it was moved."),
]
_AcceptVersions = Annotated[
    bool,
    typer.Option(
        "--accept-versions",
        help="With --resume: continue a run that was started by other versions of proda or JAX.",
    ),
]
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print what would be computed, and the disk space needed."),
]


@app.command(
    epilog="Examples: `proda assimilate profiles/ sites.nc clm5/ --model clm5 --sites 200`"
    " · `proda assimilate --resume clm5/`"
    " · `proda assimilate profiles/ sites.nc am/ --sampler adaptive-metropolis --option "
    "periodic=true`"
    " · `proda assimilate profiles/ sites.nc clm5/ --stop-after 11.5h --cluster cluster.toml`"
)
def assimilate(
    context: typer.Context,
    profiles: _Profiles = None,
    forcing: _Forcing = None,
    folder: Annotated[Path | None, typer.Argument(help="New folder for the run.")] = None,
    resume: _Resume = None,
    model: str = option(AssimilationSettings, "model"),
    variant: str = option(AssimilationSettings, "variant"),
    sampler: str = option(AssimilationSettings, "sampler"),
    option: _Option = None,
    likelihood: str = option(AssimilationSettings, "likelihood"),
    error_sd: str = option(AssimilationSettings, "error_sd"),
    operator: str = option(AssimilationSettings, "operator"),
    stream: _Stream = None,
    hold_out: _HoldOut = None,
    chains: int = option(AssimilationSettings, "chains"),
    draws: int = option(AssimilationSettings, "draws"),
    seed: int = option(AssimilationSettings, "seed"),
    max_rhat: float = option(AssimilationSettings, "max_rhat"),
    min_ess: float = option(AssimilationSettings, "min_ess"),
    max_evidence_error: float = option(AssimilationSettings, "max_evidence_error"),
    sites: int | None = option(AssimilationWork, "sites"),
    block_size: Annotated[int | None, typer.Option(help="Sites per block.")] = None,
    workers: int | None = option(AssimilationWork, "workers"),
    cluster: Path | None = option(AssimilationWork, "cluster"),
    stop_after: StopAfter = None,
    profiles_moved_to: _ProfilesMovedTo = None,
    forcing_moved_to: _ForcingMovedTo = None,
    accept_versions: _AcceptVersions = False,
    dry_run: _DryRun = False,
) -> None:
    """Estimate a model's parameters at every profile by Markov chain Monte Carlo.

    Draws, diagnostics and fitted profiles are written to the run folder. A run that was stopped
    (Ctrl-C, --stop-after, a crash) is resumed with --resume and gives the same draws; at most one
    block of sites per worker is computed again. Exit status 75 means that the run stopped before
    its time limit and can be resumed.
    """
    if "jax" not in sys.modules:  # so that it computes what its worker processes would
        os.environ.setdefault(machine.PROCESSORS, "1")
    from proda.cli.console import console
    from proda.errors import AssimilationError
    from proda.inference.assimilation_run import create
    from proda.inference.problem import checked_settings

    if resume is not None:
        run = _resumed(context, resume, profiles, profiles_moved_to, forcing_moved_to)
    else:
        _refuse_options_of_resume(context)
        if profiles is None or forcing is None or folder is None:
            raise AssimilationError(
                "Give the profiles, the forcing and a new folder, or pass --resume FOLDER."
            )
        settings = checked_settings(
            model=model,
            variant=variant,
            sampler=sampler,
            options=_options(option or []),
            likelihood=likelihood,
            error_sd=_error_sd(error_sd),
            operator=operator,
            chains=chains,
            draws=draws,
            seed=seed,
            max_rhat=max_rhat,
            min_ess=min_ess,
            max_evidence_error=max_evidence_error,
            streams=folders_of(stream or []),
            held_out=hold_out or [],
        )
        if dry_run:
            _dry_run(settings, profiles, forcing, sites, workers)
            return
        run = create(folder, settings, profiles, forcing, n_sites=sites, block_size=block_size)
        _print_left_out(run)
    _print_warnings(run)
    if run.complete:
        console.print(f"{run.folder}: the run is already finished.")
    else:
        _work(run, workers, seconds(stop_after), cluster, accept_versions)
    _summary(run)


def _resumed(
    context: typer.Context,
    folder: Path,
    profiles: Path | None,
    profiles_moved_to: Path | None,
    forcing_moved_to: Path | None,
) -> Run:
    """Open a run that was started before, with its data in their present place."""
    from proda.errors import AssimilationError
    from proda.inference.assimilation_run import Run

    if profiles is not None:
        raise AssimilationError(
            f"--resume {folder} uses the settings and data of that run; do not give others. If "
            "the data were moved: --profiles-moved-to, --forcing-moved-to."
        )
    run = Run(folder)
    _refuse_other_settings(context, run)
    run.relocate(profiles=profiles_moved_to, forcing=forcing_moved_to)
    return run


def _refuse_options_of_resume(context: typer.Context) -> None:
    """Refuse options that have no effect on a new run."""
    from proda.errors import AssimilationError

    for name in ("profiles_moved_to", "forcing_moved_to", "accept_versions"):
        if _given(context, name):
            raise AssimilationError(f"--{name.replace('_', '-')} needs --resume FOLDER.")


def _print_left_out(run: Run) -> None:
    """Print how many profiles a new run leaves out."""
    from proda.cli.console import console

    left_out = len((run.folder / "left_out.csv").read_text().splitlines()) - 1
    if left_out:
        console.print(
            f"{left_out:,} profiles without forcing are left out: {run.folder / 'left_out.csv'}"
        )


def _print_warnings(run: Run) -> None:
    """Print whether the draws are not a posterior, and which streams are not fitted."""
    from proda.cli.console import console
    from proda.inference.problem import unanswered

    if not run.problem.sampler.exact:
        console.print(
            f"The sampler {run.settings.sampler!r} is for comparison only: its draws are NOT a "
            "posterior.",
            style="bold",
        )
    for name, why in unanswered(run.settings).items():
        console.print(f"The stream {name} is not fitted: {why}.", style="bold", soft_wrap=True)


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option is given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_other_settings(context: typer.Context, run: Run) -> None:
    """Refuse options that would have no effect, because the run was started with others.

    Raises
    ------
    AssimilationError
        Naming each, with its value in the run.
    """
    from proda.errors import AssimilationError

    settings, about, asked = run.settings, run.description, context.params
    held: dict[str, Any] = {
        name: getattr(settings, name)
        for name in (
            "model",
            "variant",
            "sampler",
            "likelihood",
            "operator",
            "chains",
            "draws",
            "seed",
            "max_rhat",
            "min_ess",
            "max_evidence_error",
        )
    } | {"sites": about.n_sites, "block_size": about.block_size, "dry_run": False}
    differ = [
        (f"--{name.replace('_', '-')} {asked[name]}", value)
        for name, value in held.items()
        if _given(context, name) and asked[name] != value
    ]
    if _given(context, "stream") and folders_of(asked["stream"]) != settings.streams:
        differ.append((f"--stream {' '.join(asked['stream'])}", settings.streams or "none"))
    if _given(context, "hold_out") and sorted(asked["hold_out"]) != sorted(settings.held_out):
        differ.append((f"--hold-out {' '.join(asked['hold_out'])}", settings.held_out or "none"))
    if _given(context, "error_sd") and _error_sd(asked["error_sd"]) != settings.error_sd:
        differ.append((f"--error-sd {asked['error_sd']}", settings.error_sd))
    sampler = run.problem.sampler
    for name, wanted in _options(asked["option"] or []).items():
        value = getattr(sampler, name, "no such option")
        if value != wanted:
            differ.append((f"--option {name}={wanted}", value))
    if differ:
        raise AssimilationError(
            f"--resume {run.folder}: the settings of a run cannot be changed once it has started: "
            + "; ".join(f"{given} (the run has {value})" for given, value in differ)
            + ". Remove these options, or start a new run in another folder."
        )


def _dry_run(
    settings: AssimilationSettings,
    profiles: Path,
    forcing: Path,
    sites: int | None,
    workers: int | None,
) -> None:
    import tempfile

    from proda.cli.console import print_table
    from proda.cli.run import duration
    from proda.inference.assimilation_run import create, predicted_bytes
    from proda.inference.runner import SAMPLED, evaluations_per_second, predicted_evaluations

    with tempfile.TemporaryDirectory() as empty:
        run = create(Path(empty) / "run", settings, profiles, forcing, n_sites=sites)
        n = run.description.n_sites
        speed, processes = evaluations_per_second(run), workers or machine.cores()
        print_table(
            f"Predicted cost of assimilating {settings.model}",
            ["", ""],
            [
                ("sites", f"{n:,}"),
                ("blocks", f"{len(run.blocks):,} of up to {run.description.block_size} sites"),
                ("chains per site", settings.chains),
                ("model evaluations", f"{predicted_evaluations(run):,}"),
                ("measured speed of the model alone", f"{speed / 1e6:.2f} million per second"),
                (
                    f"time with {processes} process{'es' if processes > 1 else ''}, about",
                    duration(SAMPLED * predicted_evaluations(run) / speed / processes),
                ),
                ("disk, at most", f"{predicted_bytes(settings, n) / 1e9:.2f} GB"),
            ],
        )


def _work(
    run: Run, workers: int | None, limit: float | None, cluster: Path | None, accept: bool
) -> None:
    from proda.blocks.executor import Stopped, executor_of
    from proda.cli.console import console, errors, progress
    from proda.inference.runner import work

    again = f"Resume with: proda assimilate --resume {run.folder}"
    begun, n_done, speed = time.monotonic(), 0, 0.0
    with progress("sites") as bar:
        task = bar.add_task(run.settings.model, total=run.description.n_sites)

        def finished(done: int, total: int, rate: float) -> None:
            nonlocal n_done, speed
            n_done, speed = done, rate
            label = f"{run.settings.model} ({rate / 1e6:.2f} million evaluations per second)"
            bar.update(task, completed=done, total=total, description=label)

        def warn(text: str) -> None:
            errors.print(text, style="yellow", highlight=False, soft_wrap=True)

        try:
            with executor_of(workers, cluster, limit) as executor:
                work(run, executor, progress=finished, warn=warn, accept_versions=accept)
        except Stopped:
            bar.stop()
            console.print(
                f"Stopped before the time limit, {n_done:,} of {run.description.n_sites:,} "
                f"sites done. {again}",
                highlight=False,
                soft_wrap=True,
            )
            sys.exit(STOPPED)
        except KeyboardInterrupt:
            bar.stop()
            errors.print(f"Finished work is kept. {again}", highlight=False, soft_wrap=True)
            raise
    minutes = (time.monotonic() - begun) / 60.0
    console.print(f"{minutes:.1f} minutes, {speed / 1e6:.2f} million model evaluations per second")


def _summary(run: Run) -> None:
    """Print the results of a finished run."""
    from proda.cli.console import console
    from proda.inference.assimilation_run import open_posterior

    _, summary = open_posterior(run.folder)
    _print_sites(run, summary)
    _print_sampling(run, summary)
    _print_streams(run, summary)
    console.print(f"Written: {run.folder / 'posterior.zarr'}, summary.nc")
    console.print(f"Next step: proda diagnose {run.folder}")


def _print_sites(run: Run, summary: xr.Dataset) -> None:
    """Print the numbers of sites by reason, and of those that pass each limit."""
    import numpy as np

    from proda.cli.console import print_table
    from proda.inference.diagnostics.filter import Filter
    from proda.inference.site_summary import SiteReason

    reason = summary["reason"].to_numpy()
    n = len(reason)
    mean_rhat = summary["gelman_rubin"].mean("parameter").to_numpy()
    limits = Filter()  # a study may set other limits, which its filter and `proda diagnose` apply
    converged = mean_rhat < limits.max_gelman_rubin
    fitting = summary["nash_sutcliffe"].to_numpy() > limits.min_nash_sutcliffe
    rows: list[tuple[Any, ...]] = [("sites", f"{n:,}", "")]
    rows += [
        (SiteReason(int(r)).words, f"{int((reason == r).sum()):,}", _share(reason == r))
        for r in np.unique(reason)
    ]
    rows += [
        (
            f"Gelman-Rubin < {limits.max_gelman_rubin:g}",
            f"{int(converged.sum()):,}",
            _share(converged),
        ),
        (f"NSE > {limits.min_nash_sutcliffe:g}", f"{int(fitting.sum()):,}", _share(fitting)),
        ("both", f"{int((converged & fitting).sum()):,}", _share(converged & fitting)),
    ]
    if "converged" in summary:  # the sampler smc judges each site itself
        good = summary["converged"].to_numpy()
        limit = f"R-hat < {run.settings.max_rhat:g}, ESS >= {run.settings.min_ess:g}"
        rows.append((f"{limit} (worst parameter)", f"{int(good.sum()):,}", _share(good)))
        error, most = summary["log_evidence_error"].to_numpy(), run.problem.limits.unsteady
        if np.isfinite(error).any():  # without a way down it is not estimated
            limit, steady = f"error of the log-evidence <= {most:g}", error <= most
            rows.append((limit, f"{int(steady.sum()):,}", _share(steady)))
    label = "" if run.problem.sampler.exact else " (NOT a posterior: published sampler)"
    print_table(
        f"{run.settings.model} ({run.settings.variant}) at its sites{label}",
        ["", "sites", "%"],
        rows,
        right=(1, 2),
    )


def _print_sampling(run: Run, summary: xr.Dataset) -> None:
    """Print the effective sample sizes, and how often the model was evaluated."""
    import numpy as np

    from proda.cli.console import console

    smallest = summary["ess_bulk"].min("parameter").to_numpy()
    if np.isfinite(smallest).any():
        console.print(
            f"Smallest effective sample size of a site: median {np.nanmedian(smallest):.0f} of "
            f"{summary.sizes['chain'] * run.settings.draws} draws"
        )
    if "evaluations" in summary:
        each = summary["evaluations"].to_numpy()
        console.print(
            f"Model evaluations of a site: median {np.median(each):,.0f}, mean {each.mean():,.0f}, "
            f"largest {each.max():,}"
        )


def _print_streams(run: Run, summary: xr.Dataset) -> None:
    """Print how well the sites meet the data beside carbon."""
    import numpy as np

    from proda.cli.console import console

    for stream in run.problem.streams:
        kind = stream.name
        rmse = summary[f"rmse_{kind}"].to_numpy()
        console.print(
            f"{stream.title}: {int(summary[f'n_{kind}'].sum()):,} values at "
            f"{int((summary[f'n_{kind}'] > 0).sum()):,} sites; median over sites of the RMSE "
            f"{np.nanmedian(rmse) if np.isfinite(rmse).any() else np.nan:.3g} {stream.unit}"
        )


def _share(which: Any) -> str:
    return f"{100.0 * which.mean():.1f}"


def _options(pairs: list[str]) -> dict[str, int | bool]:
    from proda.errors import AssimilationError

    values: dict[str, int | bool] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            if not (name and equals):
                raise ValueError
            truth = {"true": True, "false": False}.get(text.lower())
            values[name] = whole_number(text) if truth is None else truth
        except ValueError as error:
            raise AssimilationError(
                f"--option {pair}: expected NAME=INTEGER, NAME=true or NAME=false."
            ) from error
    return values


def _error_sd(text: str) -> float | str:
    from proda.errors import AssimilationError

    if text == "estimate":
        return text
    try:
        return number(text)
    except ValueError as error:
        raise AssimilationError(
            f"--error-sd {text}: expected a number above 0, or 'estimate'."
        ) from error
