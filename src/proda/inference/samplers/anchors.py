"""Draws near the posterior by solving for them: randomize, then optimize.

Equations: docs/theory.md#randomize-then-optimize. The misfit is a sum of squares of residuals r(z),
and the prior of z is the standard normal. At a place where the posterior density is largest (an
anchor), the singular vectors of dr/dz are the directions V that the data determine, with
the singular values S. A draw takes all other directions from the prior, and along V solves

    (a + S U' r(z)) / sqrt(1 + S^2) = xi,    a = V' z,    xi ~ N(0, 1),

for a, from where the anchor is. Were r linear, this would be a draw of the posterior. As it is not,
its density is that of xi and of the other directions times the determinant of the left side's
derivative, and draws are weighted by the posterior over it (Bardsley et al. 2014; Wang et al.
2017).

The equation may have several solutions, of which the solver finds one, or none. So a place has a
density only where the solver, given what it has of the place, comes back to it. Of several anchors
the nearest that does counts alone: the others need not be asked in most places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from proda.inference.samplers.small_matrices import determinant

DIRECTIONS = 4
"""Most directions along which a place is solved for; the data determine others hardly."""
SOLVER_STEPS = 12
"""Most steps of the solver."""
TOLERANCE = 1e-3
"""Largest error of xi at which a place is solved. The density is that of the xi it has."""
FEWER = 3
"""Once the places that are not solved are a third, the solver computes these alone..."""
WORTHWHILE = 300
"""... if there were at least so many at first: fewer columns at once cost more each."""
PART = 50
"""Places of which it is asked together whether an anchor comes back to them."""
LATER = 1e12
"""Added to the distance of later anchors."""
LONGEST = 1.0
"""Longest step of the solver along a direction, in standard deviations of the prior."""
SAME = 1e-2
"""Distance along each direction below which the solver has come back to a place."""
NUDGE = 1e-5
"""Step of the finite differences of residuals."""

Judge = Callable[[Any], tuple[Array, Array]]
"""Return log-likelihoods (place,) and residuals (place, residual) of places (place, parameter)."""


class Anchors(eqx.Module):
    """Where draws are solved from. Leading axis: anchor, or the place that it is used for."""

    directions: Float[Array, "anchor parameter direction"]
    """V."""
    sharpness: Float[Array, "anchor direction"]
    """S."""
    mix: Float[Array, "anchor residual direction"]
    """U."""
    start: Float[Array, "anchor direction"]
    """a of the anchor itself."""
    later: Bool[Array, " anchor"]
    """Whether draws of it count only where none of the others come to."""

    def of(self, index: Int[Array, " place"]) -> Anchors:
        """Return the anchor of each place."""
        return jax.tree.map(lambda leaf: leaf[index], self)

    def along(self, z: Float[Array, "place parameter"]) -> Float[Array, "place direction"]:
        """Return a."""
        return jnp.einsum("nd,ndk->nk", z, self.directions)

    def away(self, z: Float[Array, "place parameter"]) -> Float[Array, "place parameter"]:
        """Return what of z is in the other directions."""
        return z - self.moved(self.along(z))

    def moved(self, a: Float[Array, "place direction"]) -> Float[Array, "place parameter"]:
        """Return V a."""
        return jnp.einsum("nk,ndk->nd", a, self.directions)

    def is_at(
        self, a: Float[Array, "place direction"], z: Float[Array, "place parameter"]
    ) -> Bool[Array, " place"]:
        """Return whether solutions are at places."""
        return jnp.abs(a - self.along(z)).max(axis=1) < SAME

    def side(
        self, a: Float[Array, "place direction"], residuals: Float[Array, "place residual"]
    ) -> Float[Array, "place direction"]:
        """Return the left side of the equation."""
        misfit = jnp.einsum("nm,nmk->nk", residuals, self.mix)
        return (a + self.sharpness * misfit) / jnp.sqrt(1.0 + self.sharpness**2)

    def xi_at(
        self, z: Float[Array, "place parameter"], residuals: Float[Array, "place residual"]
    ) -> Float[Array, "place direction"]:
        """Return xi of places, of which residuals are known."""
        return self.side(self.along(z), residuals)

    def slope(
        self, by_direction: Float[Array, "place residual direction"]
    ) -> Float[Array, "place direction direction"]:
        """Return the derivative of the left side by a, from that of the residuals."""
        misfit = jnp.einsum("nmk,nml->nlk", by_direction, self.mix)
        plain = jnp.eye(self.start.shape[-1]) + self.sharpness[:, :, None] * misfit
        return plain / jnp.sqrt(1.0 + self.sharpness**2)[:, :, None]


def differences(
    judge: Judge, z: Float[Array, "place parameter"], along: Float[Array, "place parameter n"]
) -> tuple[
    Float[Array, " place"], Float[Array, "place residual"], Float[Array, "place residual n"]
]:
    """Return log-likelihoods, residuals, and the derivatives of these along some directions.

    Finite differences: many columns of one program, faster here than forward derivatives. The
    log-likelihood is -inf where one of the columns has none.
    """
    every = jnp.concatenate([z[:, None], _nudged(z, along)], axis=1)
    value, residuals = _each(judge, every)
    possible = jnp.isfinite(value).all(axis=1)
    by = jnp.swapaxes((residuals[:, 1:] - residuals[:, :1]) / NUDGE, 1, 2)
    return jnp.where(possible, value[:, 0], -jnp.inf), residuals[:, 0], by


def derivatives(
    judge: Judge,
    z: Float[Array, "place parameter"],
    residuals: Float[Array, "place residual"],
    along: Float[Array, "place parameter n"],
) -> tuple[Bool[Array, " place"], Float[Array, "place residual n"]]:
    """Return whether there are derivatives along some directions, and these, of known residuals."""
    value, nudged = _each(judge, _nudged(z, along))
    by = jnp.swapaxes((nudged - residuals[:, None]) / NUDGE, 1, 2)
    return jnp.isfinite(value).all(axis=1), by


def _nudged(
    z: Float[Array, "place parameter"], along: Float[Array, "place parameter n"]
) -> Float[Array, "place n parameter"]:
    return z[:, None] + NUDGE * jnp.swapaxes(along, 1, 2)


def _each(judge: Judge, z: Float[Array, "place n parameter"]) -> tuple[Array, Array]:
    """Judge some places at each place: (place, n) and (place, n, residual)."""
    n, each, d = z.shape
    value, residuals = judge(z.reshape(-1, d))
    return value.reshape(n, each), residuals.reshape(n, each, -1)


class Solution(NamedTuple):
    """What the solver found. Leading axis: place."""

    a: Float[Array, "place direction"]
    log_likelihood: Float[Array, " place"]
    residuals: Float[Array, "place residual"]
    solved: Bool[Array, " place"]
    n_columns: Int[Array, ""]
    """Of the model, of all places."""


def solve(
    anchors: Anchors,
    away: Float[Array, "place parameter"],
    xi: Float[Array, "place direction"],
    judge: Judge,
    asked: Bool[Array, " place"],
) -> Solution:
    """Solve for a, by Broyden's method from the anchor and its derivative.

    Of many places, those that are not solved when most are go on by themselves.

    Parameters
    ----------
    asked
        Which places to solve for.
    """
    n, k = xi.shape
    start = Solving(
        jnp.zeros((), jnp.int32),
        anchors.start,
        jnp.full(n, -jnp.inf),
        jnp.zeros((n, anchors.mix.shape[1])),
        jnp.zeros((n, k)),
        jnp.full((n, k), jnp.inf),
        jnp.eye(k) / jnp.sqrt(1.0 + anchors.sharpness**2)[:, :, None],
        asked,
    )
    few = -(-n // FEWER) if n >= WORTHWHILE else 0
    most = _solved(start, anchors, away, xi, judge, few)
    if not few:
        return most.solution(n * most.number)
    index = jnp.argsort(~most.going(), stable=True)[:few]
    last, own_anchors, own_away, own_xi = (
        jax.tree.map(lambda leaf: leaf[index] if leaf.ndim else leaf, leaves)
        for leaves in (most, anchors, away, xi)
    )
    last = _solved(last, own_anchors, own_away, own_xi, judge, 0)
    every = jax.tree.map(
        lambda leaf, own: leaf.at[index].set(own) if leaf.ndim else own, most, last
    )
    return every.solution(n * most.number + few * (last.number - most.number))


def _solved(
    start: Solving,
    anchors: Anchors,
    away: Float[Array, "place parameter"],
    xi: Float[Array, "place direction"],
    judge: Judge,
    few: int,
) -> Solving:
    """Make steps until no more than `few` places are neither solved nor given up."""

    def body(now: Solving) -> Solving:
        going = now.going()
        a = jnp.where(going[:, None], now.a + now.step, now.a)
        value, residuals = judge(away + anchors.moved(a))
        off = anchors.side(a, residuals) - xi
        fine = jnp.isfinite(value) & jnp.isfinite(off).all(axis=1)
        better = _updated(now.root, now.step, off - now.off)
        use = going & fine
        root = jnp.where(
            (use & jnp.isfinite(better).all(axis=(1, 2)))[:, None, None], better, now.root
        )
        off = jnp.where(use[:, None], off, now.off)
        step = -jnp.einsum("nkl,nl->nk", root, off)
        longest = jnp.abs(step).max(axis=1, keepdims=True)
        step = step * jnp.minimum(1.0, LONGEST / jnp.maximum(longest, np.finfo(float).tiny))
        alive = jnp.where(going, fine, now.alive)
        return Solving(now.number + 1, a, value, residuals, step, off, root, alive)

    return jax.lax.while_loop(
        lambda now: (now.number <= SOLVER_STEPS) & (now.going().sum() > few), body, start
    )


class Solving(NamedTuple):
    """Where the solver is. Leading axis: place."""

    number: Int[Array, ""]
    a: Float[Array, "place direction"]
    log_likelihood: Float[Array, " place"]
    residuals: Float[Array, "place residual"]
    """At `a`."""
    step: Float[Array, "place direction"]
    """To where it goes next."""
    off: Float[Array, "place direction"]
    """Left side less right side at `a`; inf before anything is known."""
    root: Float[Array, "place direction direction"]
    """Inverse of the derivative of the left side."""
    alive: Bool[Array, " place"]
    """Whether all columns so far had a steady state."""

    def going(self) -> Bool[Array, " place"]:
        """Return which places are not solved, but may be."""
        return self.alive & (jnp.abs(self.off).max(axis=1) > TOLERANCE)

    def solution(self, n_columns: Int[Array, ""]) -> Solution:
        """Return where the solver is as what it found."""
        solved = self.alive & ~self.going()
        return Solution(self.a, self.log_likelihood, self.residuals, solved, n_columns)


def _updated(
    root: Float[Array, "place k k"], step: Float[Array, "place k"], change: Float[Array, "place k"]
) -> Float[Array, "place k k"]:
    """Return Broyden's next inverse of the derivative."""
    found = jnp.einsum("nkl,nl->nk", root, change)
    row = jnp.einsum("nk,nkl->nl", step, root)
    scale = (step * found).sum(axis=1)
    return root + (step - found)[:, :, None] * row[:, None, :] / scale[:, None, None]


