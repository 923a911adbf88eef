"""Steady states of further models against equations typed here again and integrated to the end.

Nothing of the models' own code is used but their answer. The soil never thaws, as far as its depth
of thaw says, so that all carbon enters the first layer and nothing mixes: what litter hands on is
then the input itself.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

import proda
from proda.models.rothc import SOLID_CARBON
from tests.conftest import one_column, one_set, rough_forcing
from tests.test_model_contract import with_properties

COLUMNS = 100
DZ, NODE = 0.02, 0.01
MONTH = np.arange(12)


@functools.cache
def frozen_world():
    forcing = with_properties(rough_forcing(21, COLUMNS), 21)
    rng = np.random.default_rng(21)
    temperature = rng.uniform(270.0, 303.0, (COLUMNS, 1, 1)) + rng.uniform(
        -8.0, 8.0, (COLUMNS, 20, 12)
    )
    never = np.zeros((COLUMNS, 12))
    return dataclasses.replace(
        forcing,
        soil_temperature=temperature,
        w_scalar=np.clip(forcing.w_scalar, 0.1, 1.0),
        litter_input=rng.uniform(20.0, 400.0, (COLUMNS, 4)),
        altmax=never,
        altmax_lastyear=never,
    )


def drawn(model, seed):
    """Draw around the defaults, from a third of the way to each end of the prior."""
    rng = np.random.default_rng(seed)
    values = {}
    for row in model.rows:
        low = row.default - (row.default - row.lower) / 3.0
        high = row.default + (row.upper - row.default) / 3.0
        values[row.name] = rng.uniform(low, high, COLUMNS)
    return values


def site(forcing, i):
    """Return what the equations of layer 1 need: monthly drivers, input (g m-3 yr-1), soil."""
    cwd, ml, cl, ll = forcing.litter_input[i] / DZ
    wood = {"CL": 0.76 * cwd, "LL": 0.24 * cwd}
    return {
        "celsius": forcing.soil_temperature[i, 0] - 273.15,
        "w": forcing.w_scalar[i, 0],
        "o": forcing.o_scalar[i, 0],
        "cwd": cwd,
        "ml": ml,
        "fine": cl + ll,
        "structural": cl + ll + wood["CL"] + wood["LL"],
        "total": forcing.litter_input[i].sum(),
        **{name: values[i, 0] for name, values in forcing.properties.items()},
    }


def integrated(rate, start):
    """Return where implicit Euler steps that grow end; the Jacobian is by complex steps."""
    x = np.array(start, float)
    n = len(x)
    for years in np.geomspace(1e-3, 1e14, 120):
        old = x
        for _ in range(50):
            jacobian = np.empty((n, n))
            for j in range(n):
                moved = x.astype(complex)
                moved[j] += 1e-30j * max(x[j], 1e-12)
                jacobian[:, j] = np.imag(rate(moved)) / (1e-30 * max(x[j], 1e-12))
            step = np.linalg.solve(np.eye(n) - years * jacobian, years * np.real(rate(x)) + old - x)
            new = np.maximum(x + step, 0.1 * x)
            done = np.all(np.abs(new - x) <= 1e-13 * np.abs(new))
            x = new
            if done:
                break
    return x


def water(p, at):
    return np.minimum(1.0, p["w_scaling"] * at["w"])


def corpse(p, at):
    kelvin = at["celsius"] + 273.15
    inverse = (1.0 / 293.15 - 1.0 / kelvin) / 8.314e-3
    wet = water(p, at) * at["o"] * np.exp(-NODE / p["efolding"])
    v = np.array(
        [
            p[f"v_{c}"] * np.mean(np.exp(p[f"ea_{c}"] * inverse) * wet)
            for c in ("fast", "slow", "necro")
        ]
    )
    e = np.array([p[f"e_{c}"] for c in ("fast", "slow", "necro")])
    protect = np.array([p[f"p_{c}"] for c in ("fast", "slow", "necro")])
    protect = protect * (at["clay"] / 20.0) ** 0.48

    def rate(x):
        free, bound, m = x[:3], x[3:6], x[6]
        d = v * free * m / (m + p["kc"] * free.sum())
        death = (m - p["mic_min"] * free.sum()) / p["tau_mic"]
        into = np.array([at["ml"], at["structural"], 0.0]) + np.array([0, 0, 1]) * p["et"] * death
        exchange = protect * free - bound / p["tau_protected"]
        return np.concatenate([into - d - exchange, exchange, [(e * d).sum() - death]])

    return rate


def millennial(p, at):
    kelvin = at["celsius"] + 273.15
    s = water(p, at) * at["o"]
    air = p["k_a"] + (1 - p["k_a"]) * np.sqrt(1 - s**2)
    hot = lambda e: np.exp(-e / 8.314 * (1 / kelvin - 1 / 288.15))  # noqa: E731
    vpl, vlb = (
        np.mean(p["v_pl"] * hot(p["e_pl"]) * s),
        np.mean(p["v_lb"] * hot(p["e_lb"]) * s * air),
    )
    cue = np.mean(p["cue_ref"] - p["cue_t"] * (at["celsius"] - 15))
    s = s.mean()
    kaff = np.exp(-p["p1"] * at["ph"] - p["p2"])
    q = at["bulk_density"] * 0.86 * (at["clay"] + at["silt"])
    i = (at["ml"] + at["structural"]) / 365

    def rate(x):
        pom, low, agg, mic, maom = x
        eaten = vpl * pom * mic / (p["k_pl"] + mic)
        uptake = vlb * mic * low / (p["k_lb"] + low)
        sorbed = s * kaff * low * (1 - maom / q)
        freed, dead = maom / q, p["k_bd"] * mic**2
        broken, made, bound = p["k_b"] * s * agg, p["k_pa"] * s * pom, p["k_ma"] * s * maom
        return 365 * np.array(
            [
                p["p_i"] * i + p["p_a"] * broken - made - eaten,
                (1 - p["p_i"]) * i + eaten - sorbed + freed - uptake + (1 - p["p_b"]) * dead,
                bound + made - broken,
                cue * uptake - dead,
                sorbed - freed + p["p_b"] * dead - bound + (1 - p["p_a"]) * broken,
            ]
        )

    return rate


def mimics(p, at):
    """In native units, mg cm-3 and hours; the rate is returned in g m-3 and years."""
    clay, celsius = at["clay"] / 100, at["celsius"]
    wet = water(p, at) * at["o"]
    v = np.mean(np.exp(p["v_slope"] * celsius + p["v_int"]) * wet) * 1.25e-7
    k = np.mean(np.exp(p["k_slope"] * celsius + p["k_int"])) * 0.15625
    pscalar = 3 * np.exp(-2 * np.sqrt(clay))
    vr, vk = v * np.array([10, 2, 10]), v * np.array([3, 3, 2])
    kr = k / np.array([8, 2, 4 * pscalar])
    kk = k / np.array([2, 4, 6 * pscalar])
    fmet = at["ml"] / (at["ml"] + at["fine"])
    npp = min(1.3, max(0.6, np.sqrt(at["total"] / 100)))
    dr = p["death_r"] * np.exp(0.3 * fmet) * npp * wet.mean()
    dk = p["death_k"] * np.exp(0.1 * fmet) * npp * wet.mean()
    pr, pk = p["phys_r"] * np.exp(1.3 * clay), p["phys_k"] * np.exp(0.8 * clay)
    cr, ck = p["chem_r"] * np.exp(-3 * fmet), p["chem_k"] * np.exp(-3 * fmet)
    desorb = p["desorption"] * np.exp(-4.5 * clay)
    er = np.array([p["cue_rm"], p["cue_rs"], p["cue_rm"]])
    ek = np.array([p["cue_km"], p["cue_ks"], p["cue_km"]])
    im, is_ = at["ml"] / 1000 / 8760, at["structural"] / 1000 / 8760

    def rate(x):
        litm, lits, r, mk, phys, chem, avail = x / 1000
        food = np.array([litm, lits, avail])
        ur, uk = vr * r * food / (kr + r), vk * mk * food / (kk + mk)
        tr, tk = dr * r ** p["beta"], dk * mk ** p["beta"]
        oxidised = chem * (vr[1] * r / (6 * kr[1] + r) + vk[1] * mk / (6 * kk[1] + mk))
        return 8760e3 * np.array(
            [
                im * (1 - p["fi_m"]) - ur[0] - uk[0],
                is_ * (1 - p["fi_s"]) - ur[1] - uk[1],
                (er * ur).sum() - tr,
                (ek * uk).sum() - tk,
                im * p["fi_m"] + pr * tr + pk * tk - desorb * phys,
                is_ * p["fi_s"] + cr * tr + ck * tk - oxidised,
                (1 - pr - cr) * tr + (1 - pk - ck) * tk + oxidised + desorb * phys - ur[2] - uk[2],
            ]
        )

    return rate


def compas(kinetics):
    def equations(p, at):
        monthly = p["q10"] ** ((at["celsius"] - 25) / 10) * water(p, at) * at["o"]
        xi = monthly.mean() * np.exp(-NODE / 0.5)
        a, eta = p, p["eta_cl_ll"]
        cl = at["fine_cl"] + p["a_cl_cwd"] * at["cwd"]
        ll = at["fine_ll"] + (1 - p["a_cl_cwd"]) * at["cwd"]
        ml = at["ml"]
        u_doc = a["a_doc_ml"] * ml + a["a_doc_cl"] * cl
        u_soc = a["a_soc_ll"] * ll
        u_mic = (1 - a["a_doc_ml"]) * p["eta_ml"] * ml + (1 - a["a_doc_cl"]) * eta * cl
        u_mic = u_mic + (1 - a["a_soc_ll"]) * eta * ll

        def speed(s, c, reaction):
            if kinetics == "multiplicative":
                return s * c / p[f"taukm_{reaction}"]
            saturated = s + c if kinetics == "eca" else s
            return xi * s * c / (p[f"tau_{reaction}"] * (p[f"km_{reaction}"] * xi + saturated))

        def rate(x):
            doc, mic, enz, soc = x
            assimilated, decomposed = speed(doc, mic, "assim"), speed(soc, enz, "decom")
            dead = xi * mic / p["tau_mic"]
            if kinetics == "density":
                dead = dead * (mic / p["mic_reference"]) ** (p["beta"] - 1)
            made, decayed = xi * mic / p["tau_enz_prod"], xi * enz / p["tau_enz_decay"]
            return np.array(
                [
                    u_doc + (1 - a["a_soc_mic"]) * dead + decayed + decomposed - assimilated,
                    u_mic + p["eta_doc"] * assimilated - dead - made,
                    made - decayed,
                    u_soc + a["a_soc_mic"] * dead - decomposed,
                ]
            )

        return rate

    return equations


CASES = {
    "compas_multiplicative": (compas("multiplicative"), ["DOC", "MIC", "ENZ", "mSOC"]),
    "compas_eca": (compas("eca"), ["DOC", "MIC", "ENZ", "mSOC"]),
    "compas_density": (compas("density"), ["DOC", "MIC", "ENZ", "mSOC"]),
    "mimics": (mimics, ["LITm", "LITs", "MICr", "MICK", "SOMp", "SOMc", "SOMa"]),
    "corpse": (corpse, ["Ufast", "Uslow", "Unecro", "Pfast", "Pslow", "Pnecro", "MIC"]),
    "millennial": (millennial, ["POM", "LMWC", "AGG", "MIC", "MAOM"]),
}


@pytest.mark.parametrize("columns", [12, pytest.param(COLUMNS, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", list(CASES))
def test_steady_states_are_where_integration_ends(name, columns):
    """From half the answer, so that what is tested is that it attracts and that it is right."""
    equations, pools = CASES[name]
    model, forcing = proda.load_model(name), frozen_world()
    values = drawn(model, 4)
    found = proda.steady_state(model, values, forcing)
    exists = np.flatnonzero(found["reason"].to_numpy() == 0)
    assert len(exists) > 0.4 * COLUMNS
    expected = found["pool_carbon"].sel(pool=pools, layer=1).to_numpy()
    for i in exists[:columns]:
        at = site(forcing, i)
        at["fine_cl"], at["fine_ll"] = forcing.litter_input[i, 2:] / DZ
        rate = equations({key: value[i] for key, value in values.items()}, at)
        np.testing.assert_allclose(integrated(rate, 0.5 * expected[i]), expected[i], rtol=1e-9)


def test_rothc_solves_its_linear_system():
    """All layers with mixing, against one dense matrix."""
    model = proda.load_model("rothc")
    forcing = with_properties(rough_forcing(9, COLUMNS), 9)
    values = drawn(model, 9)
    found = proda.steady_state(model, values, forcing)
    # None exists where almost nothing decays, nor would dense algebra have the digits there.
    exists = np.flatnonzero(found["reason"].to_numpy() == 0)
    assert len(exists) > 30
    assert found["soil_carbon"].max() <= SOLID_CARBON
    dz, z = forcing.grid.thickness, forcing.grid.node
    for i in exists:
        p = {key: value[i] for key, value in values.items()}
        celsius = forcing.soil_temperature[i] - 273.15
        warm = np.where(
            celsius > -18.3, 47.9 / (1 + np.exp(106 / np.maximum(celsius + 18.3, 1.0))), 0
        )
        wet = warm * np.minimum(1, p["w_scaling"] * forcing.w_scalar[i]) * forcing.o_scalar[i]
        xi = wet.mean(axis=1) * np.exp(-p["decline"] * z)
        xi_n = (wet * forcing.n_scalar[i]).mean(axis=1) * np.exp(-p["decline"] * z)
        x = 1.67 * (1.85 + 1.6 * np.exp(-0.0786 * forcing.properties["clay"][i]))
        rates = np.stack(
            [
                xi / p["tau_cwd"],
                xi_n / p["tau_ml"],
                xi_n / p["tau_cl_ll"],
                xi_n / p["tau_cl_ll"],
                *(xi * p[f"k_{pool}"] for pool in ("dpm", "rpm", "bio", "hum")),
            ]
        )
        mixing = model.mixing(one_set(values, i), one_column(forcing, i))
        up, down = np.asarray(mixing.up), np.asarray(mixing.down)
        system = np.zeros((8, 20, 8, 20))
        layer = np.arange(20)
        for j in range(8):
            moves = float(j > 0)
            system[j, layer, j, layer] -= rates[j] + moves * (up + down)
            system[j, layer[:-1], j, layer[1:]] += moves * up[1:]
            system[j, layer[1:], j, layer[:-1]] += moves * down[:-1]
        for to, of, share in ((2, 0, 0.76), (3, 0, 0.24), (4, 1, 1.0), (5, 2, 1.0), (5, 3, 1.0)):
            system[to, layer, of, layer] += share * rates[of]
        for of in range(4, 8):
            system[6, layer, of, layer] += 0.46 / (1 + x) * rates[of]
            system[7, layer, of, layer] += 0.54 / (1 + x) * rates[of]
        source = np.zeros((8, 20))
        shares = np.asarray(model.input_shares(one_set(values, i), one_column(forcing, i)))
        source[:4] = forcing.litter_input[i][:, None] * shares
        leaving = np.diag(system.reshape(160, 160))  # 0 in ice that nothing enters
        inside = np.flatnonzero(np.tile(layer < forcing.nbedrock[i], 8) & (leaving < 0))
        matrix = system.reshape(160, 160)[np.ix_(inside, inside)]
        stock = np.linalg.solve(matrix, -source.ravel()[inside])
        ours = (found["pool_carbon"].to_numpy()[i] * dz).ravel()[inside]
        held = ours > 1e-9 * ours.max()
        np.testing.assert_allclose(stock[held], ours[held], rtol=1e-9)


def test_microbes_of_mimics_are_a_few_per_cent_of_soil_carbon(examples):
    """Science: section 13.3 has 1-8 %; here 5, 7, 9 and 7 % of 0-32 cm, at synthetic places."""
    forcing = with_properties(examples)
    clay = {**forcing.properties, "clay": np.full((6, 20), 20.0)}
    forcing = dataclasses.replace(forcing, properties=clay)
    model = proda.load_model("mimics")
    found = proda.steady_state(model, proda.default_parameters(model, forcing), forcing)
    assert (found["reason"] == 0).all()
    top = found["pool_carbon"].isel(layer=slice(0, 5), site=slice(2, 6))
    thickness = found["thickness"][:5]
    soil = (top.sel(pool=list(model.soil_pools)) * thickness).sum(("pool", "layer"))
    microbes = (top.sel(pool=["MICr", "MICK"]) * thickness).sum(("pool", "layer"))
    share = (microbes / soil).to_numpy()
    assert (share > 0.01).all()
    assert (share < 0.1).all()
