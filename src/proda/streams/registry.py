"""The kinds of data by name. A new one is one file and one line here."""

from __future__ import annotations

from proda.streams.bulk_radiocarbon import RadiocarbonStream
from proda.streams.fractions import FractionsStream
from proda.streams.microbial_biomass import MicrobialBiomassStream
from proda.streams.respiration import RespirationStream
from proda.streams.stream import Stream

STREAMS: dict[str, type[Stream]] = {
    stream.name: stream
    for stream in (RadiocarbonStream, MicrobialBiomassStream, RespirationStream, FractionsStream)
}
