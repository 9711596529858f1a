"""Forced tokens are guesses like others: nothing is lost, whoever verifies, and even where they are not forced."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from decant.constraints.grammar import Grammar, Regex
from decant.decoders import speculative
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafting.forced import forced
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.protocols import Warp
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder
from decant.testing.laws.decoder import check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft
from decant.verifiers.block import Block
from decant.verifiers.coupled import Coupled
from decant.verifiers.k_seq import KSeq
from decant.verifiers.rejection import Rejection
from decant.vocab.matching import Tokens
from decant.vocab.vocabulary import Vocabulary

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4, by=2.0)
DRAWN = temperature(1.0)


@dataclass(frozen=True)
class Insists:
    """Calls tokens certain that are not: the hardest case. It forbids nothing."""

    tokens: tuple[int, ...]

    def start(self, prompt_BT):
        return prompt_BT[:, :1]

    def adjust(self, state, draft, logits_BMV):
        return logits_BMV

    def observe(self, state, verdict, scores):
        return state

    def forced(self, state, depth):
        return torch.tensor([self.tokens[:depth]]).expand(len(state), -1)


def decoder(drafter: Any, verifier: Any, constraint: Any, warp: Warp = DRAWN) -> Speculative:
    return Speculative(LM, drafter, verifier, Fixed(3), warp, constraint)


@pytest.mark.parametrize("certain", [(2,), (0, 1, 3)], ids=str)
@pytest.mark.parametrize("coupled", [False, True], ids=["drawn", "coupled"])
@pytest.mark.parametrize("verifier", [Rejection(), Block(), Coupled()], ids=repr)
def test_the_law_is_kept_even_where_certainty_is_wrong(verifier, coupled: bool, certain: tuple[int, ...]) -> None:
    check_law(decoder(DraftModel(SMALL, coupled), verifier, Insists(certain)), LM, DRAWN)


def test_the_law_catches_a_guess_that_keeps_the_drafters_law(monkeypatch) -> None:
    def mistaken(draft: Draft, certain_BN: torch.Tensor) -> Draft:
        right = forced(draft, certain_BN)
        return Draft(right.tokens_BN, laws_BMV=draft.laws_BMV, siblings=draft.siblings, evaluated_BN=right.evaluated_BN)

    monkeypatch.setattr(speculative, "forced", mistaken)
    with pytest.raises(AssertionError, match="the first 3 tokens"):
        check_law(decoder(DraftModel(SMALL, False), Rejection(), Insists((2, 2))), LM, DRAWN)


@pytest.mark.parametrize("warp", [greedy(), DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("drafter", [PromptLookup(), DraftModel(SMALL)], ids=["prompt-lookup", "draft-model"])
def test_the_text_is_plain_decodings(drafter, warp) -> None:
    pytest.importorskip("llguidance", reason="the extra [grammar] is not installed")
    tokens = Tokens(Vocabulary([b"a", b"b", b"c", None]), frozenset({3}), 4)
    grammar = Grammar(Regex("a(bcabc|acb)*c"), tokens)
    for constraint in (grammar, Insists((0, 2, 1))):
        plain = Autoregressive(LM, warp, constraint)
        check_decoder(decoder(drafter, Coupled(), constraint, warp), plain)


def test_what_stays_of_the_drafters_chain() -> None:
    laws_BMV = torch.full((3, 3, 4), 0.25)
    draft = Draft(torch.tensor([[2, 1, 0], [3, 1, 0], [PAD, PAD, PAD]]), laws_BMV=laws_BMV, siblings="independent")
    merged = forced(draft, torch.tensor([[2, PAD, PAD, PAD], [2, 1, PAD, PAD], [0, 1, 2, 3]]))
    assert merged.tokens_BN.tolist() == [[2, 1, 0, PAD], [2, 1, PAD, PAD], [0, 1, 2, 3]]
    assert merged.evaluated_BN is not None
    assert merged.evaluated_BN.tolist() == [[0, 1, 2, PAD], [PAD] * 4, [PAD] * 4]
    assert merged.laws_BMV is not None
    assert merged.laws_BMV[0].tolist() == [[0, 0, 1, 0], [0.25] * 4, [0.25] * 4, [0] * 4]
    assert merged.laws_BMV[2].tolist() == torch.eye(4).tolist()
    assert forced(draft, torch.empty(3, 0, dtype=torch.int64)) is draft


def test_a_verifier_of_laws_alone_is_given_none() -> None:
    made = decoder(DraftModel(SMALL, False), KSeq(), Insists((2, 2, 2)))
    state = made.start(torch.tensor([[0, 1]]).expand(50, -1), Noise(torch.arange(50), torch.zeros(50).long()))
    draft = made._drafted(state)
    assert len(draft.tokens_BN[:, 0].unique()) > 1
