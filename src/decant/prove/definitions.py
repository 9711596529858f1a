"""What each sampler setting means, written a second time: one row after another, in float64, as its paper says it.

A cut says which tokens stay, and which lie so near the edge that rounding may decide. Nothing here is fast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

EDGE: Final = 1e-5  # relative distance from a threshold within which float32 may fall either way


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """stays_V, and edge_V: which of them, or of the others, rounding may decide."""

    stays_V: np.ndarray
    edge_V: np.ndarray


Cut = Callable[[np.ndarray, Any], Kept]
"""(logits_V, the setting's value): what stays."""


def law_of(logits_V: np.ndarray) -> np.ndarray:
    """Probabilities."""
    weights_V = np.exp(logits_V - logits_V.max())
    return weights_V / weights_V.sum()


def top_k(logits_V: np.ndarray, k: int) -> Kept:
    """The k largest logits, and what ties with the last of them."""
    least = sorted(logits_V.tolist(), reverse=True)[min(k, len(logits_V)) - 1]
    return _sure(logits_V >= least)


def top_p(logits_V: np.ndarray, mass: float) -> Kept:
    """A token stays while likelier ones together hold less than `mass`."""
    return _before(law_of(logits_V), -logits_V, mass)


def typical_p(logits_V: np.ndarray, mass: float) -> Kept:
    """A token stays while those of surprise nearer to the entropy together hold less than `mass`."""
    p_V = law_of(logits_V)
    far_V = np.abs(-_log(p_V) - _entropy(p_V))
    kept = _before(p_V, far_V, mass)
    last = far_V[kept.stays_V].max()
    return Kept(kept.stays_V, kept.edge_V | (np.abs(far_V - last) <= EDGE * (1 + last)))


def min_p(logits_V: np.ndarray, share: float) -> Kept:
    """A token stays that is at least `share` times as likely as the likeliest."""
    p_V = law_of(logits_V)
    return _above(p_V, share * p_V.max())


def epsilon_cutoff(logits_V: np.ndarray, cutoff: float) -> Kept:
    """A token stays that is at least as likely as `cutoff`; the likeliest always."""
    p_V = law_of(logits_V)
    return _above(p_V, min(cutoff, p_V.max()))


def eta_cutoff(logits_V: np.ndarray, cutoff: float) -> Kept:
    """A token stays that is at least as likely as the lesser of `cutoff` and sqrt(cutoff) exp(-H)."""
    p_V = law_of(logits_V)
    return _above(p_V, min(cutoff, cutoff**0.5 * np.exp(-_entropy(p_V)), p_V.max()))


def top_n_sigma(logits_V: np.ndarray, n: float) -> Kept:
    """A logit stays that lies at most n population deviations below the largest."""
    allowed = logits_V[np.isfinite(logits_V)]
    gap_V, most = logits_V.max() - logits_V, n * float(np.std(allowed))
    return Kept(gap_V <= most, np.abs(gap_V - most) <= EDGE * (1 + most))


def top_h(logits_V: np.ndarray, share: float) -> Kept:
    """The longest beginning of the likeliest tokens whose entropy, as a law of its own, is at most share * H."""
    p_V = law_of(logits_V)
    order = np.argsort(-logits_V, kind="stable")
    limit = share * _entropy(p_V)
    kept, near = 1, 0
    mass = weighed = 0.0  # of the first few: the sum of p, and of p log p
    for count, token in enumerate(order, 1):
        if p_V[token] == 0:
            break
        mass, weighed = mass + p_V[token], weighed + p_V[token] * np.log(p_V[token])
        entropy = np.log(mass) - weighed / mass
        if entropy > limit * (1 + EDGE) + EDGE:
            break
        near = count
        if entropy <= limit:
            kept = count
    stays_V, edge_V = np.zeros(len(p_V), dtype=bool), np.zeros(len(p_V), dtype=bool)
    stays_V[order[:kept]] = True
    edge_V[order[min(kept, near) - 1 : max(kept, near)]] = near != kept
    return Kept(stays_V, edge_V)


def xtc(logits_V: np.ndarray, probability: float, threshold: float) -> np.ndarray:
    """The law of a coin: with `probability` all tokens of at least `threshold` go but the least likely of them."""
    p_V = law_of(logits_V)
    top_V = p_V >= threshold
    if top_V.sum() < 2:
        return p_V
    left_V = np.where(top_V & (p_V > p_V[top_V].min()), 0.0, p_V)
    return (1 - probability) * p_V + probability * left_V / left_V.sum()


def temperature(logits_V: np.ndarray, tau: float) -> np.ndarray:
    """The law of the logits over tau; of 0 all on the first of the largest."""
    if tau == 0:
        return np.eye(len(logits_V))[int(logits_V.argmax())]
    return law_of(logits_V / tau)


CUTS: Final[Mapping[str, Cut]] = {
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
    "typical_p": typical_p,
    "epsilon_cutoff": epsilon_cutoff,
    "eta_cutoff": eta_cutoff,
    "top_h": top_h,
    "top_n_sigma": top_n_sigma,
}


def _before(p_V: np.ndarray, rank_V: np.ndarray, mass: float) -> Kept:
    """A token stays while those of lower rank together hold less than `mass`; equal ranks stay or go together."""
    order = np.argsort(rank_V, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(p_V[order])[:-1]])
    first = np.searchsorted(rank_V[order], rank_V[order])  # where tokens of equal rank begin
    before_V = np.empty_like(p_V)
    before_V[order] = sums[first]
    return Kept(before_V < mass, np.abs(before_V - mass) <= EDGE)


def _above(p_V: np.ndarray, least: float) -> Kept:
    return Kept(p_V >= least, (np.abs(p_V - least) <= EDGE * least) & (p_V < p_V.max()))


def _sure(stays_V: np.ndarray) -> Kept:
    return Kept(stays_V, np.zeros_like(stays_V))


def _log(p_V: np.ndarray) -> np.ndarray:
    return np.log(p_V, out=np.full_like(p_V, -np.inf), where=p_V > 0)


def _entropy(p_V: np.ndarray) -> float:
    real = p_V[p_V > 0]
    return float(-(real * np.log(real)).sum())
