"""Two or more models beside each other, before and after data assimilation, and beside the paper.

Everything here works on map files (:mod:`proda.maps`) and summaries of assimilations
(:mod:`proda.inference`); nothing is simulated but the Michaelis constants at sites.
"""

from proda.comparison.compare_models import Comparison, compare_models, files_of_run
from proda.comparison.model_files import ModelFiles

__all__ = ["Comparison", "ModelFiles", "compare_models", "files_of_run"]
