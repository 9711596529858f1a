import pytest
import torch

from decant.drafters.prompt_lookup import PromptLookup
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.types import PAD, Draft, DraftShape, Scores, Verdict


def guess(tokens: list[list[int]], depth: int = 3, budget: int | None = None, **knobs: int) -> list[list[int]]:
    state_BT = torch.tensor(tokens)
    noise = Noise.of([0] * len(tokens))
    shape = DraftShape(depth, budget=budget)
    return PromptLookup(**knobs).draft(state_BT, shape, greedy(), noise, None).tokens_BN.tolist()


def test_the_card_example() -> None:
    a, b, c = 1, 2, 3
    assert guess([[a, b, c, a, b]], ngram=2) == [[c, a, b]]


def test_the_longest_match_counts() -> None:
    """After 5 came 9 lately, but after 4 5 came 6."""
    assert guess([[4, 5, 6, 7, 5, 9, 4, 5]], depth=1) == [[6]]


def test_of_equal_matches_the_latest_with_a_whole_continuation() -> None:
    assert guess([[1, 2, 3, 4, 1, 5, 6, 7, 1, 8, 1]], depth=3) == [[5, 6, 7]]
    assert guess([[1, 2, 3, 4, 1, 5, 6, 7, 1, 8, 1]], depth=2) == [[8, 1]]


def test_where_none_is_whole_the_longest_continuation() -> None:
    assert guess([[1, 2, 1, 3, 1]], depth=9) == [[2, 1, 3, 1]]


def test_the_end_does_not_match_itself() -> None:
    assert guess([[1, 2, 3, 4]]) == [[]]
    assert guess([[7]]) == [[]]


def test_a_loop_goes_on() -> None:
    assert guess([[1, 2, 1, 2, 1, 2, 1, 2]], depth=4) == [[1, 2, 1, 2]]


def test_a_batch_is_ragged() -> None:
    assert guess([[1, 2, 3, 1, PAD], [4, 5, 6, 7, 8], [9, 8, 9, PAD, PAD]], depth=4) == [
        [2, 3, 1],
        [PAD, PAD, PAD],
        [8, 9, PAD],
    ]


def test_padding_is_never_matched_or_copied() -> None:
    assert guess([[3, PAD, PAD, PAD], [1, 2, 1, 2]], depth=2) == [[PAD, PAD], [1, 2]]


def test_min_ngram() -> None:
    assert guess([[1, 2, 3, 1]], min_ngram=2) == [[]]
    assert guess([[1, 2, 3, 1, 2]], min_ngram=2, depth=1) == [[3]]


def test_the_budget_cuts_the_chain() -> None:
    assert guess([[1, 2, 3, 4, 1]], depth=3, budget=2) == [[2, 3]]


def test_what_was_committed_is_looked_up_too() -> None:
    drafter, noise = PromptLookup(), Noise.of([0])
    state_BT = drafter.start(torch.tensor([[1, 2]]), Scores(torch.zeros(1, 0, 9)))
    verdict = Verdict(torch.tensor([[3, 4, 1]]), torch.tensor([[PAD, PAD, PAD]]))
    state_BT = drafter.observe(state_BT, Draft.nothing(1), verdict, Scores(torch.zeros(1, 1, 9)))
    assert drafter.draft(state_BT, DraftShape(3), greedy(), noise, None).tokens_BN.tolist() == [[2, 3, 4]]


def test_it_agrees_with_a_search_by_hand() -> None:
    """Random texts over three letters against the rule written as loops."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(3, (200, 12), generator=generator).tolist()
    have = guess(texts, depth=3)
    for text, said in zip(texts, have, strict=True):
        assert [token for token in said if token != PAD] == by_hand(text, depth=3)


def by_hand(text: list[int], depth: int) -> list[int]:
    for n in (3, 2, 1):
        ends = [end for end in range(n, len(text)) if text[end - n : end] == text[-n:]]
        if ends:
            longest = max(min(depth, len(text) - end) for end in ends)
            end = max(end for end in ends if min(depth, len(text) - end) == longest)
            return text[end : end + depth]
    return []


def test_messages() -> None:
    with pytest.raises(BadInput, match="prompt-lookup needs 1 <= min_ngram <= ngram, got min_ngram 4, ngram 3"):
        PromptLookup(min_ngram=4)
