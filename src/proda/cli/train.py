"""`proda train` and `proda predict`: the network from environment to parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proda.cli.app import app
from proda.cli.console import console, errors, formatted, print_table, progress
from proda.cli.options import Fill, Plots, folders_of, option, optional
from proda.errors import LearningError
from proda.inference.assimilation_settings import AssimilationSettings
from proda.learning.end_to_end_settings import EndToEndSettings
from proda.learning.learning_settings import LearningSettings, Preset, PresetSettings, preset_of
from proda.validation_settings import (
    END_TO_END,
    FROM_POSTERIORS,
    SPLIT,
    EndToEndValidation,
    PosteriorValidation,
)

if TYPE_CHECKING:
    import pandas as pd

    from proda.learning.from_posteriors import TrainingResult
    from proda.learning.train import Progress

THROUGH = "With --model"
"""Condition of the options of end-to-end training."""


_Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="[KEPT] COVARIATES NETWORK",
        help="Kept posteriors of `proda diagnose --output` (only without --model); covariates "
        "of the sites (.parquet), from `proda covariates`; folder to write (an existing "
        "network is replaced).",
    ),
]
_Profiles = Annotated[
    Path | None,
    typer.Option(
        help="Folder of `proda profiles build`, to tune and evaluate the networks by carbon."
    ),
]
_ForcingTrain = Annotated[
    Path | None, typer.Option(help="Forcing at the sites; needed with --profiles.")
]
_Assimilation = Annotated[
    Path | None,
    typer.Option(help="Folder of `proda assimilate`, to add the fit of the sites' own posteriors."),
]
_ModelTrain = Annotated[
    str | None,
    typer.Option(
        help="Train end to end through this soil model (a name, or FILE.py:Class) on all "
        "profiles, without posteriors."
    ),
]
_Residual = Annotated[
    bool,
    typer.Option(
        "--residual",
        help="With --model: also keep the networks' carbon with a share of what gradient "
        "boosting expects beyond it; this product carries no mechanism.",
    ),
]
_Stream = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        help="With --model: NAME=FOLDER of `proda streams build`, data to learn from beside "
        "carbon; repeatable.",
    ),
]
_RandomFolds = Annotated[
    bool, typer.Option("--random-folds", help="Use random folds instead of blocks of the map.")
]


@app.command(
    epilog="Examples:\n\n"
    "`proda train kept.nc sites.parquet network --profiles profiles --forcing sites.nc`\n\n"
    "`proda train kept.nc sites.parquet network --preset study`\n\n"
    "`proda train sites.parquet network --profiles profiles --forcing sites.nc --model clm5`"
)
def train(
    inputs: _Inputs,
    profiles: _Profiles = None,
    forcing: _ForcingTrain = None,
    assimilation: _Assimilation = None,
    model: _ModelTrain = None,
    variant: str | None = optional("variant", AssimilationSettings, condition=THROUGH),
    split: str | None = optional("split", EndToEndValidation, condition=THROUGH),
    global_parameter: list[str] | None = optional(
        "global_parameters", EndToEndSettings, condition=THROUGH, more="Repeatable."
    ),
    start: str | None = optional("start", EndToEndSettings, condition=THROUGH),
    start_weight: float | None = optional("start_weight", EndToEndSettings, condition=THROUGH),
    inverted_share: float | None = optional("inverted_share", EndToEndSettings, condition=THROUGH),
    residual: _Residual = False,
    stream: _Stream = None,
    preset: Preset = option(PresetSettings, "preset"),
    members: int | None = optional("members", LearningSettings, EndToEndSettings),
    epochs: int | None = optional("epochs", LearningSettings, EndToEndSettings),
    tuning_epochs: int | None = optional("tuning_epochs", LearningSettings),
    seed: int = option(LearningSettings, "seed"),
    folds: int = option(PosteriorValidation, "folds"),
    fold_members: int | None = optional("fold_members", PosteriorValidation, EndToEndValidation),
    random_folds: _RandomFolds = False,
    trees: int = option(PosteriorValidation, "trees"),
    curve: bool = option(PosteriorValidation, "curve", "--curve/--no-curve"),
    fill: Fill = False,
    plots: Plots = None,
) -> None:
    """Train networks that predict a model's parameters from the environment, and evaluate them.

    With --profiles and --forcing the networks are then tuned through the soil model, and evaluated
    by the carbon of held-out profiles. Repeat the command to resume an interrupted training.

    With --model no posteriors are needed: the networks are trained end to end through the soil
    model on the measured carbon of all profiles.
    """
    numbers = {"members": members, "epochs": epochs}
    if model is not None:
        covariates, network = _paths(inputs, 2, "COVARIATES NETWORK with --model")
        _refuse_options_of_posteriors(
            random_folds,
            assimilation=assimilation is not None,
            preset=preset != "default",
            tuning_epochs=tuning_epochs is not None,
            plots=plots is not None,
        )
        _require_sites(profiles, forcing)
        starts = {"start": start, "start_weight": start_weight, "inverted_share": inverted_share}
        shared = tuple(global_parameter or ())
        settings = EndToEndSettings(**_given(numbers | starts), seed=seed, global_parameters=shared)
        _end_to_end(
            covariates,
            network,
            profiles=profiles,
            forcing=forcing,
            model=model,
            variant=variant or "default",
            settings=settings,
            folds=folds,
            fold_members=END_TO_END if fold_members is None else fold_members,
            split=split or SPLIT,
            residual=residual,
            missing="median" if fill else "leave_out",
            streams=folders_of(stream or []),
        )
        return
    given = (variant, split, global_parameter, start, residual, stream)
    _refuse_options_of_end_to_end(given, (start_weight, inverted_share))
    kept, covariates, network = _paths(inputs, 3, "KEPT COVARIATES NETWORK, or --model")
    _from_posteriors(
        kept,
        covariates,
        network,
        preset_of(preset, _given(numbers | {"tuning_epochs": tuning_epochs, "seed": seed})),
        plots,
        profiles=profiles,
        forcing=forcing,
        assimilation=assimilation,
        folds=folds,
        fold_members=FROM_POSTERIORS if fold_members is None else fold_members,
        spatial=not random_folds,
        trees=trees,
        curve=curve,
        missing="median" if fill else "leave_out",
    )


def _paths(given: list[Path], n: int, what: str) -> list[Path]:
    if len(given) != n:
        raise LearningError(
            f"proda train needs {what}; {len(given)} paths were given: {' '.join(map(str, given))}."
        )
    return given


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are given; the others have the defaults of the settings."""
    return {name: value for name, value in values.items() if value is not None}


