"""Which component of a model determines its map, and the difference between two maps.

Equations: docs/theory.md#which-component-matters. Maps are computed again with some components as
they are and the others replaced; Shapley values attribute the differences to the components.
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
