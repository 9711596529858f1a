"""How often a guess can be accepted at best, and how often each verifier accepts one.

At one position there are p, q and n guesses drawn by q in some way. However they are judged, one stands with chance

    optimal = min over sets S of tokens of p(S) + 1 - Q(S),    Q(S): the chance that all n guesses lie in S,

and some verifier reaches it. For draws with and without replacement the best S is a start of the tokens in the order
of p / q; for greedy multi-drafts and for fixed guesses the optimum has a closed form.

Source: Hu et al. 2025, arXiv:2502.18779; verifiers: Miao et al. 2023, arXiv:2305.09781; Jeon et al. 2024,
arXiv:2402.14160; Sun et al. 2023, arXiv:2310.15141; the race of two laws over the same noise: our own derivation.
"""

from collections.abc import Callable
from math import exp, log
from typing import Final

import torch
from torch import Tensor

from decant.errors import BadInput, ShapeError
from decant.numerics import normalise
from decant.types import Siblings

SAMPLES: Final = 64  # points that stand for a position, where a rate has no formula
CERTAIN: Final = 50.0  # e ** -50 is below the precision of float64
STEP: Final = 0.35  # of the quadrature; its error is near e ** (-pi ** 2 / STEP)


def bound(p_XV: Tensor, q_XV: Tensor, drafts: int, kind: Siblings) -> Tensor:
    """optimal_X, float64: the most that any verifier accepts of `drafts` guesses of this kind.

    Laws need not sum to one. Guesses without replacement end where q does. O(V log V) a position; about 100 times that
    for draws without replacement. Raises BadInput for drafts below 1, ShapeError for two shapes.
    """
    p_XV, q_XV = _laws(p_XV, q_XV, drafts)
    if kind == "fixed":
        return p_XV.gather(-1, _best(q_XV, drafts)).sum(-1)
    if kind == "greedy_multi":
        first_XW = _best(q_XV, drafts - 1)
        rest_XV = q_XV.scatter(-1, first_XW, 0.0)
        drawn_XV = torch.minimum(p_XV, normalise(rest_XV, rest_XV))
        return (p_XV.gather(-1, first_XW).sum(-1) + drawn_XV.sum(-1)).clamp_max(1.0)
    order_XV = (p_XV / q_XV).where(q_XV > 0, torch.inf).argsort(-1)
    p_XV, q_XV = p_XV.gather(-1, order_XV), q_XV.gather(-1, order_XV)
    outside_XV = _behind(q_XV).clamp_max(1.0)
    if kind == "independent":
        missed_XV = -torch.expm1(drafts * torch.log1p(-outside_XV))
    else:
        missed_XV = _missed(q_XV, outside_XV, drafts)
    return (p_XV.cumsum(-1) + missed_XV).amin(-1).clamp_max(1.0)  # the empty set gives 1


def reached(verifier: str, p_XV: Tensor, q_XV: Tensor, drafts: int, kind: Siblings) -> Tensor:
    """rate_X, float64: how often `verifier` accepts one of `drafts` guesses of this kind.

    coupled is meant with a drafter that is coupled too, whose guesses are the first of the race over q. Pairs of
    `ESTIMATED` are estimated wherever the vocabulary is not tiny, to about 0.02 a position, without chance. Raises
    BadInput for a pair that is not in `REACHED`.
    """
    if (verifier, kind) not in REACHED:
        known = ", ".join(f"{name} of {what}" for name, what in REACHED)
        raise BadInput(f"there is no rate of {verifier} for {kind} guesses; there are {known}")
    return REACHED[verifier, kind](*_laws(p_XV, q_XV, drafts), drafts)


def _laws(p_XV: Tensor, q_XV: Tensor, drafts: int) -> tuple[Tensor, Tensor]:
    if drafts < 1:
        raise BadInput(f"a bound needs at least one guess, got {drafts}")
    if p_XV.shape != q_XV.shape or p_XV.dim() != 2:
        raise ShapeError(f"p_XV and q_XV are one law a row each, got {tuple(p_XV.shape)} and {tuple(q_XV.shape)}")
    p_XV, q_XV = p_XV.double(), q_XV.double()
    return p_XV / p_XV.sum(-1, keepdim=True), q_XV / q_XV.sum(-1, keepdim=True)


def _best(q_XV: Tensor, count: int) -> Tensor:
    return q_XV.topk(min(count, q_XV.shape[-1]), -1).indices


def _behind(q_XV: Tensor) -> Tensor:
    """What lies behind each token, summed from the end so that small tails keep their digits."""
    return torch.cat([q_XV.flip(-1).cumsum(-1).flip(-1)[:, 1:], torch.zeros_like(q_XV[:, :1])], -1)


