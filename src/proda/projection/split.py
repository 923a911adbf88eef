"""The change of carbon split into the effects of input, turnover, both together and imbalance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

PARTS = ("from_input", "from_turnover", "from_product", "from_imbalance")
"""The parts; they add up to the change of all carbon."""


def turnover_time(
    carbon: Float[np.ndarray, "*n"], losses: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Return carbon over losses, years; NaN where nothing is lost."""
    there = losses > 0.0
    return np.where(there, carbon / np.where(there, losses, 1.0), np.nan)


def split_change(
    carbon: Float[np.ndarray, "*n"],
    losses: Float[np.ndarray, "*n"],
    carbon_input: Float[np.ndarray, "*n"],
    start: tuple[Float[np.ndarray, "*n"], ...],
) -> dict[str, Float[np.ndarray, "*n"]]:
    """Split the change of carbon since a steady state (Varney et al. 2020, 2023).

    With turnover time tau = carbon / losses and net uptake N = input - losses, carbon is
    (input - N) tau. Its change is tau0 dI (input) + I0 dtau (turnover) + dI dtau (product; some
    call it false priming, because more input into fast pools shortens the mean turnover time)
    - N tau (imbalance: what has not yet followed the input).

    Parameters
    ----------
    carbon, losses, carbon_input
        All carbon (kg m-2) and its flows (kg m-2 yr-1) at the time. Losses are CO2 and, where the
        model has others, those.
    start
        Carbon and carbon input of the steady state at the start.

    Returns
    -------
    dict
        :data:`PARTS`, kg m-2. Where nothing is lost, turnover counts as unchanged.
    """
    carbon0, input0 = start
    tau0 = turnover_time(carbon0, input0)
    tau = turnover_time(carbon, losses)
    tau0 = np.where(np.isnan(tau0), 0.0, tau0)
    tau = np.where(np.isnan(tau), tau0, tau)
    more, slower = carbon_input - input0, tau - tau0
    net = carbon_input - losses
    parts = (tau0 * more, input0 * slower, more * slower, -net * tau)
    return dict(zip(PARTS, parts, strict=True))
