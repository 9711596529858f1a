"""Adaptive weighted rejection sampling obeys its card: a mask's tokens from few questions, and an unbiased weight."""

from dataclasses import dataclass, field

import pytest
import torch

from decant.constraints.mirostat import Mirostat
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.awrs import AWRS, ByConstraint
from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise
from decant.numerics import append
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws import check_continuous, check_decoder
from decant.testing.markov import MarkovLM
from decant.types import PAD
from tests.decoders.checks import LM, PROMPTS, Forbids, like_fresh, run
from tests.decoders.restricted import JOINT, MASS, TABLE, TEXTS, Ends, distance, masked, sampled

ESTIMATORS = [("recursive", 2), ("geometric", 2), ("geometric", 5)]
VOCAB, DRAWS = 12, 60_000
LAW = (-torch.arange(1, VOCAB + 1).log() * 1.2).softmax(-1)
ALLOWED = torch.tensor([token % 3 != 0 for token in range(VOCAB)])
ONE = MarkovLM(LAW.log().expand(VOCAB + 1, VOCAB, VOCAB))


@dataclass(frozen=True)
class Among:
    """A checker: the same tokens always; remembers what it was asked."""

    allowed_V: torch.Tensor
    asked: list = field(default_factory=list)

    def start(self, prompt_BT):
        return None

    def allowed(self, state, tokens_B):
        self.asked.append(int((tokens_B != PAD).sum()))
        return self.allowed_V[tokens_B.clamp_min(0)]

    def observe(self, state, tokens_B):
        return None


@dataclass(frozen=True)
class NoEcho:
    """A constraint: no token twice in a row."""

    def start(self, prompt_BT):
        return prompt_BT

    def adjust(self, state, draft, logits_BMV):
        last_B1 = state.gather(1, (state != PAD).sum(-1, keepdim=True) - 1)
        rows_BM = torch.cat([last_B1, draft.tokens_BN], 1).clamp_min(0)
        return logits_BMV.scatter(-1, rows_BM[..., None], -torch.inf)

    def observe(self, state, verdict, scores):
        return append(state, verdict.tokens_BC)


def once(decoder: AWRS, draws: int = DRAWS) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens_R and weight_R of one step of as many seeds."""
    noise = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
    state, step = decoder.step(decoder.start(torch.zeros(draws, 1, dtype=torch.int64), noise))
    return step.tokens_BC[:, 0], state.logw_B.exp()


def off(values_R: torch.Tensor, mean: float) -> float:
    """How many standard errors a mean lies off."""
    return float((values_R.mean() - mean).abs() / (values_R.std() / len(values_R) ** 0.5))


@pytest.mark.parametrize(("estimator", "accepts"), ESTIMATORS)
def test_one_token_and_its_weight(estimator, accepts) -> None:
    """The token's law is the restricted one; the mean weight is the allowed mass, token by token. At five standard
    errors a right estimator fails once in 10^5 runs over all these means; an error of 2 % in the mass is six away from
    the bound even where the weight varies most (its standard deviation is 0.37, the error 0.0015 and the mass 0.45)."""
    mass = float(LAW[ALLOWED].sum())
    tokens_R, weight_R = once(AWRS(ONE, chain(), Among(ALLOWED), estimator, accepts))
    assert_distributed_as(tokens_R, LAW.where(ALLOWED, 0.0), "restricted tokens")
    assert off(weight_R, mass) < 5
    for token in ALLOWED.nonzero().flatten().tolist():
        assert off(weight_R * (tokens_R == token), float(LAW[token])) < 5, token


def test_a_biased_weight_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: all that was not refused counts as allowed."""
    real = AWRS._recursive

    def hopeful(self, checking, law_BV, noise):
        tokens_B, _ = real(self, checking, law_BV, noise)
        race_BV = noise.gumbel(law_BV[:, None], torch.zeros_like(noise.root_B)[:, None])[:, 0]
        left_BV = law_BV.where(race_BV <= race_BV.gather(1, tokens_B[:, None]), 0.0)
        return tokens_B, left_BV.sum(-1).double()

    monkeypatch.setattr(AWRS, "_recursive", hopeful)
    _, weight_R = once(AWRS(ONE, chain(), Among(ALLOWED)))
    assert off(weight_R, float(LAW[ALLOWED].sum())) > 5


@pytest.mark.parametrize("ahead", [True, False], ids=["mask", "prefix"])
@pytest.mark.parametrize(("estimator", "accepts"), ESTIMATORS)
def test_the_weight_of_a_text_is_unbiased(estimator, accepts, ahead: bool) -> None:
    """Also where dead ends cost particles their lives. With 20,000 draws the standard error is 1.5 % of the mass at
    most, so that five of them see an error of 10 % with power above 0.95."""
    text_R, state = sampled(AWRS(TABLE, chain(), Ends(ahead), estimator, accepts), 20_000)
    weight_R = state.logw_B.exp()
    assert off(weight_R, MASS) < 5
    assert float(weight_R.std() / 20_000**0.5) < 0.017 * MASS
    for text in JOINT.topk(3).indices.tolist():
        assert off(weight_R * (text_R == text), float(JOINT[text])) < 5, TEXTS[text]
    assert bool((weight_R == 0).any()) != ahead