def log_density(
    anchors: Anchors,
    z: Float[Array, "place parameter"],
    residuals: Float[Array, "place residual"],
    judge: Judge,
) -> Float[Array, " place"]:
    """Return the log-density of draws at places that were solved, -inf where there is none.

    Without the constant of the normal.
    """
    possible, by = derivatives(judge, z, residuals, anchors.directions)
    xi = anchors.xi_at(z, residuals)
    slope = jnp.abs(determinant(anchors.slope(by)))
    density = normal(anchors.away(z)) + normal(xi) + jnp.log(slope)
    return jnp.where(possible & jnp.isfinite(density), density, -jnp.inf)


def come_back(
    anchors: Anchors,
    index: Int[Array, " place"],
    z: Float[Array, "place parameter"],
    residuals: Float[Array, "place residual"],
    judge: Judge,
    asked: Bool[Array, " place"],
) -> tuple[Bool[Array, " place"], Int[Array, ""]]:
    """Return to which places the solver comes back, and how many columns were solved.

    Parameters
    ----------
    anchors, index
        All anchors, and which of them for each place.
    asked
        Of which places; these are computed together, `PART` at a time.
    """
    n = len(asked)
    size = min(PART, n)
    length = n + -n % size
    number = jnp.where(asked, jnp.cumsum(asked) - 1, length)  # a sort takes ten times as long
    order = jnp.full(length, n).at[number].set(jnp.arange(n), mode="drop")
    count = asked.sum()

    def part(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        back, columns = carry
        at = jax.lax.dynamic_slice(order, (i * size,), (size,))
        those = i * size + jnp.arange(size) < count
        own, place = anchors.of(index[at]), z[at]
        found = solve(own, own.away(place), own.xi_at(place, residuals[at]), judge, those)
        same = found.solved & own.is_at(found.a, place)
        at = jnp.where(those, at, n)
        return back.at[at].set(same, mode="drop"), columns + found.n_columns

    none = (jnp.zeros(n, bool), jnp.zeros((), jnp.int32))
    return jax.lax.fori_loop(0, -(-count // size), part, none)


def came_from(
    anchors: Anchors,
    n: Int[Array, ""],
    z: Float[Array, "place parameter"],
    residuals: Float[Array, "place residual"],
    judge: Judge,
    asked: Bool[Array, " place"],
) -> tuple[Int[Array, " place"], Int[Array, ""]]:
    """Return the nearest of the first `n` anchors that comes back to each place, -1 for none.

    Returns
    -------
    Which anchor, and how many columns were solved.
    """
    order = jnp.argsort(distances(anchors, n, z), axis=1)

    def ask(rank: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        found, columns = carry
        index = order[:, rank]
        back, more = come_back(anchors, index, z, residuals, judge, asked & (found < 0))
        return jnp.where(back, index, found), columns + more

    none = (jnp.full(len(z), -1, order.dtype), jnp.zeros((), jnp.int32))
    return jax.lax.fori_loop(0, n, ask, none)


def distances(
    anchors: Anchors, n: Int[Array, ""], z: Float[Array, "place parameter"]
) -> Float[Array, "place anchor"]:
    """Return how far places are from each of the first `n` anchors, inf for the others.

    Along V, squared, in standard deviations of the posterior. Later anchors are farther than all
    others.
    """
    along = jnp.einsum("nd,adk->nak", z, anchors.directions)
    far = ((along - anchors.start) ** 2 * (1.0 + anchors.sharpness**2)).sum(axis=2)
    far = jnp.where(anchors.later, far + LATER, far)
    return jnp.where(jnp.arange(len(anchors.start)) < n, far, jnp.inf)


def normal(x: Float[Array, "place n"]) -> Float[Array, " place"]:
    """Return the log-density of the standard normal without its constant."""
    return -0.5 * (x * x).sum(axis=1)
