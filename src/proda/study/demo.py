"""The demonstration: a small study of a synthetic world whose truth is known."""

from __future__ import annotations

import os
from pathlib import Path

from proda.errors import FileError
from proda.files import whole_file
from proda.layout import RunFolder
from proda.study.twin import make_twin_world, open_twin_world

SETTINGS = """\
# A study of a synthetic world: it is generated without downloads, and the truth is known
# everywhere.

[study]
name = "A synthetic world"
truth = "world"

[[profiles.source]]
name = "twin"
reader = "tidy"
folder = "world/profiles"

[forcing]
climate = "world/climate.nc"

[covariates]
grid = "world/covariates.nc"

[attribution] # takes longer than all maps of this small world
compute = false

[learning.end_to_end] # fewer networks, in smaller steps for few sites
members = 4
epochs = 60
batch_size = 16
folds = 2
fold_members = 2

[assimilation] # shorter than the default: sufficient for a demonstration
chains = 3
draws = 100
sampler = "tempered"
options = { warm_up = 2000, kept = 4000 }

[training]
curve = false
"""


def make_demo(folder: str | os.PathLike[str]) -> Path:
    """Create the world and the settings of its study, unless they exist.

    Parameters
    ----------
    folder
        Created if absent; contains `world/` and `study.toml`.

    Returns
    -------
    Path of study.toml, for :func:`proda.study.settings.read_study`.

    Raises
    ------
    FileError
        If the folder contains something else, or cannot be written.
    """
    target = Path(folder)
    settings = RunFolder(target).settings_file
    if settings.is_file():
        open_twin_world(target / "world")
        return settings
    if target.is_dir() and any(p.name != "world" for p in target.iterdir()):
        raise FileError(
            f"{target}: not empty, and not a demonstration of proda; give a new folder."
        )
    make_twin_world(target / "world")
    with whole_file(settings) as temporary:
        temporary.write_text(SETTINGS, encoding="utf-8")
    return settings
