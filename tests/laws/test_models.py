"""The toy models obey the law of models, and the law sees the mistakes that caches invite."""

from dataclasses import dataclass

import pytest
import torch

from decant.numerics import append, chain_parents
from decant.testing.laws import check_model
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, Scores, Verdict

TOY = MarkovLM.random(vocab=9, seed=0)
MODELS = [TOY, MarkovLM(TOY.logits_UVV, trees=False)]


@pytest.mark.parametrize("model", MODELS, ids=["trees", "chains"])
def test_model(model: MarkovLM) -> None:
    check_model(model)


@dataclass(frozen=True, eq=False)
class Cached:
    """What a cache holds beside the text that it should hold."""

    text: object
    cached: object


@dataclass(frozen=True, eq=False)
class Faulty:
    """The toy behind a cache that can be wrong: scores come from `cached`, the text from `text`."""

    mistake: str
    toy: MarkovLM = TOY

    vocab = TOY.vocab
    trees = True

    def start(self, prompt_BT, taps=None):
        context, scores = self.toy.start(prompt_BT) if taps is None else self.toy.start(prompt_BT, taps)
        if self.mistake == "the best ids come a row late" and scores.top_BMK is not None:
            scores = Scores(scores.logits_BMV, scores.hidden_BMD, scores.top_BMK.roll(1, 1))
        return Cached(context, context), scores

    def score(self, context, draft):
        if self.mistake == "scores a tree as a chain":
            draft = Draft(draft.tokens_BN)
        if self.mistake == "parents are off by one" and draft.branches:
            draft = Draft(draft.tokens_BN, chain_parents(draft.tokens_BN).minimum(draft.parents_BN + 1))
        if self.mistake == "an absent node shifts the others":
            order_BN = (draft.tokens_BN == PAD).long().argsort(dim=1, stable=True)
            tokens_BN = draft.tokens_BN.gather(1, order_BN)
            draft = Draft(tokens_BN, draft.parents_BN)
        scores = self.toy.score(context.cached, draft)
        if self.mistake == "logits rows are off by one":
            return Scores(scores.logits_BMV.roll(1, 1), scores.hidden_BMD)
        if self.mistake == "hidden states belong to a neighbour" and scores.hidden_BMD is not None:
            return Scores(scores.logits_BMV, scores.hidden_BMD.roll(1, 0))
        return scores

    def commit(self, context, verdict):
        text = self.toy.commit(context.text, verdict)
        cached = self.toy.commit(context.cached, self._kept(verdict))
        if self.mistake == "rows of one request for all":
            cached = type(cached)(cached.tokens_BT[:1].expand_as(cached.tokens_BT), cached.layers)
        return Cached(text, cached)

    def _kept(self, verdict):
        if self.mistake == "a rejected token stays in the cache":
            return Verdict(append(verdict.tokens_BC, verdict.tokens_BC[:, :1]), verdict.nodes_BC)
        if self.mistake == "the last accepted token is not cached":
            # The rows of the last two tokens swap when the one before the bonus is forgotten and fed too late.
            end_B1 = verdict.committed_B[:, None] - 1
            tokens_BC = verdict.tokens_BC.scatter(1, (end_B1 - 1).clamp_min(0), verdict.tokens_BC.gather(1, end_B1))
            return Verdict(tokens_BC, verdict.nodes_BC)
        return verdict

    def tokens(self, context):
        return self.toy.tokens(context.text)


MISTAKES = [
    "a rejected token stays in the cache",
    "the last accepted token is not cached",
    "logits rows are off by one",
    "scores a tree as a chain",
    "parents are off by one",
    "an absent node shifts the others",
    "rows of one request for all",
    "hidden states belong to a neighbour",
    "the best ids come a row late",
]


def test_the_wrapper_itself_is_right() -> None:
    check_model(Faulty(mistake=""))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_model(Faulty(mistake))


def test_the_toy_can_be_returned_to() -> None:
    context, _ = TOY.start(torch.tensor([[1, 2]]))
    before = TOY.score(context, Draft.nothing(1)).logits_BMV
    TOY.commit(context, Verdict(torch.tensor([[3]]), torch.tensor([[PAD]])))
    assert torch.equal(TOY.score(context, Draft.nothing(1)).logits_BMV, before)
