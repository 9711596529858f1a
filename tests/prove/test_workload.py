"""What is decoded: prompts in groups, each with a seed of its own."""

import pytest

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.errors import BadInput
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM

DECODER = Autoregressive(MarkovLM.random(vocab=9, seed=0, spread=0.5), temperature(1.0), Unconstrained())


def texts(work: Workload) -> list[list[int]]:
    return [output.tokens for _, outputs in work.decode(DECODER) for output in outputs]


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_a_text_does_not_depend_on_the_batch(batch: int) -> None:
    prompts = [[1], [2, 3], [1], [4, 5, 6]]
    alone = texts(Workload(prompts, max_tokens=20, seed=5, ends=frozenset({3})))
    assert texts(Workload(prompts, max_tokens=20, seed=5, ends=frozenset({3}), batch=batch)) == alone
    assert alone[0] != alone[2], "the same prompt twice is sampled twice"


def test_groups_hold_all_prompts_in_order() -> None:
    groups = Workload([[1], [2], [3]], max_tokens=12, batch=2).groups(max_tokens=5)
    assert [group.first for group in groups] == [0, 2]
    assert [group.prompt_BT.tolist() for group in groups] == [[[1], [2]], [[3]]]
    assert groups[0].stopping[0].max_tokens == 5
    assert Workload([[1]], max_tokens=4).groups(max_tokens=5)[0].stopping[0].max_tokens == 4


def test_a_workload_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no prompt to decode; give at least one"):
        Workload([])
    with pytest.raises(BadInput, match="batch and max_tokens are 1 or more, got batch 0 and max_tokens 128"):
        Workload([[1]], batch=0)
    with pytest.raises(BadInput, match="prompt 1 is empty"):
        Workload([[1], []])
