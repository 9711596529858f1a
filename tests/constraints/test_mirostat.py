"""Mirostat obeys its card: the mean surprise settles at tau, and every row of a tree has a mu of its own."""

import math
from dataclasses import dataclass

import pytest
import torch

from decant.constraints.mirostat import Mirostat
from decant.constraints.several import Several
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.chain import chain
from decant.testing.laws import check_constraint, check_decoder
from decant.testing.laws.paths import parents_of
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, Scores, Verdict
from decant.verifiers.coupled import Coupled

STREAMS, SETTLING, STEPS, VOCAB = 2, 200, 800, 3000
PROMPT_BT = torch.tensor([[0, 1, 2], [3, 1, PAD], [2, PAD, PAD]])
TREE = Draft(
    torch.tensor([[0, 1, 3, 1, 2], [2, 0, 1, PAD, 3], [1, 3, 0, 3, 2]]), torch.tensor([[PAD, PAD, 0, 1, 2]] * 3)
)


def mean_surprise(mirostat: Mirostat) -> torch.Tensor:
    """bits_B: the mean over STEPS tokens, under the law that the version looks at, reckoned apart from the class."""
    generator = torch.Generator().manual_seed(0)
    exponents_SB = 1.05 + 0.55 * torch.rand(SETTLING + STEPS, STREAMS, generator=generator)
    log_rank_V = torch.arange(1, VOCAB + 1).log()
    root_B1, total_B = torch.zeros(STREAMS, 1, dtype=torch.int64), torch.zeros(STREAMS, dtype=torch.float64)
    state, noise = mirostat.start(root_B1), Noise.of(list(range(STREAMS)))
    for step, exponent_B in enumerate(exponents_SB):
        logits_B1V = -exponent_B[:, None, None] * log_rank_V
        law_B1V = mirostat.adjust(state, Draft.nothing(STREAMS), logits_B1V).softmax(-1)
        tokens_B1 = noise.draw(law_B1V, torch.zeros_like(root_B1))
        seen_B1V = law_B1V if mirostat.version == 2 else (logits_B1V / mirostat.heat).softmax(-1)
        if step >= SETTLING:
            total_B -= seen_B1V[:, 0].gather(1, tokens_B1)[:, 0].double().log2()
        verdict = Verdict(tokens_B1, torch.full_like(tokens_B1, PAD))
        state, noise = mirostat.observe(state, verdict, Scores(logits_B1V)), noise.advance(verdict.committed_B)
    return total_B / STEPS


@pytest.mark.parametrize("tau", [2.0, 4.0])
@pytest.mark.parametrize(("version", "eta", "heat"), [(1, 1.0, 1.0), (2, 0.2, 1.1)])
def test_the_mean_surprise_settles_at_tau(version: int, eta: float, heat: float, tau: float) -> None:
    """A fresh Zipf law each step. By the rule of the feedback the error is (first mu - last mu) / (eta STEPS), so a
    mu that stays bounded bounds it."""
    mean_B = mean_surprise(Mirostat(tau, eta, version, heat))
    assert (mean_B - tau).abs().max() < 0.05, mean_B


def by_hand(mirostat: Mirostat, logits: list[float], mu: float) -> tuple[set[int], list[float]]:
    """The card in plain Python: which tokens stay of one row, and how surprising each would be."""
    weights = [math.exp(logit / mirostat.heat) for logit in logits]
    law = [weight / sum(weights) for weight in weights]
    order = sorted(range(len(law)), key=lambda token: -law[token])
    if mirostat.version == 2:
        kept = {token for token in order if -math.log2(law[token]) <= mu} or {order[0]}
        mass = sum(law[token] for token in kept)
        return kept, [-math.log2(one / mass) for one in law]
    pairs = [(law[order[i]], law[order[i + 1]], math.log((i + 2) / (i + 1))) for i in range(len(order) - 1)]
    s = sum(math.log(one / two) * t for one, two, t in pairs) / sum(t * t for _, _, t in pairs)
    e = s - 1
    k = round((e * 2**mu / (1 - len(law) ** -e)) ** (1 / s)) + 1
    return set(order[: max(1, min(k, len(law)))]), [-math.log2(one) for one in law]


@pytest.mark.parametrize("heat", [1.0, 0.6])
@pytest.mark.parametrize("version", [1, 2])
def test_every_row_of_a_tree_is_cut_by_the_mu_of_its_own_path(version: int, heat: float) -> None:
    mirostat = Mirostat(1.6, 0.7, version, heat)
    logits_BMV = 1.5 * torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))
    state = torch.tensor([2.4, 1.1, 3.0])
    have_BMV = mirostat.adjust(state, TREE, logits_BMV)
    sizes = set()
    for request, (tokens, parents) in enumerate(zip(TREE.tokens_BN.tolist(), parents_of(TREE).tolist(), strict=True)):
        mus = [float(state[request])]
        for node, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
            mu = mus[parent + 1]
            _, bits = by_hand(mirostat, logits_BMV[request, parent + 1].tolist(), mu)
            mus.append(mu - 0.7 * (bits[token] - 1.6))
            if token == PAD:
                continue
            kept, _ = by_hand(mirostat, logits_BMV[request, node + 1].tolist(), mus[-1])
            row_V = have_BMV[request, node + 1]
            assert set((row_V > -torch.inf).nonzero().flatten().tolist()) == kept, (request, node)
            torch.testing.assert_close(
                row_V.softmax(-1)[list(kept)], (logits_BMV[request, node + 1] / heat)[list(kept)].softmax(-1)
            )
            sizes.add(len(kept))
    assert len(sizes) > 2, "paths lead to different cuts"