def _missed(q_XV: Tensor, outside_XV: Tensor, drafts: int) -> Tensor:
    """missed_XV: the chance that not all draws without replacement lie among the tokens up to each one.

    Draws without replacement are the first arrivals of a race with rates q. All lie in S if n tokens of S have arrived
    before the first of the others, whose time is exponential with rate q(outside): an integral over that time, taken
    by the double exponential rule.
    """
    rest_X = q_XV.scatter(-1, _best(q_XV, drafts - 1), 0.0).sum(-1)
    ends_XV = (outside_XV > 0).double()  # where q has no more tokens than guesses, all of them are guessed
    if drafts == 1 or not (rest_X > 0).any():
        return outside_XV if drafts == 1 else ends_XV
    missed_XV = torch.zeros_like(q_XV)
    # The slowest that the integrand decays is at the rate of what is left behind the n - 1 likeliest.
    last = log(CERTAIN / float(rest_X[rest_X > 0].min()))
    for at in torch.arange(-3.6, last + STEP, STEP, dtype=torch.float64).tolist():
        time = exp(at - exp(-at))
        weight_XV = outside_XV * torch.exp(-outside_XV * time) * (STEP * time * (1 + exp(-at)))
        missed_XV += weight_XV * _fewer(q_XV * time, drafts)
    return torch.where(rest_X[:, None] > 0, missed_XV, ends_XV)


def _fewer(rates_XV: Tensor, count: int) -> Tensor:
    """fewer_XV: the chance that fewer than `count` of the tokens up to each one have arrived, each of which does so
    with probability 1 - e ** -rate, by itself.

    The chance of exactly b is e ** -(sum of rates) times the b-th elementary symmetric polynomial of e ** rate - 1.
    """
    rates_XV = rates_XV.clamp_max(CERTAIN)  # nothing is lost, and no difference of large numbers is left
    total_XV = rates_XV.cumsum(-1)
    log_poly_XV, fewer_XV = torch.zeros_like(rates_XV), torch.exp(-total_XV)
    log_odds_XV = torch.expm1(rates_XV).log() if count > 1 else log_poly_XV
    for chosen in range(1, min(count, rates_XV.shape[-1] + 1)):
        before_XV = torch.full_like(log_poly_XV, 0.0 if chosen == 1 else -torch.inf)
        before_XV[..., 1:] = log_poly_XV[..., :-1]
        log_poly_XV = torch.logcumsumexp(log_odds_XV + before_XV, -1)
        fewer_XV = fewer_XV + torch.exp(log_poly_XV - total_XV)
    return fewer_XV.clamp_max(1.0)


