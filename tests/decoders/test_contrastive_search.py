"""Contrastive search obeys its card: a likely token whose state resembles none before it, by one call a step."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModelForCausalLM

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.contrastive_search import ContrastiveSearch
from decant.errors import BadInput
from decant.models.folder import HOUSE
from decant.models.load import load
from decant.samplers.greedy import greedy
from decant.testing.laws import check_continuous
from decant.testing.markov import MarkovLM
from decant.types import Draft
from tests.decoders.checks import LM, PROMPTS, Forbids, alone_or_together, like_fresh, run, texts

FREE = Unconstrained()
ROWS = replace(LM, trees=False)


@torch.inference_mode()
def by_hand(text: list[int], network, alpha: float, top_k: int) -> int:
    """The card's next token, every candidate read from scratch."""
    law_V = network(torch.tensor([text])).logits[0, -1].float().softmax(-1)
    liked = {}
    for token in law_V.topk(top_k).indices.tolist():
        states_TD = network(torch.tensor([[*text, token]]), output_hidden_states=True).hidden_states[-1][0]
        likeness = cosine_similarity(states_TD[-1:], states_TD[:-1], dim=-1).max()
        liked[token] = float((1 - alpha) * law_V[token] - alpha * likeness)
    return max(liked, key=lambda token: liked[token])


def test_it_is_the_card_on_a_real_model() -> None:
    loaded = load("house:draft", exact="off")
    network = AutoModelForCausalLM.from_pretrained(HOUSE / "draft", dtype=torch.float32).eval()
    prompts = [loaded.encode("Once upon a time"), loaded.encode("What is 3 + 4?")]
    _, held, _ = run(ContrastiveSearch(loaded.model, FREE), prompts, 8)
    _, plain, _ = run(Autoregressive(loaded.model, greedy(), FREE), prompts, 8)
    assert held != plain
    for prompt, whole in zip(prompts, held, strict=True):
        for end in range(len(prompt), len(whole)):
            assert whole[end] == by_hand(whole[:end], network, 0.6, 5)


def test_on_a_toy_it_avoids_what_was_said() -> None:
    """A toy's states are alike where the tokens are the same, and at right angles elsewhere."""
    for decoder in (ContrastiveSearch(LM, FREE), ContrastiveSearch(ROWS, FREE)):
        for prompt, said in zip(PROMPTS, texts(decoder, most=30), strict=True):
            text = list(prompt)
            for token in said:
                law_K, ids_K = LM.logits_UVV[text[-2] if len(text) > 1 else 11, text[-1]].softmax(-1).topk(5)
                liked_K = 0.4 * law_K - 0.6 * torch.tensor([float(v in text) for v in ids_K.tolist()])
                assert token == ids_K[liked_K.argmax()]
                text.append(token)


@pytest.mark.parametrize("knobs", [{"alpha": 0.0}, {"top_k": 1}])
@pytest.mark.parametrize("lm", [LM, ROWS], ids=["trees", "rows"])
def test_without_a_choice_it_is_greedy(lm: MarkovLM, knobs) -> None:
    assert texts(ContrastiveSearch(lm, FREE, **knobs)) == texts(Autoregressive(LM, greedy(), FREE))


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize("network", ["lean", "padded"])
def test_looking_ahead_leaves_nothing_behind(pair, padded, network: str, trees: bool) -> None:
    model = replace(pair[0] if network == "lean" else padded, trees=trees)
    state, held, _ = run(ContrastiveSearch(model, FREE), PROMPTS, 6)
    like_fresh(model, state.context, held)
    want_BV = model.score(state.context, Draft.nothing(3)).logits_BMV[:, 0]
    torch.testing.assert_close(state.logits_BV, want_BV, atol=1e-4, rtol=1e-4)
    assert state.seen.count_B.tolist() == [len(text) for text in held]


def test_a_step_is_one_call() -> None:
    calls = []

    @dataclass(frozen=True)
    class Counted:
        lm: MarkovLM

        def __getattr__(self, name):
            return getattr(self.lm, name)

        def score(self, context, draft):
            calls.append(tuple(draft.tokens_BN.shape))
            return self.lm.score(context, draft)

    trees: Any = Counted(LM)
    rows: Any = Counted(ROWS)
    run(ContrastiveSearch(trees, FREE), PROMPTS, 3)
    assert calls == [(3, 0), (3, 5), (3, 5), (3, 5)]
    calls.clear()
    run(ContrastiveSearch(rows, FREE), PROMPTS, 2)
    assert calls == [(3, 0), (15, 1), (15, 1)]


def test_a_forbidden_token_is_not_said_though_it_resembles_nothing() -> None:
    for token in (6, 5):
        said = texts(ContrastiveSearch(LM, Forbids(token), top_k=11, alpha=0.9), most=30)
        assert all(token not in text for text in said)


def test_a_batch_is_its_requests(pair) -> None:
    alone_or_together(ContrastiveSearch(LM, FREE))
    alone_or_together(ContrastiveSearch(ROWS, FREE), most=20)
    alone_or_together(ContrastiveSearch(pair[0], FREE), most=12)


def test_requests_come_and_go() -> None:
    check_continuous(ContrastiveSearch(LM, FREE))
    check_continuous(ContrastiveSearch(ROWS, FREE))


def test_copies_are_counted() -> None:
    assert ContrastiveSearch(LM, FREE).cache_bytes([10]) == 80
    assert ContrastiveSearch(ROWS, FREE, top_k=2).cache_bytes([10, 1]) == 3 * 88
    assert ContrastiveSearch(LM, FREE).prepare(torch.tensor([[1, 2]]))


@pytest.mark.parametrize("knobs", [{"alpha": -0.1}, {"alpha": 1.1}, {"top_k": 0}])
def test_impossible_knobs_are_refused(knobs) -> None:
    with pytest.raises(BadInput, match="contrastive search needs an alpha in"):
        ContrastiveSearch(LM, FREE, **knobs)
