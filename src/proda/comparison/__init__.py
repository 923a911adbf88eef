"""Compare two or more models, with default and constrained parameters, and with the paper.

The comparison uses map files (:mod:`proda.maps`) and summaries of assimilations
(:mod:`proda.inference`); only the Michaelis constants at sites are simulated.
"""

from proda.comparison.compare_models import Comparison, compare_models, files_of_run
from proda.comparison.model_files import ModelFiles

__all__ = ["Comparison", "ModelFiles", "compare_models", "files_of_run"]