def test_masking_is_biased_and_this_is_what_awrs_says_too() -> None:
    """The numbers of the worked example, and the law of the tokens: a mask's."""
    assert pytest.approx(0.0354) == MASS
    wrong = (masked() - JOINT / MASS).abs().sum() / 2
    assert float(wrong) == pytest.approx(0.314, abs=5e-4)
    unlucky = TEXTS.index((0, 1, 0, 2))
    assert masked()[unlucky] == pytest.approx(0.375)
    assert JOINT[unlucky] / MASS == pytest.approx(0.085, abs=5e-4)
    text_R, _ = sampled(AWRS(TABLE, chain(), Ends()), 20_000)
    assert_distributed_as(text_R, masked(), "texts of restricted tokens")
    assert distance(text_R) == pytest.approx(float(wrong), abs=0.02)


@pytest.mark.parametrize("warp", [greedy(), temperature(0.7), chain()], ids=["greedy", "T=0.7", "T=1"])
@pytest.mark.parametrize("constraint", [Unconstrained(), Forbids(2), NoEcho()], ids=repr)
def test_its_text_is_a_masks_text(constraint, warp) -> None:
    """Token for token, since candidates come in the order of the target's own draw; greedy too, whose one candidate may
    be forbidden."""
    decoder = AWRS(LM, warp, ByConstraint(constraint, LM.vocab))
    check_decoder(decoder, Autoregressive(LM, warp, constraint), max_tokens=12)


def test_without_a_constraint_the_geometric_estimator_says_plain_decodings_text() -> None:
    decoder = AWRS(LM, temperature(0.7), ByConstraint(Unconstrained(), LM.vocab), "geometric")
    check_decoder(decoder, Autoregressive(LM, temperature(0.7), Unconstrained()), max_tokens=12)
    state, _, _ = run(decoder, PROMPTS, 5)
    assert state.logw_B.tolist() == [0.0, 0.0, 0.0]


def test_few_tokens_are_asked_about() -> None:
    """Of 2,000, a tenth of which is forbidden: one that is refused now and then, the token, and one behind it."""
    vocab = 2000
    law_V = (-torch.arange(1, vocab + 1).log()).softmax(-1)
    checker = Among(torch.arange(vocab) % 10 != 9)
    target = MarkovLM(law_V.log().expand(vocab + 1, vocab, vocab))
    once(AWRS(target, chain(), checker), 200)
    refused = float(law_V[9::10].sum())
    assert sum(checker.asked) / 200 < 2.5 + refused, "questions a token"


@pytest.mark.parametrize(("estimator", "accepts"), ESTIMATORS)
def test_where_nothing_is_allowed_the_weight_is_zero(estimator, accepts) -> None:
    tokens_R, weight_R = once(AWRS(ONE, chain(), Among(ALLOWED & False), estimator, accepts), 50)
    assert weight_R.tolist() == [0.0] * 50
    assert len(set(tokens_R.tolist())) > 1, "the first candidate goes on"
    # What a warp has cut is asked about in the end: the likeliest allowed token comes, at weight zero.
    tokens_R, weight_R = once(AWRS(ONE, greedy(), Among(ALLOWED), estimator, accepts), 5)
    assert (tokens_R.tolist(), weight_R.tolist()) == ([1] * 5, [0.0] * 5)


def test_requests_come_and_go() -> None:
    check_continuous(AWRS(LM, temperature(0.7), ByConstraint(NoEcho(), LM.vocab)))


@pytest.mark.parametrize("estimator", ["recursive", "geometric"])
def test_a_real_cache(pair, estimator) -> None:
    decoder = AWRS(pair[0], temperature(0.7), ByConstraint(NoEcho(), pair[0].vocab), estimator)
    state, held, _ = run(decoder, PROMPTS, 6)
    like_fresh(pair[0], state.context, held)
    assert all(one != two for text in held for one, two in zip(text[-7:], text[-6:], strict=False))


def test_a_constraint_that_reweighs_is_no_checker() -> None:
    checker = ByConstraint(Mirostat(), 11)
    with pytest.raises(IncompatibleParts, match="Mirostat does more than to forbid tokens"):
        checker.start(torch.zeros(1, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"estimator": "exact"}, "recursive or geometric, got 'exact'"), ({"accepts": 1}, "2 accepts or more")],
)
def test_impossible_knobs_are_refused(knobs, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        AWRS(ONE, chain(), Among(ALLOWED), **knobs)