def _refuse_options_of_posteriors(random_folds: bool, **given: bool) -> None:
    """Refuse options that have no effect on end-to-end training."""
    if random_folds:
        raise LearningError("--random-folds does not apply with --model; use --split random.")
    if names := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise LearningError(f"{', '.join(names)}: not available with --model.")


def _refuse_options_of_end_to_end(
    given: tuple[Any, ...], numbers: tuple[float | None, float | None]
) -> None:
    """Refuse options that have no effect on training from posteriors."""
    if any(given) or numbers != (None, None):
        raise LearningError(
            "--variant, --split, --global-parameter, --start, --start-weight, --inverted-share, "
            "--residual and --stream need --model."
        )


def _require_sites(profiles: Path | None, forcing: Path | None) -> None:
    """Refuse end-to-end training without the data on which it trains."""
    if profiles is None or forcing is None:
        raise LearningError(
            "--model needs --profiles and --forcing, on which the networks are trained."
        )


def _from_posteriors(
    kept: Path,
    covariates: Path,
    network: Path,
    settings: LearningSettings,
    plots: Path | None,
    **options: Any,
) -> None:
    """Train with the options of `train_network`, print the skill and draw its figures."""
    from proda.learning.from_posteriors import train_network

    with progress("epochs") as bar:
        show = _Shown(bar)
        result = train_network(
            kept,
            covariates,
            network,
            settings,
            progress=show.losses,
            on_stage=show.stage,
            **options,
        )
    _print(result)
    if plots is not None:
        for path in _draw(result, plots):
            console.print(f"Drawn: {path}", soft_wrap=True)


