"""How to cite the software and the method (CITATION.cff has the same in machine-readable form)."""

from __future__ import annotations

from importlib.metadata import version

AUTHORS = "The proda developers"
TITLE = "proda: process-guided, data-driven modelling of soil carbon"
ARTICLE_AUTHORS = (
    "Tao F",
    "Houlton BZ",
    "Huang Y",
    "Wang Y-P",
    "Manzoni S",
    "Ahrens B",
    "Mishra U",
    "Jiang L",
    "Huang X",
    "Luo Y",
)
ARTICLE_TITLE = (
    "Convergence in simulating global soil organic carbon by structurally different models after "
    "data assimilation"
)
ARTICLE_SOURCE = "EarthArXiv preprint"


def citations() -> tuple[str, str]:
    """Return the citations of the software, at its version, and of the study it implements."""
    return (
        f"{AUTHORS}. {TITLE}, version {version('proda')}.",
        f"{', '.join(ARTICLE_AUTHORS)}. {ARTICLE_TITLE}. {ARTICLE_SOURCE}.",
    )