def _k_seq(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    low_X1 = torch.ones_like(p_XV[:, :1])
    high_X1 = low_X1 * drafts
    for _ in range(60):
        middle_X1 = (low_X1 + high_X1) / 2
        refuse_X1 = 1 - torch.minimum(q_XV, p_XV / middle_X1).sum(-1, keepdim=True)
        fits_X1 = sum(refuse_X1**guess for guess in range(drafts)) <= middle_X1
        low_X1, high_X1 = torch.where(fits_X1, low_X1, middle_X1), torch.where(fits_X1, middle_X1, high_X1)
    refuse_X = 1 - torch.minimum(q_XV, p_XV / high_X1).sum(-1)
    return 1 - refuse_X**drafts


def _again(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    """Recursive rejection with replacement: what is left of p does not depend on what was refused."""
    refuse_X = torch.ones_like(p_XV[:, 0])
    for _ in range(drafts):
        refuse_X = refuse_X * (1 - torch.minimum(p_XV, q_XV).sum(-1))
        p_XV = normalise((p_XV - q_XV).clamp_min(0), p_XV)
    return 1 - refuse_X


def _without(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    """Recursive rejection without replacement: over all that may be refused, or over a lattice where that is much."""
    judged = _enumerated if p_XV.shape[-1] ** (drafts - 1) <= SAMPLES else _refused_along
    return torch.stack([1 - judged(p_V[None], q_V[None], drafts) for p_V, q_V in zip(p_XV, q_XV, strict=True)])


def _enumerated(p_SV: Tensor, q_SV: Tensor, drafts: int) -> Tensor:
    """The chance that every guess is refused: a token is drawn and refused with chance max(q - p, 0)."""
    tokens, weight_S = p_SV.shape[-1], p_SV.new_ones(1)
    for _ in range(drafts - 1):
        # A law that has run out guesses nothing, and is carried on by one token.
        over_SV = (q_SV - p_SV).clamp_min(0)
        over_SV = torch.where(q_SV.sum(-1, keepdim=True) > 0, over_SV, torch.eye(1, tokens).to(over_SV))
        x_S = torch.arange(tokens, device=p_SV.device).repeat(len(p_SV))
        weight_S = (weight_S[:, None] * over_SV).flatten()
        p_SV, q_SV = _after(*(law_SV.repeat_interleave(tokens, 0) for law_SV in (p_SV, q_SV)), x_S)
    return (weight_S * _refusal(p_SV, q_SV)).sum()


def _refused_along(p_SV: Tensor, q_SV: Tensor, drafts: int) -> Tensor:
    """The same, each refused token taken from max(q - p, 0) by a lattice, and weighed with the sum of that."""
    p_SV, q_SV = p_SV.expand(SAMPLES, -1), q_SV.expand(SAMPLES, -1)
    weight_S = p_SV.new_ones(SAMPLES)
    for u_S in _lattice(drafts - 1, p_SV):
        weight_S = weight_S * _refusal(p_SV, q_SV)
        p_SV, q_SV = _after(p_SV, q_SV, _drawn((q_SV - p_SV).clamp_min(0), u_S))
    return (weight_S * _refusal(p_SV, q_SV)).mean()


def _refusal(p_SV: Tensor, q_SV: Tensor) -> Tensor:
    """The chance that the next guess is refused; one that q cannot make is."""
    return (q_SV - p_SV).clamp_min(0).sum(-1).where(q_SV.sum(-1) > 0, 1.0)


def _after(p_SV: Tensor, q_SV: Tensor, x_S: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of both laws once x is refused."""
    rest_SV = q_SV.scatter(-1, x_S[:, None], 0.0)
    return normalise((p_SV - q_SV).clamp_min(0), p_SV), normalise(rest_SV, rest_SV)


def _race(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    """The winner of the race over p is among the first of the race over q, with the same arrival times.

    Of the winner x and its time m, exponential with rate 1, everything else follows: token y overtakes x over q with
    probability 1 - exp(-m max(p_x q_y / q_x - p_y, 0)), by itself. x and m run over a lattice.
    """
    u_S, late_S = _lattice(2, p_XV)
    time_S1 = -torch.log1p(-late_S)[:, None]
    rates = []
    for p_V, q_V in zip(p_XV, q_XV, strict=True):
        x_S = _drawn(p_V.expand(SAMPLES, -1), u_S)
        ratio_S1 = (p_V[x_S] / q_V[x_S])[:, None]
        ahead_SV = time_S1 * (ratio_S1 * q_V - p_V).clamp_min(0)
        ahead_SV = ahead_SV.where(q_V > 0, 0).scatter(-1, x_S[:, None], 0.0)
        rates.append(_fewer(ahead_SV, drafts)[:, -1].where(q_V[x_S] > 0, 0).mean())
    return torch.stack(rates)


def _drawn(weights_SV: Tensor, u_S: Tensor) -> Tensor:
    """The token of each row at the share u of its mass."""
    mass_SV = weights_SV.cumsum(-1)
    at_S1 = (u_S[:, None] * mass_SV[:, -1:]).contiguous()
    return torch.searchsorted(mass_SV, at_S1, right=True).squeeze(-1).clamp_max(weights_SV.shape[-1] - 1)


def _lattice(count: int, like: Tensor) -> list[Tensor]:
    """`count` coordinates u_S of points that fill the cube evenly.

    Source: Roberts 2018, extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences.
    """
    at_S = torch.arange(SAMPLES, dtype=torch.float64, device=like.device)
    root = 1.5
    for _ in range(50):
        root = (1 + root) ** (1 / max(count, 1))
    return [((at_S + 0.5) / SAMPLES if axis == 0 else (at_S * root**-axis + 0.5).frac()) for axis in range(count)]


def _certain(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    return bound(p_XV, q_XV, drafts, "fixed")


def _greedy(p_XV: Tensor, q_XV: Tensor, drafts: int) -> Tensor:
    return bound(p_XV, q_XV, drafts, "greedy_multi")


REACHED: Final[dict[tuple[str, Siblings], Callable[[Tensor, Tensor, int], Tensor]]] = {
    ("tree-rejection", "independent"): _again,
    ("k-seq", "independent"): _k_seq,
    ("tree-rejection", "without_replacement"): _without,
    ("coupled", "without_replacement"): _race,
    ("greedy-multi", "greedy_multi"): _greedy,
    ("tree-rejection", "fixed"): _certain,
    ("coupled", "fixed"): _certain,
}
ESTIMATED: Final = frozenset({("tree-rejection", "without_replacement"), ("coupled", "without_replacement")})
