"""Data beside carbon: readers, rules, matching, likelihood, and a run that fits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import proda
from proda import cli
from proda.errors import AssimilationError, ObservationError
from proda.forcing import Forcing
from proda.inference.assessment import assess
from proda.inference.assimilation_run import Run, create, open_posterior
from proda.inference.diagnostics.filter import Filter
from proda.inference.operator import observe
from proda.inference.padded_sites import assemble, with_streams
from proda.inference.problem import build_likelihood, build_problem, checked_settings, unanswered
from proda.inference.profiles import read_profiles
from proda.inference.runner import work
from proda.inference.stream_fit import data_of, narrowing, stream_fit
from proda.inference.target import Posterior
from proda.learning.contract_columns import example_forcing
from proda.models.model import Reason
from proda.models.registry import MODELS
from proda.observations.readers.israd_radiocarbon import read_israd
from proda.plots.streams import stream_scatter
from proda.radiocarbon.tracer_response import response, soil
from proda.streams.bulk_radiocarbon import RadiocarbonStream
from proda.streams.fractions import FractionsStream
from proda.streams.microbial_biomass import MicrobialBiomassStream
from proda.streams.registry import STREAMS
from proda.streams.respiration import SD_INPUT, RespirationStream
from proda.streams.stream import KEPT, Rows, Stream
from proda.streams.table import NO_SITE, build, read
from proda.study.report.sections.assimilation import _of_streams
from tests.assimilation_worlds import names, write_atmosphere, write_forcing, write_profiles
from tests.conftest import HERE

TWO_POOL = f"{HERE.parent / 'examples' / 'two_pool.py'}:TwoPool"


@pytest.fixture(scope="module")
def air(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_atmosphere(tmp_path_factory.mktemp("air") / "air.csv")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    return write_profiles(folder / "profiles"), write_forcing(folder / "sites.nc")


def layer(**changes: Any) -> dict[str, Any]:
    """A row of a table of radiocarbon that every rule keeps."""
    whole = {"profile_id": "a", "lat": 50.0, "lon": 10.0, "upper_depth": 0.0, "lower_depth": 0.1}
    return whole | {"year": 2005.5, "delta_14c": -40.0, "fraction_modern": np.nan} | changes


def reasons_of(stream: Stream, table: pd.DataFrame, path: Path) -> list[str]:
    table.to_csv(path, index=False)
    rows = Rows(stream.read(path))
    stream.judge(rows)
    assert set(rows.reason) <= {*stream.reasons, KEPT}
    assert len(rows.reason) == len(table)
    return rows.reason.tolist()


def test_wrong_radiocarbon_is_caught_by_its_rule(air: str, tmp_path: Path) -> None:
    modern = np.exp((2005.5 - 1950.0) / 8267.0) * 0.96
    rows = {
        "kept": layer(),
        "no_value": layer(delta_14c=np.nan),
        "depth_missing": layer(lower_depth=np.inf),
        "litter": layer(upper_depth=-0.05, lower_depth=0.0),
        "no_thickness": layer(lower_depth=0.0),
        "year_missing": layer(year=np.nan),
        "before_bomb": layer(year=1951.0),
        "after_record": layer(year=2035.0),
        "years_bp": layer(delta_14c=3450.0),
        "impossible": layer(delta_14c=-1200.0),
        "units_disagree": layer(delta_14c=-40.0, fraction_modern=0.6),
        "treated": layer(treated=True),
        "peatland": layer(peatland=True),
        "permafrost": layer(permafrost=True),
        "cultivated": layer(cultivated=True),
        "repeated": layer(delta_14c=-60.0),
    }
    table = pd.DataFrame(list(rows.values()))
    table.loc[1, "fraction_modern"] = np.nan
    found = reasons_of(RadiocarbonStream(atmosphere=air), table, tmp_path / "table.csv")
    assert found == list(rows)
    # A value given as fraction modern alone is converted, and one that agrees is kept.
    both = pd.DataFrame(
        [
            layer(delta_14c=np.nan, fraction_modern=modern),
            layer(profile_id="b", fraction_modern=modern),
        ]
    )
    path = tmp_path / "modern.csv"
    assert reasons_of(RadiocarbonStream(atmosphere=air), both, path) == ["kept", "kept"]
    np.testing.assert_allclose(RadiocarbonStream().read(path)["value"], -40.0, atol=1e-6)
    # Fraction modern in the column of permil: the profile lies between 0 and 2.
    wrong = pd.DataFrame([layer(delta_14c=d) for d in (1.05, 0.93, 0.71)])
    wrong["upper_depth"], wrong["lower_depth"] = [0.0, 0.1, 0.2], [0.1, 0.2, 0.3]
    assert set(reasons_of(RadiocarbonStream(atmosphere=air), wrong, path)) == {"fraction_modern"}
    with pytest.raises(ObservationError, match="--atmosphere"):
        RadiocarbonStream().judge(Rows(RadiocarbonStream().read(path)))


def test_israd_keeps_its_traps_apart(air: str, tmp_path: Path) -> None:
    (tmp_path / "site.csv").write_text("entry_name,site_name,site_lat,site_long\nE,S,45,7\n")
    (tmp_path / "profile.csv").write_text(
        "entry_name,site_name,pro_name,pro_lat,pro_long,pro_treatment,pro_peatland,pro_permafrost,"
        "pro_land_cover,pro_water_body\n"
        "E,S,good,,,control,,,forest,\nE,S,treated,45.1,7.1,treatment,,,forest,\n"
        "E,S,peat,,,,yes,,,\nE,S,field,,,,,,cultivated,\n"
    )
    (tmp_path / "layer.csv").write_text(
        "entry_name,site_name,pro_name,lyr_name,lyr_obs_date_y,lyr_rc_year,lyr_top,lyr_bot,"
        "lyr_all_org_neg,lyr_14c,lyr_fraction_modern,lyr_c_org,lyr_c_tot,lyr_c_inorg\n"
        "E,S,good,g1,2000,2006,0,10,,50,,3,,\n"
        "E,S,good,g2,2000,2006,10,30,,,0.9,1,,\n"
        "E,S,good,g3,2000,2006,-5,0,yes,90,,40,,\n"
        "E,S,good,g4,2000,2006,30,50,,,,1,,\n"
        "E,S,treated,t1,2000,,0,10,,50,,3,,\n"
        "E,S,peat,p1,2000,,0,10,,50,,3,,\n"
        "E,S,field,f1,2000,,0,10,,50,,3,,\n"
        "E,S,good,g5,2000,,50,60,,50,,45,,\n"
    )
    found = read_israd(tmp_path)
    assert len(found) == 7  # g4 has no radiocarbon
    rows = Rows(found)
    RadiocarbonStream(atmosphere=air).judge(rows)
    assert rows.reason.tolist() == [
        *("kept", "kept", "litter", "treated", "peatland", "cultivated", "organic")
    ]
    kept = rows.kept
    assert kept["year"].tolist() == [2000.5, 2000.5]  # of sampling, not of the laboratory
    assert kept["lat"].tolist() == [45.0, 45.0]
    assert kept["source_id"].tolist() == ["E/S/good"] * 2
    np.testing.assert_allclose(
        kept["value"].iloc[1], 1000 * (0.9 * np.exp(-50 / 8267) - 1), atol=1e-6
    )
    np.testing.assert_allclose(kept[["upper", "lower"]], [[0.0, 0.1], [0.1, 0.3]])


def test_other_sources_are_judged(tmp_path: Path) -> None:
    xu = pd.DataFrame(
        {
            "Biome": ["Forest", "Cropland", "Forest", "Forest", "Forest", "Forest"],
            "Latitude": [50.0, 50, 50, 50, np.nan, 50],
            "Longitude": 10.0,
            "Upper_depth": 0.0,
            "Lower_depth": [10.0, 10, 10, np.nan, 10, 10],
            "Soil_microbial_biomass_carbon": [50.0, 50, 2000, 50, 50, np.nan],
            "Soil_organic_carbon": 2500.0,
        }
    )
    found = reasons_of(MicrobialBiomassStream(), xu, tmp_path / "xu.csv")
    missing = ["depth_missing", "coordinates_missing", "no_value"]
    assert found == ["kept", "cultivated", "impossible", *missing]
    assert MicrobialBiomassStream().read(tmp_path / "xu.csv")["value"][0] == pytest.approx(0.02)
    srdb = pd.DataFrame(
        {
            "Latitude": 50.0,
            "Longitude": 10.0,
            "Study_midyear": 2001.5,
            "Rh_annual": [420.0, 400, 410, 9000, np.nan],
            "Manipulation": ["None", "Fertilized", "", "None", "None"],
            "Quality_flag": ["", "", "Q02", "", ""],
            "Duplicate_record": "",
            "Ecosystem_type": "Forest",
        }
    )
    found = reasons_of(RespirationStream(), srdb, tmp_path / "srdb.csv")
    assert found == ["kept", "treated", "flagged", "impossible", "no_value"]
    georgiou = pd.DataFrame(
        {
            "Lat": 50.0,
            "Lon": 10.0,
            "Year": 2010,
            "Top.depth": [0.0, 0, 0],
            "Bottom.depth": [10.0, 10, np.nan],
            "Bulk.C": [20.0, 20, 20],
            "SiltClayC": [14.0, 30, 14],
            "POM_C": [6.0, 6, 6],
        }
    )
    found = reasons_of(FractionsStream(), georgiou, tmp_path / "moc.csv")
    assert found == ["kept", "recovery", "depth_missing"]
    with pytest.raises(ObservationError, match="lacks the columns"):
        RespirationStream().read(tmp_path / "xu.csv")


def test_every_model_answers_or_says_why() -> None:
    for model in (kind() for kind in MODELS.values()):
        assert RadiocarbonStream().lacking(model) == RespirationStream().lacking(model) == ""
        assert bool(MicrobialBiomassStream().lacking(model)) == (not model.microbial_pools)
    assert "no pool of microbes" in MicrobialBiomassStream().lacking(proda.load_model("clm5"))
    assert "mineral" in FractionsStream().lacking(proda.load_model("rothc"))


def tables(world: tuple[Path, Path], folder: Path, air: str) -> dict[str, str]:
    """Build a table of each stream at the first sites of the world."""
    sites = pd.read_parquet(world[0] / "profiles.parquet").set_index("profile_id")
    here, there = sites.loc[names()[0]], sites.loc[names()[1]]
    place = {"lat": here.lat, "lon": here.lon, "year": 2008.5}
    depth = {"upper_depth": 0.0, "lower_depth": 0.15}
    given: dict[str, list[dict[str, Any]]] = {
        "radiocarbon": [
            layer(profile_id=names()[0], delta_14c=30.0),
            layer(profile_id=names()[0], upper_depth=0.3, lower_depth=0.5, delta_14c=-150.0),
            layer(profile_id="of nobody", lat=there.lat + 0.01, lon=there.lon, delta_14c=-20.0),
            layer(profile_id="far away", lat=-89.0, lon=0.0, delta_14c=-25.0),
        ],
        "microbial_biomass": [place | depth | {"mbc_over_soc": 0.02}],
        "respiration": [place | {"rh_annual": 300.0}, place | {"rh_annual": 420.0}],
        "fractions": [place | depth | {"maoc_share": 0.7}],
    }
    result = {}
    for name, rows in given.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        kind = STREAMS[name]
        stream = kind(atmosphere=air) if kind is RadiocarbonStream else kind()
        made = build(stream, path, world[0], folder / name)
        assert sum(made.counts.values()) == len(rows)
        result[name] = str(folder / name)
    assert read(result["radiocarbon"]).made.counts == {NO_SITE: 1, KEPT: 3}
    assert read(result["radiocarbon"]).made.matched == {"profile": 2, "cell": 1}
    return result


@pytest.fixture(scope="module")
def built(
    world: tuple[Path, Path], air: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return tables(world, tmp_path_factory.mktemp("tables") / "of", air)


def test_the_likelihood_is_the_sum_over_all_data(
    world: tuple[Path, Path], built: dict[str, str]
) -> None:
    model = proda.load_model("compas")
    profiles = read_profiles(world[0])
    forcing = Forcing.from_dataset(proda.example_columns())
    opened = [read(folder) for folder in built.values()]
    streams = tuple(table.stream for table in opened)
    carbon = assemble(profiles, forcing, "layer_mean")
    every = with_streams(carbon, profiles.site, forcing, opened)
    likelihood = build_likelihood(checked_settings(model="compas"))

    def told(u: Any, site: Any, with_: Any) -> Any:
        posterior = Posterior(model, likelihood, site, with_)
        state = model.steady_state(posterior.values(u), site.column)
        given = (model, state.pools, posterior.values(u), site.column)
        carbon14 = response(*given, streams[0].basis, soil(model))
        return posterior.predict(u), posterior.log_likelihood(u), state, carbon14

    plain = Posterior(model, likelihood, jax.tree.map(lambda leaf: leaf[0], carbon))
    n = len(Posterior(model, likelihood, plain.site, streams).rows)
    assert n == len(model.rows) + 4  # three errors and the input factor; CLM5 alone has alpha
    u = np.full((6, n), 0.5)
    # An input factor of 1, so that the steady state is that of the forcing.
    factor = [row.name for row in Posterior(model, likelihood, plain.site, streams).rows]
    k = factor.index("input_factor")
    u[:, k] = (1.0 - 0.3) / 2.7
    predicted, total, state, carbon14 = jax.jit(jax.vmap(lambda u, s: told(u, s, streams)))(
        u, every
    )
    alone = np.asarray(predicted.pointwise).sum(axis=1)
    prior = stats.norm(0.0, SD_INPUT).logpdf(0.0)
    # Sites 2-5 have carbon alone.
    np.testing.assert_allclose(np.asarray(total)[2:], alone[2:] + prior, rtol=1e-12)
    rows = {row.name: row for row in Posterior(model, likelihood, plain.site, streams).rows}
    middle = {name: row.middle for name, row in rows.items()}
    wanted = alone + prior
    table = opened[0].rows
    grid, pools = forcing.grid, np.asarray(state.pools)
    by_row = {}
    for i, site in enumerate(profiles.site):
        for row in table[table["site"] == site].itertuples():
            share = grid.thickness_within(row.upper, row.lower) / grid.thickness
            history = np.array([getattr(row, f"extra_{j}") for j in range(9)])
            x = share @ (np.asarray(state.soil_carbon)[i] * grid.thickness)
            delta = 1000.0 * (share @ (history @ np.asarray(carbon14)[i]) / x - 1.0)
            by_row[i, row.upper] = delta
            wanted[i] += stats.t(4, loc=row.value, scale=middle["radiocarbon_error"]).logpdf(delta)
    share = grid.thickness_within(0.0, 0.15)
    microbes = share @ pools[0, model.pools.index("MIC")]
    soils = share @ pools[0, 4:].sum(axis=0)
    sd = middle["microbial_biomass_error"]
    wanted[0] += stats.lognorm(sd, scale=microbes / soils).logpdf(0.02)
    maoc = soils / (soils + share @ pools[0, 2:4].sum(axis=0))
    logit = np.log(0.7 / 0.3) - np.log(maoc / (1.0 - maoc))
    wanted[0] += stats.norm(0, middle["fractions_error"]).logpdf(logit) - np.log(0.7 * 0.3)
    respired = forcing.litter_input[0].sum()
    wanted[0] += stats.lognorm(0.3, scale=respired).logpdf([300.0, 420.0]).sum()
    np.testing.assert_allclose(np.asarray(total), wanted, rtol=1e-9)
    first = np.asarray(predicted.streams["radiocarbon"][0])[0, :2]
    np.testing.assert_allclose(first, [by_row[0, 0.0], by_row[0, 0.3]], rtol=1e-9)


def test_a_run_fits_streams_and_says_which_it_cannot(
    world: tuple[Path, Path], built: dict[str, str], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"warm_up": 5, "kept": 5, "replicas": 2}
    streams = {name: built[name] for name in ("respiration", "microbial_biomass")}
    settings = checked_settings(
        model=TWO_POOL, sampler="tempered", options=options, draws=5, chains=1, streams=streams
    )
    run = create(tmp_path / "run", settings, *world, block_size=3)
    assert "no pool of microbes" in unanswered(run.settings)["microbial_biomass"]
    work(run)
    _, found = open_posterior(run.folder)
    assert found.attrs["streams"] == "respiration"
    assert "no pool of microbes" in found.attrs["streams_not_answered"]
    assert found["parameter"].to_numpy()[-1] == "input_factor"
    assert found["row_respiration_observed"].to_numpy().tolist() == [300.0, 420.0]
    assert found["n_respiration"].sel(site=names()[0]) == 2
    assert np.isfinite(found["row_respiration_modelled"]).all()
    assert (found["n_respiration"].drop_sel(site=names()[0]) == 0).all()
    factor = found["posterior_mean"].sel(parameter="input_factor", site=names()[0])
    respired = example_forcing().litter_input[0].sum() * float(factor)
    np.testing.assert_allclose(found["row_respiration_modelled"], respired, rtol=1e-6)
    # Carbon alone keeps its settings as they were.
    assert "streams" not in checked_settings(model="clm5").model_dump_json()
    # A table that was built again is another one.
    rows = pd.read_csv(Path(built["respiration"]).parent / "respiration.csv")
    rows.assign(rh_annual=500.0).to_csv(tmp_path / "other.csv", index=False)
    build(RespirationStream(), tmp_path / "other.csv", world[0], built["respiration"])
    with pytest.raises(AssimilationError, match="rebuilt"):
        _ = Run(run.folder).stream_tables


def test_what_is_held_out_is_predicted_but_not_fitted(
    world: tuple[Path, Path], built: dict[str, str], tmp_path: Path
) -> None:
    """In both directions; the density is that of the other data, the summary has all.

    With a model of two pools, whose programs compile faster than those of CLM5 and COMPAS.
    """
    profiles = read_profiles(world[0])
    forcing = Forcing.from_dataset(proda.example_columns())
    streams = {name: built[name] for name in ("radiocarbon", "respiration")}
    opened = [read(folder) for folder in streams.values()]
    sites = with_streams(assemble(profiles, forcing, "layer_mean"), profiles.site, forcing, opened)

    def total(*held_out: str) -> np.ndarray:
        problem = build_problem(
            checked_settings(model=TWO_POOL, streams=streams, held_out=held_out)
        )
        n = len(problem.target(sites).rows)
        u = jnp.full((len(profiles), n), 0.5)
        of = eqx.filter_jit(jax.vmap(lambda u, site: problem.target(site).log_likelihood(u)))
        if not held_out:  # as the sampler rto has it
            first = problem.target(jax.tree.map(lambda leaf: leaf[0], sites))
            value, residuals = eqx.filter_jit(lambda u: first.residuals(u))(u[:1])
            np.testing.assert_allclose(value[0], of(u, sites)[0], rtol=1e-12)
            assert residuals.shape == (1, sites.measured.mask.shape[1])
        return np.asarray(of(u, sites))

    every, carbon = total(), total("radiocarbon", "respiration")
    np.testing.assert_allclose(every[2:], carbon[2:], rtol=1e-12)  # sites of carbon alone
    assert (every[:2] != carbon[:2]).all()
    alone, rest = total("carbon"), total("carbon", "respiration")
    prior = stats.lognorm(SD_INPUT).logpdf(1.65)  # of the input factor, which remains
    np.testing.assert_allclose(alone[2:], prior, rtol=1e-12)
    np.testing.assert_allclose(alone - prior + carbon, every, rtol=1e-12)
    assert rest[0] != alone[0]
    np.testing.assert_allclose(rest[1:], alone[1:], rtol=1e-12)
    with pytest.raises(AssimilationError, match="no data"):
        checked_settings(held_out=["carbon"])
    with pytest.raises(AssimilationError, match="not among the data"):
        checked_settings(held_out=["respiration"])

    options: dict[str, Any] = {"warm_up": 5, "kept": 5, "replicas": 2}
    settings = checked_settings(
        model=TWO_POOL,
        sampler="tempered",
        options=options,
        draws=5,
        chains=1,
        streams=streams,
        held_out=["carbon"],
    )
    run = create(tmp_path / "run", settings, *world, block_size=3)
    work(run)
    _, found = open_posterior(run.folder)
    assert found.attrs["held_out"] == "carbon"
    assert np.isfinite(found["row_modelled"]).sum() == found["row_used"].sum() > 0
    assert np.isfinite(found["row_radiocarbon_modelled"]).all()
    assert "elpd_loo" not in found
    row = stream_fit(found).set_index("stream").loc["radiocarbon"]
    modelled, observed = (
        found[f"row_radiocarbon_{n}"].to_numpy() for n in ("modelled", "observed")
    )
    assert row["fitted"]
    assert row["values"] == 3
    assert row["sites"] == 2
    assert row["rmse"] == pytest.approx(np.sqrt(((modelled - observed) ** 2).mean()))
    assert data_of(found) == "radiocarbon and respiration"
    assert stream_fit(found).set_index("stream").loc["respiration", "scale"] == "log"
    old = found["mean_age_0_100_quantile"]
    assert (old.diff("quantile") >= 0.0).all()
    figure = stream_scatter(found)
    assert [axis.get_xlabel() for axis in figure.axes] == [
        "measured Δ$^{14}$C (‰)",
        "measured heterotrophic respiration (g m$^{-2}$ yr$^{-1}$)",
    ]
    plt.close(figure)
    blocks = _of_streams("two_pool", assess(found, Filter()))
    assert [block.kind for block in blocks] == ["table"]
    told = CliRunner().invoke(
        cli.app, ["diagnose", str(run.folder), "--against", str(run.folder)], env={"COLUMNS": "160"}
    )
    assert told.exit_code == 0, told.output
    title = "radiocarbon and respiration, over radiocarbon and respiration"
    assert title in " ".join(told.output.split())
    assert (narrowing(found, found)["width"] == 1.0).all()
    assert narrowing(found, found)["quantity"].iloc[-1] == "mean age of 0-100 cm"
    with pytest.raises(AssimilationError, match="two runs of one model"):
        narrowing(found, found.assign_attrs(model="compas"))


def test_without_streams_the_program_is_that_of_carbon_alone(world: tuple[Path, Path]) -> None:
    """The same operations, one by one, so that the same draws come out, bit for bit."""
    profiles = read_profiles(world[0])
    forcing = Forcing.from_dataset(proda.example_columns())
    sites = assemble(profiles, forcing, "layer_mean")
    site = jax.tree.map(lambda leaf: leaf[0], sites)
    problem = build_problem(checked_settings(model="compas"))
    target = problem.target(site)

    def carbon_alone(u: Any) -> Any:
        values = target.values(u)
        state = problem.model.steady_state(values, site.column)
        where = (site.value_weight, site.slope_weight, site.column.nbedrock, site.column.grid)
        modelled = observe(state.soil_carbon, *where)
        total = problem.likelihood.pointwise(modelled, site.measured, values).sum()
        possible = (state.reason == Reason.FEASIBLE) & jnp.isfinite(total)
        return jnp.where(possible, total, -jnp.inf)

    u = jnp.full(len(problem.model.rows), 0.5)
    plain, ours = jax.make_jaxpr(carbon_alone)(u), jax.make_jaxpr(target.log_likelihood)(u)
    assert str(plain) == str(ours)


def test_settings_of_streams_are_checked(built: dict[str, str]) -> None:
    with pytest.raises(ObservationError, match="unknown stream"):
        checked_settings(streams={"nitrogen": "x"})
    with pytest.raises(ObservationError, match="a table of radiocarbon"):
        checked_settings(streams={"fractions": built["radiocarbon"]})
    with pytest.raises(AssimilationError, match="no probability density"):
        checked_settings(likelihood="published-clm5", streams={"radiocarbon": built["radiocarbon"]})


def test_the_command_counts_and_lists(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(cli.app, ["streams", *[str(a) for a in arguments]])

    listed = run("list")
    assert listed.exit_code == 0, listed.output
    assert all(name in listed.output for name in STREAMS)
    path = tmp_path / "rh.csv"
    sites = pd.read_parquet(world[0] / "profiles.parquet")
    place = {"lat": sites.lat[0], "lon": sites.lon[0], "year": 2000.0}
    pd.DataFrame([place | {"rh_annual": r} for r in (300.0, -9999.0)]).to_csv(path, index=False)
    done = run("build", "respiration", path, world[0], tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "impossible" in done.output
    assert "1 sites; 1 by cell" in done.output
    assert len(pd.read_parquet(tmp_path / "out" / "rejected.parquet")) == 1
    assert run("build", "respiration", path, world[0], tmp_path / "o", "--lag", "5").exit_code != 0
