import pytest
import torch

from decant.bench.quality import lost
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.samplers.greedy import greedy
from decant.testing.markov import MarkovLM

LM = MarkovLM.random(vocab=9, seed=0)
PLAIN = Autoregressive(LM, greedy(), Unconstrained())
WORK = Workload([[1, 2], [3, 4]], max_tokens=4)


def nats(prompt: list[int], text: list[int]) -> list[float]:
    said, found = list(prompt), []
    for token in text:
        found.append(-float(LM.logits_UVV[said[-2], said[-1]].log_softmax(-1)[token]))
        said.append(token)
    return found


def test_nothing_is_lost_by_the_same_texts() -> None:
    texts = [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert lost(PLAIN, WORK, texts, texts) == {"agreement": 1.0, "nats": 0.0}


def test_agreement_ends_at_the_first_difference_and_nats_are_the_targets() -> None:
    expected, outputs = [[0, 1, 2, 3], [4, 5, 6, 7]], [[0, 1, 8, 3], [5, 5, 6, 7]]
    found = lost(PLAIN, WORK, expected, outputs)
    assert found["agreement"] == pytest.approx((2 / 4 + 0 / 4) / 2)
    both = [
        torch.tensor([nats(prompt, text) for prompt, text in zip(WORK.prompts, texts, strict=True)]).mean()
        for texts in (outputs, expected)
    ]
    assert found["nats"] == pytest.approx(float(both[0] - both[1]), abs=1e-4)


@pytest.mark.parametrize("expected", [[[0, 1, 2, 3]], [[]]])
def test_texts_drawn_with_other_noise_do_not_agree_or_disagree(expected: list[list[int]]) -> None:
    found = lost(PLAIN, WORK, expected, [[0, 1, 2, 4]], coupled=False)
    assert found["agreement"] is None
    assert found["nats"] == lost(PLAIN, WORK, expected, [[0, 1, 2, 4]])["nats"]


def test_a_text_that_ends_early_agrees_as_far_as_it_goes() -> None:
    assert lost(PLAIN, WORK, [[0, 1, 2, 3]], [[0, 1]])["agreement"] == 0.5
