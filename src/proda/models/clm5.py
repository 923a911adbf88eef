"""CLM5: first-order decay of 7 pools in 20 layers (P-section 2.2; docs/theory.md#clm5)."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from proda.column.block_tridiagonal import LayerRates, solve_coupled_chains
from proda.column.column import Column
from proda.column.environment import climate_modifier, environment
from proda.column.tridiagonal import ChainRates
from proda.forcing import LITTER
from proda.models.litter import litter_steady_state
from proda.models.model import SteadyState, Transfers, Values
from proda.models.published_variant import PublishedModel
from proda.parameters import Parameter, parameter_rows

_S = "P-Table S1"
_SHARES = ("fs1s2", "fs1s3", "fs2s1", "fs3s1", "fs3s2")
"""Between soil pools; each is one number, or one for each layer."""


class CLM5(PublishedModel):
    """Soil carbon of the Community Land Model 5, microbes implicit in first-order rates."""

    name: ClassVar[str] = "clm5"
    tuned: ClassVar[bool] = True
    first_order: ClassVar[bool] = True
    title: ClassVar[str] = "CLM5: first-order decay, 7 pools x 20 layers"
    source: ClassVar[str] = "Lawrence et al. 2019; P-section 2.2"
    pools: ClassVar[tuple[str, ...]] = ("CWD", "ML", "CL", "LL", "aSOC", "sSOC", "pSOC")
    soil_pools: ClassVar[tuple[str, ...]] = ("aSOC", "sSOC", "pSOC")
    transported: ClassVar[tuple[str, ...]] = ("ML", "CL", "LL", "aSOC", "sSOC", "pSOC")
    fed_by_plants: ClassVar[tuple[str, ...]] = LITTER
    rows: ClassVar[tuple[Parameter, ...]] = parameter_rows(
        _S,
        r"""
        fs3s1     | f_{s3,s1}  | 1       | 0.0 0.05     | 0.004   | A  | [0, 1] layered | active to passive SOC
        fs3s2     | f_{s3,s2}  | 1       | 0.0 0.1      | 0.03    | A  | [0, 1] layered | slow to passive SOC
        fs2s1     | f_{s2,s1}  | 1       | 0.0 0.4      | nan     | A  | [0, 1] layered | active to slow SOC; default depends on sand
        fs2l3     | f_{s2,l3}  | 1       | 0.2 0.8      | 0.5     | A  | [0, 1] layered | lignin litter to slow SOC
        fs1l2     | f_{s1,l2}  | 1       | 0.2 0.8      | 0.5     | A  | [0, 1] layered | cellulose litter to active SOC
        fs1l1     | f_{s1,l1}  | 1       | 0.1 0.8      | 0.45    | A  | [0, 1] layered | metabolic litter to active SOC
        fs1s2     | f_{s1,s2}  | 1       | 0.1 0.74     | 0.42    | A  | [0, 1] layered | slow to active SOC
        fs1s3     | f_{s1,s3}  | 1       | 0.0 0.9      | 0.45    | A  | [0, 1] layered | passive to active SOC
        fl2cwd    | f_{l2,cwd} | 1       | 0.5 1.0      | 0.786   | A  | [0, 1]         | coarse woody debris to cellulose litter (CLM5's own file: 0.76)
        tau4s2    | \tau_{s2}  | yr      | 1.0 50.0     | 5.0     | K  |                | turnover of slow SOC
        tau4s3    | \tau_{s3}  | yr      | 200.0 1000.0 | 222.222 | K  |                | turnover of passive SOC
        tau4s1    | \tau_{s1}  | yr      | 0.0 1.0      | 0.1370  | K  |                | turnover of active SOC
        tau4l1    | \tau_{l1}  | yr      | 0.0 0.11     | 0.0541  | K  |                | turnover of metabolic litter
        tau4cwd   | \tau_{cwd} | yr      | 1.0 6.0      | 3.33    | K  |                | turnover of coarse woody debris
        tau4l2    | \tau_{l2}  | yr      | 0.1 0.3      | 0.2041  | K  |                | turnover of cellulose and lignin litter
        w_scaling | w          | 1       | 0.0 5.0      | 1.0     | xi |                | scaling of the water scalar
        q10       | Q_{10}     | 1       | 1.2 3.0      | 1.5     | xi | [0.1, inf)     | factor by which 10 K more speed up decomposition
        efolding  | z_e        | m       | 0.0 1.0      | 10.0    | xi |                | depth over which decomposition falls to 1/e (default outside the prior)
        cryo      | D_c        | m2 yr-1 | 3e-5 16e-4   | 0.0005  | V  |                | cryoturbation rate
        diffus    | D_b        | m2 yr-1 | 3e-5 5e-4    | 0.0001  | V  |                | bioturbation rate
        b         | b          | 1       | 0.5 0.9999   | nan     | B  | (0, 1)         | depth profile of carbon input; default by plant functional type
        """,  # noqa: E501
    )

    shares: ClassVar[tuple[tuple[str, ...], ...]] = (("fs2s1", "fs3s1"), ("fs1s2", "fs3s2"))

    def default_values(self, column: Column) -> dict[str, Float[Array, "..."]]:
        """Return the ad hoc values; b is NaN, as it depends on the plant functional type."""
        t = 0.85 - 0.0068 * (100.0 - column.sand)
        return super().default_values(column) | {"fs2s1": 1.0 - t - 0.004}

    def steady_state(self, parameters: Values, column: Column) -> SteadyState:
        """Solve litter, then the three soil pools together, layer by layer."""
        p = parameters
        env = environment(p["q10"], p["w_scaling"], p["efolding"], column)
        mix = self.mixing(p, column)
        litter = litter_steady_state(
            p["tau4l1"], p["tau4l2"], p["fl2cwd"], self.input_shares(p, column), env, mix, column
        )
        # Soil: states are q = stock / turnover time, so that rates are shares times the modifier.
        turnover = (p["tau4s1"], p["tau4s2"], p["tau4s3"])
        to_active = env.litter * (p["fs1l1"] * litter.metabolic + p["fs1l2"] * litter.cellulose)
        to_slow = env.litter * p["fs2l3"] * litter.lignin
        by_layer = {
            "shares": {name: p[name] for name in _SHARES if jnp.ndim(p[name]) > 0},
            "xi": env.soil,
            "up": mix.up,
            "down_above": mix.down_above,
            "leak": mix.leak,
            "source": (to_active, to_slow, jnp.zeros(len(column.grid))),
        }

        def rates(at: dict) -> LayerRates:
            xi, s = at["xi"], dict(p) | at["shares"]
            transfer = (
                (0.0, xi * s["fs1s2"], xi * s["fs1s3"]),
                (xi * s["fs2s1"], 0.0, 0.0),
                (xi * s["fs3s1"], xi * s["fs3s2"], 0.0),
            )
            chains = ChainRates(
                loss=[
                    xi * share + at["leak"] * tau
                    for share, tau in zip(_respired(s), turnover, strict=True)
                ],
                up=[at["up"] * tau for tau in turnover],
                down_above=[at["down_above"] * tau for tau in turnover],
                source=at["source"],
            )
            return LayerRates(transfer, chains)

        soil = solve_coupled_chains(by_layer, rates)
        stock = (
            p["tau4cwd"] * litter.cwd,
            p["tau4l1"] * litter.metabolic,
            p["tau4l2"] * litter.cellulose,
            p["tau4l2"] * litter.lignin,
            *(tau * q for tau, q in zip(turnover, soil, strict=True)),
        )
        co2 = env.litter * (
            (1.0 - p["fs1l1"]) * litter.metabolic
            + (1.0 - p["fs1l2"]) * litter.cellulose
            + (1.0 - p["fs2l3"]) * litter.lignin
        ) + env.soil * sum(share * q for share, q in zip(_respired(p), soil, strict=True))
        pools = jnp.stack([each / column.grid.thickness for each in stock])
        if self.published:
            # The leak of its scheme can make a pool negative; the published code sets it to 0.
            pools = jnp.maximum(pools, 0.0)
        return self.finish(pools, co2, ~litter.stuck, column)

    def transfers(
        self, pools: Float[Array, "pool layer"], parameters: Values, column: Column
    ) -> Transfers:
        """Return the terms of P-Eq 2-5; they do not depend on the state."""
        p = parameters
        env = environment(p["q10"], p["w_scaling"], p["efolding"], column)
        shares = self.input_shares(p, column)
        turnover = ("tau4cwd", "tau4l1", "tau4l2", "tau4l2", "tau4s1", "tau4s2", "tau4s3")
        rate = 1.0 / jnp.stack([p[name] for name in turnover])
        soil, litter = env.soil, env.litter
        return Transfers(
            input=self.litter_input(p, column),
            decay=jnp.broadcast_to(rate[:, None], pools.shape),
            modifier=jnp.stack([soil, litter, litter, litter, soil, soil, soil]),
            fraction={
                ("CL", "CWD"): p["fl2cwd"],
                ("LL", "CWD"): 1.0 - p["fl2cwd"],
                ("aSOC", "ML"): p["fs1l1"],
                ("aSOC", "CL"): p["fs1l2"],
                ("sSOC", "LL"): p["fs2l3"],
                ("sSOC", "aSOC"): p["fs2s1"],
                ("pSOC", "aSOC"): p["fs3s1"],
                ("aSOC", "sSOC"): p["fs1s2"],
                ("pSOC", "sSOC"): p["fs3s2"],
                ("aSOC", "pSOC"): p["fs1s3"],
            },
            transport=self.mixing(p, column),
            climate=climate_modifier(p["q10"], p["w_scaling"], p["efolding"], column),
            input_shares=shares,
        )


def _respired(shares: Values) -> tuple[Array, Array, Array]:
    """Return the shares of active, slow and passive carbon that become CO2."""
    s = shares
    return 1.0 - s["fs2s1"] - s["fs3s1"], 1.0 - s["fs1s2"] - s["fs3s2"], 1.0 - s["fs1s3"]
