"""`proda streams`: measured data in addition to the carbon of profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proda.cli.app import app

if TYPE_CHECKING:
    from proda.streams.stream import Stream

streams = typer.Typer(
    help="Measured data in addition to the carbon of profiles: radiocarbon, microbial biomass, "
    "respiration, fractions.",
    no_args_is_help=True,
)
app.add_typer(streams, name="streams")


@streams.command("list")
def list_() -> None:
    """List the kinds of data, their sources, and the models without a counterpart."""
    from proda.cli.console import print_table
    from proda.models.registry import MODELS
    from proda.streams.registry import STREAMS

    rows = []
    for name, kind in STREAMS.items():
        stream = kind()
        cannot = [model for model, made in MODELS.items() if stream.lacking(made())]
        rows.append((name, stream.unit, "; ".join(kind.sources), ", ".join(cannot) or "none"))
    print_table("Streams", ["name", "unit", "read from", "models without it"], rows)


@streams.command(
    epilog="Examples: `proda streams build radiocarbon israd/ profiles/ radiocarbon/ --atmosphere"
    " atmosphere.csv` · `proda streams build respiration srdb-data.csv profiles/ respiration/`"
)
def build(
    name: Annotated[str, typer.Argument(help="Name of the stream; see `proda streams list`.")],
    source: Annotated[Path, typer.Argument(help="File or folder of the source.")],
    profiles: Annotated[
        Path, typer.Argument(help="Folder of `proda profiles build`, whose profiles are the sites.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    atmosphere: Annotated[
        Path | None,
        typer.Option(help="Radiocarbon: record of the atmosphere (`proda get atmosphere-14c`)."),
    ] = None,
    holocene: Annotated[
        bool,
        typer.Option(
            "--holocene",
            help="Radiocarbon: use the measured atmosphere before 1850 instead of a constant.",
        ),
    ] = False,
    lag: Annotated[
        float, typer.Option(help="Radiocarbon: residence time of carbon in plants, yr.")
    ] = 0.0,
    half_life: Annotated[float, typer.Option(help="Radiocarbon: half-life of 14C, yr.")] = 5730.0,
) -> None:
    """Read a source, apply the quality rules, match values to sites and write one table.

    Values are assigned to the same profile if the source names it, else to the nearest site in the
    same half-degree cell. Every rejected row is counted with one reason.
    """
    from proda.cli.console import console, print_table
    from proda.errors import ObservationError
    from proda.streams.bulk_radiocarbon import RadiocarbonStream
    from proda.streams.registry import STREAMS
    from proda.streams.table import NO_SITE
    from proda.streams.table import build as run

    if name not in STREAMS:
        raise ObservationError(f"unknown stream {name!r}; choose one of {', '.join(STREAMS)}.")
    if STREAMS[name] is RadiocarbonStream:
        if lag < 0.0 or half_life <= 0.0:
            raise ObservationError(
                f"--lag {lag:g} --half-life {half_life:g}: expected 0 or more, and above 0."
            )
        stream: Stream = RadiocarbonStream(
            atmosphere=str(atmosphere or ""), holocene=holocene, lag=lag, half_life=half_life
        )
    else:
        if atmosphere or holocene or lag or half_life != 5730.0:
            raise ObservationError(
                "--atmosphere, --holocene, --lag and --half-life are options of radiocarbon only."
            )
        stream = STREAMS[name]()
    made = run(stream, source, profiles, output)
    meaning = {**stream.reasons, NO_SITE: "no site of the same profile or half-degree cell"}
    rows = [(reason, f"{n:,}", meaning.get(reason, "")) for reason, n in made.counts.items()]
    print_table(f"Values of {stream.title} by reason", ["", "values", ""], rows, right=(1,))
    matches = ", ".join(f"{n:,} by {how}" for how, n in made.matched.items())
    console.print(f"{made.sites:,} sites; {matches}. Written: {output}", soft_wrap=True)