def _end_to_end(covariates: Path, network: Path, **options: Any) -> None:
    """Train with the options of `train_end_to_end`, and print the skill."""
    from proda.learning.through_model import train_end_to_end

    with progress("epochs") as bar:
        show = _Shown(bar)
        result = train_end_to_end(
            covariates, network, progress=show.losses, on_stage=show.stage, **options
        )
    for name, why in result.not_learnt.items():
        console.print(f"Nothing is learnt from {name}: {why}.", style="bold", soft_wrap=True)
    for reason, count in result.left_out["reason"].value_counts().head(5).items():
        console.print(f"Left out: {count:,} sites, {reason}", highlight=False, soft_wrap=True)
    if result.skill is not None:
        print_methods("Carbon of held-out sites", result.skill[result.skill["by"] == "all"])
    if result.streams is not None:
        _print_streams(result.streams)
    console.print(
        f"Written: {result.folder}, {result.ensemble.members} networks for {options['model']}, "
        f"{result.ensemble.n_sites:,} sites, {result.seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def _print_streams(table: pd.DataFrame) -> None:
    """Print how each method meets the data beside carbon."""
    print_table(
        "Data beside carbon at held-out sites",
        ["stream", "method", "values", "sites", "RMSE", "bias", "NSE", "r"],
        [
            [
                r.stream if r.scale == "identity" else f"{r.stream} ({r.scale})",
                r.method,
                f"{r.n:,}",
                f"{r.sites:,}",
                *(formatted(v, f) for v, f in ((r.rmse, ".3g"), (r.bias, "+.3g"))),
                *(formatted(v, ".2f") for v in (r.nse, r.r)),
            ]
            for r in table.itertuples()
        ],
        right=range(2, 8),
    )


def print_methods(title: str, table: pd.DataFrame) -> None:
    """Print the skill of every method, one row each."""
    print_table(
        title,
        [
            "method",
            "sites",
            "lost",
            "layers",
            "log R2",
            "log RMSE",
            "log bias",
            "by site",
            "in 90 %",
        ],
        [
            [
                r.method,
                f"{r.sites:,.0f}",
                f"{r.lost:,.0f}",
                f"{r.layers:,.0f}",
                formatted(r.log_r2, ".2f"),
                formatted(r.rmse_log, ".2f"),
                formatted(r.bias_log, "+.2f"),
                formatted(r.site_rmse_log, ".2f"),
                formatted(r.interval90, ".1%"),
            ]
            for r in table.itertuples()
        ],
        right=range(1, 9),
    )
    console.print(
        "log: natural logarithms; by site: median over sites of their RMSE; in 90 %: share of "
        "layers inside the 90 % interval. lost: sites without a steady state. ceiling: the best "
        "possible score, given how much layers of one half-degree cell vary at equal depth.",
        highlight=False,
        soft_wrap=True,
    )


@app.command(
    epilog="Example: `proda evaluate network profiles sites.nc sites.parquet --output skill.csv`"
)
def evaluate(
    network: Annotated[Path, typer.Argument(help="Folder of `proda train`.")],
    profiles: Annotated[Path, typer.Argument(help="Folder of `proda profiles build`.")],
    sites: Annotated[Path, typer.Argument(help="Forcing at these sites (netCDF or Zarr).")],
    covariates: Annotated[Path, typer.Argument(help="Covariates of these sites (.parquet).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table to write, one row per method.")
    ] = None,
    by: Annotated[
        Path | None,
        typer.Option(help="Table to write, by depth, zone, climate, soil temperature and source."),
    ] = None,
    fill: Fill = False,
) -> None:
    """Compare a network, and every baseline in its folder, with any measured profiles.

    The profiles should not be those that the network was trained on; the skill at held-out sites
    is in the folder of the network.
    """
    from proda.files import whole_file
    from proda.learning.evaluate import evaluate_network

    with console.status(f"Evaluating {network}"):
        evaluation = evaluate_network(
            network, profiles, sites, covariates, output, missing="median" if fill else "leave_out"
        )
    for reason, count in evaluation.left_out["reason"].value_counts().head(5).items():
        console.print(f"Left out: {count:,} profiles, {reason}", highlight=False, soft_wrap=True)
    for note in evaluation.notes:
        errors.print(f"Note: {note}", style="yellow", highlight=False, soft_wrap=True)
    print_methods(f"Carbon of {profiles}", evaluation.skill)
    if by is not None:
        with whole_file(by) as temporary:
            evaluation.groups.to_csv(temporary, index=False)
    for path in (output, by):
        if path is not None:
            console.print(f"Written: {path}", soft_wrap=True)


class _Shown:
    """Progress on the bar: one task per stage of training, its losses as the description."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.tasks: dict[str, Any] = {}
        self.now = bar.add_task("reading", total=None)

    def stage(self, name: str) -> None:
        self.bar.update(self.now, description=name)

    def losses(self, progress: Progress) -> None:
        import numpy as np

        kind, losses = "validation", progress.validation_loss
        if not np.isfinite(losses).any():  # no site is set aside
            kind, losses = "training", progress.training_loss
        loss = f"{np.nanmean(losses):.4g}" if np.isfinite(losses).any() else "-"
        text = (
            f"{progress.stage}: {kind} loss {loss}, "
            f"{int(progress.stopped.sum())} of {progress.stopped.size} stopped"
        )
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bar.add_task(text, total=progress.epochs)
        self.bar.update(self.tasks[progress.stage], completed=progress.epoch, description=text)


def _print(result: TrainingResult) -> None:
    learned = result.learned
    for note in result.notes:
        errors.print(f"Note: {note}", style="yellow", highlight=False, soft_wrap=True)
    for reason, count in learned.sites.left_out["reason"].value_counts().head(5).items():
        console.print(f"Left out: {count:,} sites, {reason}", highlight=False, soft_wrap=True)
    if result.skill_carbon is not None:
        print_carbon(result.skill_carbon)
    if result.skill_parameters is not None:
        own = result.skill_parameters
        own = own[own["method"] == "network"].sort_values("skill", ascending=False)
        print_table(
            f"Parameters at held-out sites, {learned.ensemble.n_sites:,} sites",
            ["parameter", "correlation", "RMSE", "skill", "sites"],
            [
                [
                    r.parameter,
                    formatted(r.correlation, ".2f"),
                    formatted(r.rmse, ".3f"),
                    formatted(r.skill, ".2f"),
                    f"{r.sites:,}",
                ]
                for r in own.itertuples()
            ],
            right=(1, 2, 3, 4),
        )
        console.print(
            "RMSE: share of the prior range. skill: against the mean of the training sites, "
            "weighted by information.",
            highlight=False,
            soft_wrap=True,
        )
    if result.importance is not None:
        print_table(
            "Importance of covariates: increase in error when shuffled",
            ["covariate", "increase"],
            [[r.group, f"{r.increase:+.1%}"] for r in result.importance.head(10).itertuples()],
            right=(1,),
        )
    console.print(
        f"Written: {result.folder}, {learned.ensemble.members} networks for "
        f"{learned.ensemble.model}, {result.seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def print_carbon(table: pd.DataFrame) -> None:
    """Print the skill of carbon over all layers, and by depth and zone the log R2."""
    whole = table[table["by"] == "all"]
    print_table(
        "Carbon of held-out profiles, all layers",
        ["method", "NSE", "RMSE", "log R2", "log RMSE", "by site", "NSE > 0", "lost"],
        [
            [
                r.method,
                formatted(r.nse, ".2f"),
                formatted(r.rmse, ".1f"),
                formatted(r.log_r2, ".2f"),
                formatted(r.rmse_log, ".2f"),
                formatted(r.site_rmse_log, ".2f"),
                formatted(r.site_nse_positive, ".0%"),
                f"{r.lost:,}",
            ]
            for r in whole.itertuples()
        ],
        right=range(1, 8),
    )
    console.print(
        "RMSE: kg m-3; log: natural logarithms; by site: median over sites of their log RMSE; "
        "NSE > 0: share of sites. lost: sites without a steady state. assimilated: the fit of the "
        "sites' own posteriors, which is not held out.",
        highlight=False,
        soft_wrap=True,
    )
    parts = table[table["by"].isin(["depth", "zone"])]
    wide = parts.pivot_table(index="method", columns="group", values="site_rmse_log", sort=False)
    print_table(
        "Median over sites of the log RMSE, by depth and zone",
        ["method", *map(str, wide.columns)],
        [
            [str(name), *(formatted(v, ".2f") for v in row)]
            for name, row in zip(wide.index, wide.to_numpy(), strict=True)
        ],
        right=range(1, len(wide.columns) + 1),
    )


def _draw(result: TrainingResult, folder: Path) -> Iterator[Path]:
    import matplotlib as mpl

    mpl.use("Agg")
    from proda.plots.style import save_all
    from proda.plots.training import training_figures

    return save_all(training_figures(result), folder)


_Covariates = Annotated[
    Path, typer.Argument(help="Table (.parquet), or a grid on lat, lon (netCDF or Zarr).")
]
_Draws = Annotated[
    bool,
    typer.Option("--draws", help="Also write calibrated draws, whose spread covers the error."),
]
_Forcing = Annotated[
    Path | None,
    typer.Option(help="Forcing at the same places, for a network trained with --model."),
]
_Model = Annotated[str | None, typer.Option(help="Require that the network is for this model.")]


@app.command(
    epilog="Examples:\n\n"
    "`proda predict network cells.parquet --output parameters.nc`\n\n"
    "`proda predict network covariates_halfdeg.nc -o parameters.nc --draws`"
)
def predict(
    network: Annotated[Path, typer.Argument(help="Folder of `proda train`.")],
    covariates: _Covariates,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.nc, .zarr).")],
    draws: _Draws = False,
    fill: Fill = False,
    forcing: _Forcing = None,
    model: _Model = None,
) -> None:
    """Predict parameters from covariates, and flag extrapolation."""
    from proda.learning.predict import predict_table

    with console.status(f"Predicting with {network}"):
        predicted = predict_table(
            network,
            covariates,
            output,
            draws=draws,
            missing="median" if fill else "leave_out",
            model=model,
            forcing=forcing,
        )
    usable = predicted["usable"].to_numpy().astype(bool)
    n = max(usable.size, 1)
    rows = [("rows", usable.size), ("predicted", int(usable.sum()))]
    for name, what in (
        ("flag", "outside the training data"),
        ("outside", "a quantity outside its range"),
        ("unseen", "a class absent from training"),
    ):
        rows.append((what, int((predicted[name].to_numpy()[usable] > 0).sum())))
    rows.append(
        (
            "farther than 99 % of training sites",
            int((predicted["distance"].to_numpy()[usable] > 1).sum()),
        )
    )
    print_table(
        f"Parameters of {predicted.attrs['model']} predicted",
        ["", "rows", "share"],
        [(what, f"{count:,}", f"{count / n:.1%}") for what, count in rows],
        right=(1, 2),
    )
    if predicted.attrs["report"]:
        console.print(predicted.attrs["report"], highlight=False, soft_wrap=True)
    sizes = predicted.sizes
    console.print(
        f"Written: {output}, {sizes['member']} members x {usable.size:,} rows x "
        f"{sizes['parameter']} parameters",
        highlight=False,
        soft_wrap=True,
    )
