"""The models by name. A new model is one file and one line here."""

from __future__ import annotations

from proda.errors import ModelError
from proda.models.clm5 import CLM5
from proda.models.compas import COMPAS
from proda.models.compas_family import COMPASECA, COMPASDensity, COMPASMultiplicative
from proda.models.compas_reverse import COMPASReverse
from proda.models.corpse import CORPSE
from proda.models.millennial import Millennial
from proda.models.mimics import MIMICS
from proda.models.model import SoilModel
from proda.models.rothc import RothC

MODELS: dict[str, type[SoilModel]] = {
    model.name: model
    for model in (
        CLM5, COMPAS, COMPASReverse, COMPASMultiplicative, COMPASECA, COMPASDensity, RothC, MIMICS,
        CORPSE, Millennial,
    )
}  # fmt: skip


def load_model(name: str, variant: str = "default") -> SoilModel:
    """Return a model by name.

    Parameters
    ----------
    name
        `"clm5"`, `"compas"`, `"rothc"`, ...; `proda models` lists them.
    variant
        `"default"`, or, for the two models of the study, `"published"` to reproduce the published
        code with its known faults (carbon leaks below bedrock and input into bedrock; for COMPAS
        also the product of mean modifiers and a further rule of rejection).

    Raises
    ------
    ModelError
        If there is no such model or variant.

    Examples
    --------
    >>> import proda
    >>> model = proda.load_model("compas")
    >>> model.parameters.loc["tau_mic", "unit"]
    'yr'
    """
    if name not in MODELS:
        raise ModelError(f"There is no model {name!r}; the models are {', '.join(MODELS)}.")
    return MODELS[name](variant=variant)
