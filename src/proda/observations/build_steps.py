"""The steps of a build, with all rows in memory and every row counted with its outcome.

All rows fit in memory because the largest collection, WoSIS, has fewer than a million layers;
`benchmarks/wosis.py` measures the cost of larger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from proda.errors import ObservationError
from proda.observations import duplicates, meeting, pedotransfer, stock
from proda.observations.build_summary import KEPT, Count, Fit, Summary
from proda.observations.land import LandMask
from proda.observations.notes import collecting
from proda.observations.profile_settings import ProfileSettings
from proda.observations.quality import ProfileVerdict, judge
from proda.observations.readers.base import LAYER_FIELDS, PROFILE_FIELDS
from proda.observations.schema import (
    LAYER_COLUMNS,
    PROFILE_COLUMNS,
    REJECTED_COLUMNS,
    TableColumn,
    conform,
    write_frame,
)

Report = Callable[[str, int, int], None]
"""Called with (current step, amount done, total amount)."""
_MAX_LONELY = 10_000
"""Identifiers without a counterpart that are remembered, to name some of them."""


@dataclass
class Work:
    """Reads, judges, finds duplicates, fits, writes: one method per step, called in this order."""

    settings: ProfileSettings
    land: LandMask | None
    writers: dict[str, pq.ParquetWriter]
    report: Report
    counts: list[pd.DataFrame] = field(default_factory=list)
    given: list[pd.DataFrame] = field(default_factory=list)
    origins: pd.DataFrame = field(default_factory=pd.DataFrame)
    unmatched: int = 0
    notes: list[str] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)
    n_upwards: int = 0
    n_negative: int = 0
    lonely: dict[str, list[str]] = field(default_factory=dict)
    fits: list[Fit] = field(default_factory=list)

    def run(self, size: int) -> Summary:
        """Do all steps for sources of `size` bytes, and check that every row is accounted for."""
        with collecting() as self.notes:
            profiles, layers = self.read(size)
        profiles, layers = self._step("applying the rules", self.judge, profiles, layers)
        if profiles.empty:
            raise ObservationError(self._nothing_kept())
        kept_as = self.duplicates(layers)
        curve = self._step("fitting the pedotransfer function", self.fit, layers, kept_as)
        self._step("computing stocks", self.write, profiles, layers, curve, kept_as)
        summary = self.summary(curve)
        summary.check()
        return summary

    def _step(self, what: str, step: Callable[..., Any], *given: Any) -> Any:
        self.report(what, 0, 1)
        made = step(*given)
        self.report(what, 1, 1)
        return made

    def read(self, size: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the profiles and the layers of all sources."""
        done = 0
        tables: dict[str, list[pa.Table]] = {}
        for source in self.settings.source:

            def on_bytes(n: int, what: str = f"reading {source.name} (MB)") -> None:
                nonlocal done
                done += n
                self.report(what, min(done, size) >> 20, (size >> 20) + 1)

            for part in source.parts(on_bytes):
                if nulls := part.table.column("profile_id").null_count:
                    raise ObservationError(f"{nulls} rows of {part.kind} have no profile_id.")
                tables.setdefault(part.kind, []).append(part.table)
                if part.kind == "layers":
                    n = [len(part.table)]
                    one = pd.DataFrame({"level": ["layer"], "source": [source.name], "n": n})
                    self.given.append(one)
        profiles = _frame(tables.pop("profiles", []), PROFILE_FIELDS)
        layers = _frame(tables.pop("layers", []), LAYER_FIELDS)
        if values := tables.pop("values", None):
            layers, self.unmatched = _join(layers, pa.concat_tables(values).to_pandas())
        return profiles, layers

    def judge(
        self, profiles: pd.DataFrame, layers: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Apply the rules, and return the profiles and the layers that are kept."""
        ids = profiles.drop_duplicates("profile_id")
        self.given.append(
            ids.groupby("source").size().rename("n").reset_index().assign(level="profile")
        )
        verdict = judge(profiles, layers, self.settings.rules, self.land)
        profiles, layers = verdict.profiles, verdict.layers
        self._remember(verdict)
        dated = layers.groupby("profile_id")["year"].min()
        years = profiles["profile_id"].map(dated)
        profiles["year"] = profiles["year"].where(profiles["year"].notna(), years)
        profiles["group"] = profiles["collection"].where(
            profiles["collection"].notna(), profiles["source"]
        )
        about = profiles.set_index("profile_id")[["source", "collection", "group", "lat", "lon"]]
        layers = layers.join(about, on="profile_id")
        orphan = layers["source"].isna()
        if orphan.any():
            prefix = layers.loc[orphan, "profile_id"].str.split(":").str[0]
            layers.loc[orphan, "source"] = layers.loc[orphan, "group"] = prefix
        out_layers = layers["reason"].notna()
        out_profiles = profiles["reason"].notna()
        self._reject("profile", profiles[out_profiles].assign(by="profile"))
        self._reject("layer", layers[out_layers])
        return profiles[~out_profiles], layers[~out_layers]

    def _remember(self, verdict: ProfileVerdict) -> None:
        """Count the cases that the notes at the end report."""
        self.moved |= {str(name): float(t) for name, t in verdict.origin.moved.items()}
        self.n_upwards += int(verdict.origin.upwards.sum())
        self.n_negative += int(verdict.origin.negative.sum())
        for rows, reason in ((verdict.profiles, "no_layers"), (verdict.layers, "no_profile_row")):
            ids = self.lonely.setdefault(reason, [])
            profiles = rows.loc[rows["reason"] == reason, "profile_id"].unique()
            ids.extend(profiles[: _MAX_LONELY - len(ids)].tolist())

    def _nothing_kept(self) -> str:
        """Explain why no profile is left."""
        counts = pd.concat(self.counts) if self.counts else pd.DataFrame()
        lines = ["No profile is kept, so nothing is written."]
        for level in ("profile", "layer"):
            if not counts.empty and (own := counts[counts["level"] == level]).size:
                by = own.groupby("reason")["n"].sum().sort_values(ascending=False)
                reasons = ", ".join(f"{reason} {n:,}" for reason, n in by.items())
                lines.append(f"{level.capitalize()}s left out: {reasons}.")
        lines += [*self._notes_of_rows(), *self.notes]
        lines.append("The usual causes are wrong units and mismatched identifiers.")
        return " ".join(lines)

    def _notes_of_rows(self) -> list[str]:
        notes = []
        if self.moved:
            thickness = [100 * t for t in self.moved.values()]
            some = ", ".join(sorted(self.moved)[:3])
            low, high = f"{min(thickness):g}", f"{max(thickness):g}"
            range_ = low if low == high else f"{low} to {high}"
            notes.append(
                f"In {len(self.moved):,} profiles (such as {some}) depths are measured from the "
                "top of "
                f"the litter ({range_} cm thick): its "
                "thickness is subtracted from all depths, so that 0 is the mineral soil surface."
            )
        if self.n_upwards:
            notes.append(
                f"{self.n_upwards:,} layers written upwards from the mineral soil (such as 8 to "
                "4 cm) are counted as litter."
            )
        if self.n_negative:
            notes.append(
                f"{self.n_negative:,} layers belong to profiles whose depths are given as "
                "negative numbers; give depths as positive numbers (reason: depth_inverted)."
            )
        if any(self.lonely.values()):
            notes += meeting.notes(self.lonely["no_layers"], self.lonely["no_profile_row"])
        return notes

    def _reject(self, level: str, rows: pd.DataFrame) -> None:
        if rows.empty:
            return
        rows = rows.assign(level=level)
        self.counts.append(
            rows.groupby(["level", "source", "group", "by", "reason"])
            .size()
            .rename("n")
            .reset_index()
        )
        if self.writers:
            write_frame(self.writers["rejected"], rows, REJECTED_COLUMNS)

    def fit(self, layers: pd.DataFrame, kept_as: pd.Series) -> pedotransfer.Pedotransfer:
        """Compare the pedotransfer functions on all kept layers that have both, and choose."""
        chosen = self.settings.curve()
        curves = [pedotransfer.PAPER, pedotransfer.PAPER.per_cent_reading()]
        if chosen is not None and chosen != pedotransfer.PAPER:
            curves.append(chosen)
        fine, _ = stock.measured(layers)
        both = np.isfinite(fine) & layers["soc"].notna() & layers["stock_given"].isna()
        pairs = (both & ~layers["profile_id"].isin(kept_as.index)).to_numpy()
        soc, density = layers["soc"].to_numpy(float)[pairs], fine[pairs]
        errors: dict[str, tuple[float, ...]] = {}
        if len(soc) >= pedotransfer.MINIMUM_LAYERS or chosen is None:
            # Without layers this names what is missing, which is what the user must know.
            profile = pd.factorize(layers["profile_id"])[0][pairs]
            refit = pedotransfer.fit(soc, density, profile)
            errors[refit.name] = refit.errors
            curves.append(refit)
            chosen = chosen or refit
        if len(soc) >= pedotransfer.MINIMUM_LAYERS:
            table = pedotransfer.compare(curves, soc, density)
            self.fits = [Fit(**row, errors=errors.get(row["name"], ())) for row in _records(table)]
        if chosen is None:
            raise AssertionError("a curve is always chosen")
        return chosen

    def write(
        self,
        profiles: pd.DataFrame,
        layers: pd.DataFrame,
        curve: pedotransfer.Pedotransfer,
        kept_as: pd.Series,
    ) -> None:
        """Leave out duplicates, compute the stocks, write."""
        twice = profiles["profile_id"].isin(kept_as.index)
        gone = layers["profile_id"].isin(kept_as.index)
        detail = "kept: " + profiles.loc[twice, "profile_id"].map(kept_as).astype(str)
        why = {"reason": "duplicate", "by": "profile"}
        self._reject("profile", profiles[twice].assign(**why, detail=detail))
        self._reject("layer", layers[gone].assign(**why))
        self._keep(profiles[~twice], stock.add_stock(layers[~gone], curve))

    def duplicates(self, layers: pd.DataFrame) -> pd.Series:
        """Return the identifier kept, by identifier dropped."""
        starts = np.flatnonzero(~layers["profile_id"].duplicated().to_numpy())
        keys = duplicates.keys(layers.reset_index(drop=True), starts)
        own = layers.iloc[starts][["profile_id", "source", "group", "lat", "lon"]]
        index = pd.concat([own.reset_index(drop=True), keys], axis=1)
        prefer = {name: i for i, name in enumerate(self.settings.rules.prefer)}
        order = {source.name: i for i, source in enumerate(self.settings.source)}

        def place(group: str, source: str) -> tuple[int, int, str]:
            first = min(prefer.get(group, len(prefer)), prefer.get(source, len(prefer)))
            return first, order[source], group

        pairs = index[["group", "source"]].drop_duplicates().itertuples(index=False, name=None)
        ranks = {pair: i for i, pair in enumerate(sorted(pairs, key=lambda p: place(*p)))}
        rank = [ranks[p] for p in zip(index["group"], index["source"], strict=True)]
        return duplicates.find(index.assign(rank=rank, group=rank))

    def _keep(self, profiles: pd.DataFrame, layers: pd.DataFrame) -> None:
        for level, rows in (("profile", profiles), ("layer", layers)):
            self.counts.append(
                rows.groupby(["source", "group"])
                .size()
                .rename("n")
                .reset_index()
                .assign(level=level, by=level, reason=KEPT)
            )
        self.origins = layers.groupby(["group", "density_origin"]).size().rename("n").reset_index()
        thickness = layers["lower_depth"] - layers["upper_depth"]
        sums = pd.DataFrame(
            {
                "soc_stock": (layers["soc_stock"] * thickness).groupby(layers["profile_id"]).sum(),
                "n_estimated_density": (layers["density_origin"] == "pedotransfer")
                .groupby(layers["profile_id"])
                .sum(),
            }
        )
        if self.writers:
            profiles = profiles.join(sums, on="profile_id")
            write_frame(self.writers["profiles"], profiles, PROFILE_COLUMNS)
            write_frame(self.writers["layers"], layers, LAYER_COLUMNS)

    def summary(self, curve: pedotransfer.Pedotransfer) -> Summary:
        """Add up all counts."""
        counts = pd.concat(self.counts, ignore_index=True)
        by = ["level", "source", "group", "by", "reason"]
        total = counts.groupby(by)["n"].sum().reset_index()
        origins: dict[str, dict[str, int]] = {}
        for row in _records(self.origins):
            origins.setdefault(row["group"], {})[row["density_origin"]] = row["n"]
        read = pd.concat(self.given).groupby(["level", "source"])["n"].sum().reset_index()
        given: dict[str, dict[str, int]] = {}
        for row in _records(read):
            given.setdefault(row["level"], {})[row["source"]] = row["n"]
        notes = [*self._notes_of_rows(), *self.notes, *self._unknown_preferences(counts)]
        if self.land is None:
            notes.append("No land mask was given, so profiles in the sea were not detected.")
        if self.unmatched:
            notes.append(
                f"{self.unmatched} values of layer properties belong to no layer with a row in "
                "the table of carbon; they were not used."
            )
        return Summary(
            settings=self.settings.model_dump(mode="json"),
            land_mask=self.land.name if self.land else None,
            counts=[Count(**row) for row in _records(total)],
            given=given,
            density_origin=origins,
            pedotransfer=curve.name,
            constants=(curve.alpha, curve.beta, curve.gamma),
            fits=self.fits,
            notes=notes,
        )

    def _unknown_preferences(self, counts: pd.DataFrame) -> list[str]:
        known = {*counts["source"], *counts["group"]}
        unknown = [name for name in self.settings.rules.prefer if name not in known]
        if not unknown:
            return []
        return [
            f"rules.prefer names {', '.join(unknown)}, which is neither a source nor a "
            "collection "
            f"here; choose from {', '.join(sorted(known))}."
        ]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain dictionaries, NaN as None."""
    rows = frame.to_dict("records")
    return [{str(k): None if v != v else v for k, v in row.items()} for row in rows]


def _frame(tables: list[pa.Table], columns: tuple[TableColumn, ...]) -> pd.DataFrame:
    table = pa.concat_tables(tables) if tables else conform(pa.table({}), columns)
    return table.to_pandas()


def _join(layers: pd.DataFrame, values: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Fill the layers' properties from other files; also return how many rows found no layer."""
    key = ["profile_id", "layer_id"]
    if values[key].isna().any(axis=None):
        raise ObservationError("A row with a property of a layer lacks the layer's identifier.")
    names = [name for name in values.columns if name not in (*key, "rank")]
    values = values.dropna(subset=names, how="all")
    first = values.sort_values("rank", kind="stable").groupby(key)[names].first()
    joined = layers[key].join(first, on=key)
    layers = layers.copy()
    for name in names:
        layers[name] = layers[name].where(layers[name].notna(), joined[name])
    present = pd.MultiIndex.from_frame(layers[key])
    return layers, int((~first.index.isin(present)).sum())
