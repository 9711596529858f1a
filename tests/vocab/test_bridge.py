import pytest
import torch

from decant.errors import IncompatibleParts
from decant.types import PAD, Verdict
from decant.vocab.bridge import Bridge
from decant.vocab.token_map import TokenMap
from decant.vocab.vocabulary import Vocabulary

TARGET = Vocabulary([b"a", b"b", b"ab", b"abc", None, b"c", b"c"], {"<end>": 4})
DRAFT = Vocabulary([b"b", b"a", None, b"c", b"x"], {"<end>": 2})
BRIDGE = Bridge.between(TARGET, DRAFT, (8, 6))


def test_tokens_are_shared_where_bytes_are_equal_and_only_once_there() -> None:
    shared = BRIDGE.tokens
    assert shared.draft_V.tolist() == [1, 0, PAD, PAD, 2, PAD, PAD, PAD]
    assert shared.target_U.tolist() == [1, 0, 4, PAD, PAD, PAD]
    assert shared.size == 3


def test_an_id_without_a_logit_is_not_shared() -> None:
    assert TokenMap.of(TARGET, DRAFT, (4, 6)).size == 2
    assert TokenMap.of(TARGET, DRAFT, (8, 1)).draft_V.tolist() == [PAD, 0, *[PAD] * 6]


def test_values_are_lifted_to_the_target() -> None:
    lifted_V = BRIDGE.tokens.lift(torch.arange(6.0)[None], -1.0)[0]
    assert lifted_V.tolist() == [1.0, 0.0, -1.0, -1.0, 2.0, -1.0, -1.0, -1.0]


def test_tokens_are_carried_over() -> None:
    assert BRIDGE.tokens.to_draft(torch.tensor([[0, 2, PAD]])).tolist() == [[1, PAD, PAD]]


def test_every_token_is_spelt() -> None:
    assert BRIDGE.spelt == ((1,), (0,), (1, 0), (1, 0, 3), (2,), (3,), (3,), ())


def test_pairs_are_what_two_draft_tokens_write() -> None:
    pairs = BRIDGE.pairs
    assert [pairs.merged_P.tolist(), pairs.first_P.tolist(), pairs.second_P.tolist()] == [[2], [1], [0]]
    assert pairs.index_V.tolist() == [PAD, PAD, 0, *[PAD] * 5]
    assert pairs.starts_U.tolist() == [False, True, False, False, False, False]


def test_prompts_are_encoded_again_and_padded() -> None:
    prompt_BT = torch.tensor([[3, 4, 0], [1, PAD, PAD]])
    assert BRIDGE.prompt(prompt_BT).tolist() == [[1, 0, 3, 2, 1], [0, PAD, PAD, PAD, PAD]]


def test_a_node_stays_one_up_to_the_first_token_that_is_not_shared() -> None:
    tokens_BC = torch.tensor([[0, 1, 2], [2, 0, PAD], [7, PAD, PAD]])
    nodes_BC = torch.tensor([[0, 3, PAD], [0, 1, PAD], [PAD, PAD, PAD]])
    verdict = BRIDGE.verdict(Verdict(tokens_BC, nodes_BC))
    assert verdict.tokens_BC.tolist() == [[1, 0, 1, 0], [1, 0, 1, PAD], [PAD, PAD, PAD, PAD]]
    assert verdict.nodes_BC.tolist() == [[0, 3, PAD, PAD], [PAD, PAD, PAD, PAD], [PAD, PAD, PAD, PAD]]


def test_the_stretch_is_that_of_the_vocabulary() -> None:
    assert BRIDGE.stretch == 10 / 8
    assert Bridge.between(DRAFT, TARGET, (6, 8)).stretch == 1.0


def test_vocabularies_that_share_nothing_are_refused() -> None:
    with pytest.raises(IncompatibleParts, match="no token of the draft's 1 equals one of the target's 7"):
        Bridge.between(TARGET, Vocabulary([b"q"]), (8, 1))
