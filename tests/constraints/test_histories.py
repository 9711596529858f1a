"""Constraints with a history: against their meaning in plain Python on every row of trees, against transformers on
chains, by hand, and their messages."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from decant.constraints.bad_words import BadWords
from decant.constraints.dry import DRY
from decant.constraints.frequency_penalty import FrequencyPenalty
from decant.constraints.logit_bias import LogitBias
from decant.constraints.no_repeat_ngram import NoRepeatNGram
from decant.constraints.presence_penalty import PresencePenalty
from decant.constraints.repetition_penalty import RepetitionPenalty
from decant.decoders.generate import right_pad
from decant.errors import BadInput
from decant.protocols import Constraint
from decant.types import PAD, Draft, Scores, Verdict
from tests.constraints import brute

V = brute.VOCAB
WORDS = ((2, 2), (4,), (1, 0, 3), (5, 5, 5, 5), (0, 3), (3, 1), (1, 5), (5, 0))
MANY = tuple((a, b, (a + b) % V) for a in range(V) for b in range(V) if (a + b) % V != 6)
BIAS = ((3, 2.5), (0, -100.0), (6, 0.25))
MEANINGS = {
    "repetition": (RepetitionPenalty(1.3), brute.repetition_penalty(1.3)),
    "repetition, invited": (RepetitionPenalty(0.7), brute.repetition_penalty(0.7)),
    "presence": (PresencePenalty(0.5), brute.presence_penalty(0.5)),
    "frequency": (FrequencyPenalty(-0.25), brute.frequency_penalty(-0.25)),
    "1-grams": (NoRepeatNGram(1), brute.no_repeat_ngram(1)),
    "2-grams": (NoRepeatNGram(2), brute.no_repeat_ngram(2)),
    "4-grams": (NoRepeatNGram(4), brute.no_repeat_ngram(4)),
    "bad words": (BadWords(WORDS), brute.bad_words(WORDS)),
    "many bad words": (BadWords(MANY), brute.bad_words(MANY)),
    "bad letters": (BadWords(((1,), (2,))), brute.bad_words(((1,), (2,)))),
    "bias": (LogitBias(BIAS), brute.logit_bias(BIAS)),
    "dry": (DRY(0.5, 2.0, 1), brute.dry(0.5, 2.0, 1)),
    "dry, longer": (DRY(0.5, 1.5, 3), brute.dry(0.5, 1.5, 3)),
    "dry, breakers": (DRY(0.5, 2.0, 1, (0, 4)), brute.dry(0.5, 2.0, 1, (0, 4))),
    "dry, window": (DRY(0.5, 2.0, 1, (), 6), brute.dry(0.5, 2.0, 1, (), 6)),
    "dry, window of one": (DRY(0.5, 2.0, 1, (), 1), brute.dry(0.5, 2.0, 1, (), 1)),
}


def check_trees(constraint: Constraint[Any], rule: brute.Rule, spread: int) -> None:
    """Ragged prompts, six steps: a random tree each, of which the path to a random row is committed."""
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(spread, (n,), generator=generator).tolist() for n in (9, 1, 4)]
    outputs: list[list[int]] = [[], [], []]
    state = constraint.start(right_pad(prompts))
    for _ in range(6):
        draft = brute.random_tree(generator, 8, spread)
        logits_BMV = 3 * torch.randn(3, 9, V, generator=generator)
        adjusted_BMV = constraint.adjust(state, draft, logits_BMV)
        kept: list[list[int]] = []
        for request in range(3):
            paths = brute.paths(draft, request)
            rows = list(paths)
            want_RV = [rule(prompts[request], outputs[request] + paths[row], logits_BMV[request, row]) for row in rows]
            torch.testing.assert_close(adjusted_BMV[request, rows], torch.stack(want_RV))
            # The last token of the path stands in for the target's own; 6 ends no bad word.
            allowed = [path for path in paths.values() if path and _allowed(adjusted_BMV, request, path, paths)]
            kept.append(allowed[int(torch.randint(len(allowed), (), generator=generator))] if allowed else [6])
            outputs[request] += kept[-1]
        tokens_BC = right_pad(kept)
        state = constraint.observe(state, Verdict(tokens_BC, torch.full_like(tokens_BC, PAD)), Scores(logits_BMV))


@pytest.mark.parametrize("spread", [2, V], ids=["two tokens", "all tokens"])
@pytest.mark.parametrize("name", MEANINGS)
def test_every_row_of_a_tree_means_what_its_own_history_means(name: str, spread: int) -> None:
    check_trees(*MEANINGS[name], spread)


@dataclass(frozen=True)
class Mistaken:
    """A constraint that is told of another draft than the one there is, or of less than was committed."""

    constraint: Any
    mistake: str

    def start(self, prompt_BT):
        return self.constraint.start(prompt_BT)

    def adjust(self, state, draft, logits_BMV):
        if self.mistake == "takes a tree for a chain":
            draft = Draft(draft.tokens_BN)
        if self.mistake == "forgets the path":
            draft = Draft(torch.full_like(draft.tokens_BN, PAD), draft.parents_BN)
        return self.constraint.adjust(state, draft, logits_BMV)

    def observe(self, state, verdict, scores):
        if self.mistake == "remembers one token a step":
            verdict = Verdict(verdict.tokens_BC[:, :1], verdict.nodes_BC[:, :1])
        return self.constraint.observe(state, verdict, scores)


@pytest.mark.parametrize("mistake", ["takes a tree for a chain", "forgets the path", "remembers one token a step"])
@pytest.mark.parametrize("name", ["repetition", "frequency", "2-grams", "many bad words", "dry", "dry, window"])
def test_a_planted_bug_is_caught(name: str, mistake: str) -> None:
    constraint, rule = MEANINGS[name]
    with pytest.raises(AssertionError):
        check_trees(Mistaken(constraint, mistake), rule, V)


def _allowed(adjusted_BMV: Tensor, request: int, path: list[int], paths: dict[int, list[int]]) -> bool:
    rows = [next(row for row, other in paths.items() if other == path[:at]) for at in range(len(path))]
    return all(adjusted_BMV[request, row, token] > -torch.inf for row, token in zip(rows, path, strict=True))


TWINS = {
    "repetition": (RepetitionPenalty(1.3), RepetitionPenaltyLogitsProcessor(1.3)),
    "repetition, invited": (RepetitionPenalty(0.7), RepetitionPenaltyLogitsProcessor(0.7)),
    "2-grams": (NoRepeatNGram(2), NoRepeatNGramLogitsProcessor(2)),
    "3-grams": (NoRepeatNGram(3), NoRepeatNGramLogitsProcessor(3)),
    "bad words": (BadWords(WORDS), NoBadWordsLogitsProcessor([list(word) for word in WORDS])),
    "bias": (LogitBias(BIAS), SequenceBiasLogitsProcessor({(token,): nats for token, nats in BIAS})),
}


@pytest.mark.parametrize("name", TWINS)
def test_transformers_says_the_same(name: str) -> None:
    """Token by token on random text: 60 tokens over 7 ids, so that 3-grams come back too."""
    constraint, processor = TWINS[name]
    generator = torch.Generator().manual_seed(1)
    text_BT = torch.randint(V, (2, 60), generator=generator)
    state = constraint.start(text_BT[:, :3])
    compared = 0
    for at in range(3, 60):
        logits_BV = 3 * torch.randn(2, V, generator=generator)
        want_BV = processor(text_BT[:, :at], logits_BV.clone())
        have_BV = constraint.adjust(state, Draft.nothing(2), logits_BV[:, None])[:, 0]
        some_B = (want_BV > -torch.inf).any(-1)  # transformers may leave nothing
        torch.testing.assert_close(have_BV[some_B], want_BV[some_B])
        compared += int((want_BV != logits_BV)[some_B].any(-1).sum())
        verdict = Verdict(text_BT[:, at : at + 1], torch.full((2, 1), PAD))
        if not isinstance(constraint, BadWords):
            state = constraint.observe(state, verdict, Scores(logits_BV[:, None]))
        else:  # random text holds bad words, which `observe` refuses
            state = constraint.start(text_BT[:, : at + 1])
    assert compared > 10, "the processor changed too little to compare"


def test_the_prompt_counts_only_where_it_should() -> None:
    prompt_BT, logits_BMV = torch.tensor([[1, 1, 2]]), torch.ones(1, 1, V)
    nothing = Draft.nothing(1)
    for constraint in (PresencePenalty(1.0), FrequencyPenalty(1.0)):
        assert torch.equal(constraint.adjust(constraint.start(prompt_BT), nothing, logits_BMV), logits_BMV)
    constraint = RepetitionPenalty(2.0)
    adjusted_BMV = constraint.adjust(constraint.start(prompt_BT), nothing, logits_BMV)
    assert adjusted_BMV[0, 0].tolist() == [1.0, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_dry_by_hand() -> None:
    """a b c d e a b c: d would be the fourth of a repetition of three."""
    text_BT = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])
    for breakers, lost in (((), 0.8 * 1.75), ((0,), 0.8), ((1,), 0.0), ((3,), 0.0)):
        dry = DRY(breakers=breakers)
        adjusted_BMV = dry.adjust(dry.start(text_BT), Draft.nothing(1), torch.zeros(1, 1, V))
        torch.testing.assert_close(adjusted_BMV[0, 0], torch.tensor([0, 0, 0, -lost, 0, 0, 0]))


def test_a_very_long_repetition_costs_a_finite_price() -> None:
    dry = DRY(multiplier=5.0, growth=1e9, allowed_length=1)
    adjusted_BMV = dry.adjust(dry.start(torch.zeros(1, 400, dtype=torch.int64)), Draft.nothing(1), torch.zeros(1, 1, V))
    assert adjusted_BMV.isfinite().all()
    assert adjusted_BMV[0, 0, 0] < -1e20


def test_where_every_token_would_repeat_one_none_is_forbidden() -> None:
    prompt_BT, logits_BMV = (
        torch.tensor([[0, 1, 2, 0]]),
        torch.randn(1, 1, 3, generator=torch.Generator().manual_seed(0)),
    )
    ngram = NoRepeatNGram(1)
    assert torch.equal(ngram.adjust(ngram.start(prompt_BT), Draft.nothing(1), logits_BMV), logits_BMV)
    held_BMV = logits_BMV.clone()
    held_BMV[..., 1:] = -torch.inf  # by a constraint before it
    ngram = NoRepeatNGram(2)
    state = ngram.start(torch.tensor([[1, 0, 1]]))
    assert torch.equal(ngram.adjust(state, Draft.nothing(1), held_BMV), held_BMV)


def test_a_bad_word_that_nothing_else_can_replace_is_refused_when_it_comes() -> None:
    bad = BadWords(((0,), (1,)))
    state = bad.start(torch.tensor([[2, 0], [2, 2]]))
    logits_BMV = torch.zeros(2, 1, 2)
    assert torch.equal(bad.adjust(state, Draft.nothing(2), logits_BMV), logits_BMV)
    verdict = Verdict(torch.tensor([[1], [1]]), torch.full((2, 1), PAD))
    with pytest.raises(BadInput, match=r"nothing was allowed but the end of the bad word \[1\]; forbid less"):
        bad.observe(state, verdict, Scores(logits_BMV))


def test_a_bad_word_that_the_prompt_ends_is_no_fault() -> None:
    bad = BadWords(((0, 1),))
    state = bad.start(torch.tensor([[0, 1]]))
    bad.observe(state, Verdict(torch.tensor([[1]]), torch.tensor([[PAD]])), Scores(torch.zeros(1, 1, V)))


def _first(constraint) -> None:
    constraint.adjust(constraint.start(torch.tensor([[1]])), Draft.nothing(1), torch.zeros(1, 1, V))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RepetitionPenalty(0),
            "repetition-penalty must be positive and finite, got 0; 1 changes nothing",
        ),
        (
            lambda: RepetitionPenalty(float("nan")),
            "repetition-penalty must be positive and finite, got nan; 1 changes nothing",
        ),
        (lambda: PresencePenalty(2.5), "presence-penalty must lie in [-2, 2], got 2.5; 0 changes nothing"),
        (lambda: FrequencyPenalty(-3.0), "frequency-penalty must lie in [-2, 2], got -3.0; 0 changes nothing"),
        (
            lambda: NoRepeatNGram(0),
            "no-repeat-ngram needs a size of at least 1 token, got 0; leave it out to allow all",
        ),
        (
            lambda: DRY(multiplier=-1.0),
            "dry's multiplier must be finite and at least 0, got -1.0; 0 changes nothing",
        ),
        (lambda: DRY(growth=0.5), "dry's base must be finite and at least 1, got 0.5; 1 makes no length dearer"),
        (lambda: DRY(allowed_length=51), "dry's allowed_length must lie in [1, 50], got 51; 2 is usual"),
        (lambda: DRY(window=0), "dry's window must hold at least 1 token, got 0; None keeps all"),
        (
            lambda: LogitBias(((3, 101.0),)),
            "logit-bias must lie in [-100, 100], got 101.0 for token 3; 0 changes nothing",
        ),
        (lambda: LogitBias(((-1, 1.0),)), "logit-bias names token -1; ids begin with 0"),
        (lambda: LogitBias(((2, 1.0), (2, 0.0))), "logit-bias names token 2 2 times; leave one"),
        (lambda: _first(LogitBias(((9, 1.0),))), "logit-bias names token 9, but the model has 7; leave it out"),
        (lambda: BadWords(()), "bad-words needs sequences of at least one token, got (); leave it out"),
        (lambda: BadWords(((1,), ())), "bad-words needs sequences of at least one token, got ((1,), ()); leave it out"),
        (lambda: BadWords(((1, -4),)), "bad-words names token -4; ids begin with 0"),
        (lambda: _first(BadWords(((9, 1),))), "bad-words names token 9, but the model has 7; leave it out"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(BadInput) as raised:
        make()
    assert str(raised.value) == message
