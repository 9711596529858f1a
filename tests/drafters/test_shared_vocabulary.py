from dataclasses import replace

import pytest
import torch

from decant.drafters.draft_model import DraftModel
from decant.drafters.shared_vocabulary import SharedVocabulary
from decant.errors import IncompatibleParts
from decant.models.build import LlamaSpec, untrained
from decant.models.causal import Causal
from decant.models.padded import Padded
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores, Verdict
from decant.verifiers.coupled import Coupled
from decant.vocab.bridge import Bridge
from decant.vocab.vocabulary import Vocabulary

TARGET = Vocabulary([b"a", b"b", b"c", b"ab", b"ca"])
DRAFT = Vocabulary([b"d", b"c", b"a", b"b", b"bc", b"aa"])
BRIDGE = Bridge.between(TARGET, DRAFT, (5, 6))
SMALL = MarkovLM.random(vocab=6, seed=1)
LM = MarkovLM.random(vocab=5, seed=0)
PROMPT_BT = torch.tensor([[0, 2, 3], [4, PAD, PAD]])
NOISE = Noise.of([1, 2])
CHAIN = DraftShape(3)
NOTHING = Scores(torch.zeros(2, 0, 5))


def drafted(drafter, shape: DraftShape = CHAIN, warp=None) -> Draft:
    state = drafter.start(PROMPT_BT, NOTHING)
    return drafter.draft(state, shape, warp or temperature(0.7), NOISE, None)


def test_the_law_is_the_drafts_over_what_both_can_say() -> None:
    laws_BMV = drafted(SharedVocabulary(SMALL, BRIDGE, coupled=False)).laws_BMV
    context, _ = SMALL.start(torch.tensor([[2, 1, 2, 3]]))  # a c ab
    own_U = (SMALL.score(context, Draft.nothing(1)).logits_BMV[0, 0] / 0.7).softmax(-1)
    shared_3 = own_U[[2, 3, 1]]
    assert laws_BMV is not None
    torch.testing.assert_close(laws_BMV[0, 0], torch.cat([shared_3 / shared_3.sum(), torch.zeros(2)]))


def test_a_greedy_chain_is_the_likeliest_shared_token_each_time() -> None:
    text = [1, 2]  # c a, which is how the draft writes the second prompt
    for token in drafted(SharedVocabulary(SMALL, BRIDGE), warp=greedy()).tokens_BN[1].tolist():
        logits_U = SMALL.logits_UVV[text[-2], text[-1]]
        assert token == int(logits_U[[2, 3, 1]].argmax())
        text.append([2, 3, 1][token])


@pytest.mark.parametrize("shape", [DraftShape(3), DraftShape(2, width=2)], ids=repr)
def test_over_the_same_vocabulary_it_is_draft_model(shape: DraftShape) -> None:
    prompt_BT = torch.tensor([[0, 2, 2], [4, 0, PAD]])  # spelt as the longest pieces spell it
    same = Bridge.between(TARGET, TARGET, (5, 5))
    mine, plain = (
        drafter.draft(drafter.start(prompt_BT, NOTHING), shape, temperature(0.7), NOISE, None)
        for drafter in (SharedVocabulary(LM, same), DraftModel(LM))
    )
    assert torch.equal(mine.tokens_BN, plain.tokens_BN)


def test_what_is_committed_is_read_in_the_drafts_spelling() -> None:
    drafter = SharedVocabulary(SMALL, BRIDGE)
    state = drafter.start(PROMPT_BT, NOTHING)
    verdict = Verdict(torch.tensor([[0, 1, 4], [3, PAD, PAD]]), torch.tensor([[0, 1, PAD], [PAD, PAD, PAD]]))
    state = drafter.observe(state, Draft(torch.tensor([[0, 1], [0, 0]])), verdict, NOTHING)
    assert SMALL.tokens(state).tolist() == [[2, 1, 2, 3, 2, 3, 1, 2], [1, 2, 2, 3, *[PAD] * 4]]


@pytest.mark.parametrize("shape", [DraftShape(3), DraftShape(2, width=3, budget=8)], ids=repr)
def test_a_cache_that_kept_the_path_says_what_a_fresh_one_says(shape: DraftShape) -> None:
    spec = LlamaSpec(vocab=6, hidden=16, layers=2, heads=2, kv_heads=1, intermediate=32, head_dim=8, positions=64)
    model = Causal.over(Padded.of(untrained(spec).eval(), 64, None))
    drafter = SharedVocabulary(model, BRIDGE)
    with torch.inference_mode():
        state, noise, context = drafter.start(PROMPT_BT, NOTHING), NOISE, LM.start(PROMPT_BT)[0]
        kept = 0
        for _ in range(6):
            draft = drafter.draft(state, shape, temperature(1.0), noise, None)
            probs_BMV = LM.score(context, draft).logits_BMV.softmax(-1)
            verdict = Coupled().verify(draft, probs_BMV, noise)
            kept += int(verdict.accepted_B.sum())
            state, context = drafter.observe(state, draft, verdict, NOTHING), LM.commit(context, verdict)
            noise = noise.advance(verdict.committed_B)
            texts = [[token for token in row if token != PAD] for row in model.tokens(state).tolist()]
            said = [b"".join(DRAFT.pieces[token] or b"" for token in row) for row in texts]
            assert said == [TARGET.bytes_of([t for t in row if t != PAD]) for row in LM.tokens(context).tolist()]
            fresh = model.start(model.tokens(state))[0]
            for one, two in zip(*(model.score(at, Draft.nothing(2)).logits_BMV for at in (state, fresh)), strict=True):
                torch.testing.assert_close(one, two)
        assert kept > 0, "a path was kept, or nothing was tested"


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(IncompatibleParts, match="cannot score a tree; take a policy of chains"):
        drafted(SharedVocabulary(replace(SMALL, trees=False), BRIDGE), DraftShape(2, width=2))


def test_memory_is_that_of_the_stretched_text() -> None:
    assert SharedVocabulary(SMALL, BRIDGE).cache_bytes([100]) == SMALL.cache_bytes([140])