@pytest.mark.parametrize("version", [1, 2])
def test_the_targets_own_token_moves_mu_too(version: int) -> None:
    """Committed at once or one by one, a path leaves the same mu; nodes that were refused count for nothing."""
    mirostat = Mirostat(1.2, 0.5, version)
    logits_BMV = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(2))
    state = mirostat.start(torch.zeros(1, 1))
    path = Verdict(torch.tensor([[3, 1, 5, PAD]]), torch.tensor([[1, 2, PAD, PAD]]))
    together = mirostat.observe(state, path, Scores(logits_BMV))
    for token, row in ((3, 0), (1, 2), (5, 3)):
        one = Verdict(torch.tensor([[token]]), torch.tensor([[PAD]]))
        state = mirostat.observe(state, one, Scores(logits_BMV[:, row : row + 1]))
    assert torch.equal(together, state)


@dataclass(frozen=True)
class Wrong:
    """Mirostat with one mistake: what the law of constraints must see."""

    mistake: str
    real: Mirostat = Mirostat(1.3, 0.7)  # noqa: RUF009  (frozen)

    def start(self, prompt_BT):
        return self.real.start(prompt_BT)

    def adjust(self, state, draft, logits_BMV):
        if self.mistake == "one mu for all rows":
            return self.real.adjust(state, Draft.nothing(len(state)), logits_BMV)
        if self.mistake == "a tree is a chain":
            return self.real.adjust(state, Draft(draft.tokens_BN), logits_BMV)
        return self.real.adjust(state, draft, logits_BMV)

    def observe(self, state, verdict, scores):
        if self.mistake == "the last token does not count":
            kept_BC = verdict.tokens_BC.where(verdict.nodes_BC != PAD, PAD)
            return self.real.observe(state, Verdict(kept_BC, verdict.nodes_BC), scores)
        return self.real.observe(state, verdict, scores)


@pytest.mark.parametrize("mistake", ["one mu for all rows", "a tree is a chain", "the last token does not count"])
def test_a_planted_bug_is_caught(mistake: str) -> None:
    check_constraint(Wrong(""), PROMPT_BT, TREE, vocab=4)
    with pytest.raises(AssertionError):
        check_constraint(Wrong(mistake), PROMPT_BT, TREE, vocab=4)


@pytest.mark.parametrize("version", [1, 2])
def test_speculation_under_mirostat_is_plain_decoding(version: int) -> None:
    target = MarkovLM.random(vocab=11, seed=3)
    mirostat = Several((Unconstrained(), Mirostat(1.5, 0.5, version, heat=1.3)))
    plain = Autoregressive(target, chain(), mirostat)
    check_decoder(Speculative(target, TokenRecycling(), Coupled(), Fixed(4), chain(), mirostat), plain)


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_forbidden_stays_so_and_something_is_always_left(version: int) -> None:
    mirostat = Mirostat(0.1, 1.0, version)
    rows = [[0.0, -torch.inf, -torch.inf], [1.0, 0.5, -torch.inf], [0.0, 0.0, 0.0], [50.0, 0.0, -50.0]]
    logits_BMV = torch.tensor(rows)[:, None]
    state = torch.tensor([-torch.inf, 0.0, 100.0, 1.0])
    adjusted_BMV = mirostat.adjust(state, Draft.nothing(4), logits_BMV)
    assert not adjusted_BMV.isnan().any()
    assert (adjusted_BMV > -torch.inf).any(-1).all()
    assert (adjusted_BMV[logits_BMV == -torch.inf] == -torch.inf).all()
    # A token that cannot come drives mu to -inf: behind it the likeliest token alone is left.
    never = Verdict(torch.tensor([[1]]), torch.tensor([[PAD]]))
    assert mirostat.observe(torch.tensor([1.0]), never, Scores(logits_BMV[:1])).tolist() == [-torch.inf]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"tau": 0.0}, "a positive tau, got 0.0"),
        ({"eta": -0.1}, "a positive eta, got -0.1"),
        ({"heat": 0.0}, "a positive heat, got 0.0"),
        ({"heat": math.inf}, "a positive heat, got inf"),
        ({"version": 3}, "versions 1 and 2 of mirostat, got 3"),
        ({"fitted": 1}, "2 tokens or more, got fitted 1"),
    ],
)
def test_impossible_knobs_are_refused(knobs, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Mirostat(**knobs)
