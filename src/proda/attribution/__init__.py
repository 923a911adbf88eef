"""Which component of a model makes its map what it is, and two maps differ.

Equations: docs/theory.md#which-component-matters. Maps are run again with some components as they
are and the others replaced; Shapley values share out what that changes.
"""

from proda.attribution.attribute import Attribution, attribute_maps
from proda.attribution.attribution_inputs import AttributedMap, SiteFiles, maps_of_run, sites_of_run

__all__ = [
    "AttributedMap",
    "Attribution",
    "SiteFiles",
    "attribute_maps",
    "maps_of_run",
    "sites_of_run",
]
