"""Falcon: what a slot of a block sees, how blocks follow one another, and what a glance shows."""

import pytest
import torch
from torch.nn.functional import pad

from decant.distill.heads.falcon import Falcon, glanced
from decant.errors import BadInput
from decant.models.heads.block import angles_of
from decant.models.heads.falcon import ahead, passed, unrolled
from decant.models.heads.folder import untrained
from decant.types import Draft
from tests.models.test_heads import LENGTH, VOCAB, ends, spec_of, states, text
from tests.models.test_heads_by_state import ready

CPU = torch.device("cpu")


def net_of(block: int, seed: int = 3):
    net = untrained(spec_of("falcon", knobs={"block": block}), seed=seed).double().bind(ends())
    rng = torch.Generator().manual_seed(4)
    for weight in net.parameters():
        weight.data += 0.3 * torch.randn(weight.shape, generator=rng, dtype=torch.float64)
    return net.requires_grad_(False)


def out_of(net, tokens_BT, hidden_BTF, ahead_T):
    return passed(net, tokens_BT, hidden_BTF, angles_of(net.spec, torch.float64, CPU), ahead_T)


def moved(block: int, first: int, at: int, more: int = 0) -> list[bool]:
    """Which slots' outputs move when the token in slot `at` does."""
    net, ids_BT = net_of(block), text()
    other_BT, hidden_BTF = ids_BT.clone(), states(net)
    other_BT[:, at] = (other_BT[:, at] + 1) % VOCAB
    one, two = (out_of(net, ids, hidden_BTF, ahead(LENGTH, block, first) + more) for ids in (ids_BT, other_BT))
    return [not torch.equal(one[:, slot], two[:, slot]) for slot in range(LENGTH)]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_block_sees_itself_whole_and_what_was_before(first):
    for at in range(4, 10):
        begin = at - (at - first) % 3
        assert moved(3, first, at) == [slot >= begin for slot in range(LENGTH)]
    begin = 6 - (6 - first) % 3
    assert moved(3, first, begin, more=1)[begin - 1], "one slot too many shows"


def test_blocks_of_one_are_causal():
    assert ahead(LENGTH, 1).eq(0).all()
    for at in range(LENGTH):
        assert moved(1, 0, at) == [slot >= at for slot in range(LENGTH)]


@pytest.mark.parametrize("block", [2, 3])
def test_a_columns_block_is_the_block_that_ends_there(block):
    """`unrolled`, place by place, and a pass whose blocks begin anywhere compute the same."""
    net, ids_BT = net_of(block), text()
    hidden_BTF, angles = states(net), angles_of(net.spec, torch.float64, CPU)
    each = [state for state, _ in zip(unrolled(net, ids_BT, hidden_BTF, angles), range(block), strict=False)]
    tokens_BT = pad(ids_BT[:, 1:], (0, 1))
    for column in range(block - 1, LENGTH - 1):
        whole_BTD = out_of(net, tokens_BT, hidden_BTF, ahead(LENGTH, block, column + 1))
        for place, state_BTD in enumerate(each):
            torch.testing.assert_close(state_BTD[:, column], whole_BTD[:, column - block + 1 + place])


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_behind_the_text_go_on_from_where_the_text_left_the_lstm(block):
    """A second block is what one pass over the text and the guessed block behind it gives."""
    net, ids_BT = net_of(block), text()
    hidden_BTF, head, known = states(net), ready(net), 5
    memory = head.start(ids_BT[:, : known + 1], hidden_BTF[:, :known])
    guess = head.guess(memory)
    said = [guess(Draft(ids_BT[:, known + 1 : known + 1 + count]))[:, 0] for count in range(2 * block)]
    first_BSD = memory.text.last_BD.unflatten(1, (block, -1))
    fed_BTF = torch.cat([hidden_BTF[:, :known], first_BSD], 1)
    begins = ahead(known + block, block, known)
    whole_BTD = out_of(net, ids_BT[:, 1 : known + 1 + block], fed_BTF, begins)
    for place in range(block):
        torch.testing.assert_close(said[place], net.logits(first_BSD[:, place]))
        torch.testing.assert_close(said[block + place], net.logits(whole_BTD[:, known + place]))
    stale_BTD = out_of(net, ids_BT[:, 1 : known + 1 + block].roll(1, 1), fed_BTF, begins)
    assert not torch.allclose(said[block], net.logits(stale_BTD[:, known]))


@pytest.mark.parametrize("block", [2, 3, 4])
def test_a_glance_shows_heads_of_blocks_in_every_text(block):
    rng = torch.Generator().manual_seed(0)
    counted_BT = torch.ones(64, 40, dtype=torch.bool)
    counted_BT[:, :7] = counted_BT[:, -block:] = False
    wrong_BT = counted_BT & (torch.rand(64, 40, generator=rng) < 0.8)
    recipe = Falcon(block=block, glance=0.5)
    shares = []
    for first in range(block):
        shown_BT = recipe.shown(counted_BT, wrong_BT, first, rng)
        assert not (shown_BT & ~counted_BT).any()
        assert (shown_BT.sum(-1) <= (0.5 * wrong_BT.sum(-1)).ceil()).all()
        place_T = (torch.arange(40) - first) % block
        assert not shown_BT[:, place_T == block - 1].any(), "the tail of a block has to learn from its head"
        inner_BT = shown_BT[:, 1:] & (place_T[1:] > 0) & counted_BT[:, :-1]
        assert (inner_BT <= shown_BT[:, :-1]).all(), "what is shown of a block is a run from its head"
        shares.append((shown_BT.sum(-1) / wrong_BT.sum(-1)).mean())
        spread = shown_BT.any(-1).float().mean()
        assert spread in (0.0, 1.0) or shares[-1] < 0.1, "all texts are shown something, not the first alone"
    assert max(shares) > 0.05
    none_BT = torch.zeros_like(wrong_BT)
    assert not recipe.shown(counted_BT, none_BT, 0, rng).any(), "who is never wrong is shown nothing"


def test_what_is_shown_is_what_was_to_be_guessed():
    class Read:
        hidden_BTF = torch.arange(8.0)[None, :, None].expand(2, -1, 3)

    tokens_BT = torch.arange(1, 9).expand(2, -1)
    shown_BT = torch.zeros(2, 8, dtype=torch.bool)
    shown_BT[1, 2] = True
    noisy_BTF = Read.hidden_BTF + 0.25
    tokens, hidden = glanced(tokens_BT, noisy_BTF, Read, shown_BT, 3)  # type: ignore[arg-type]
    assert tokens[1].tolist() == [1, 2, 6, 4, 5, 6, 7, 8]
    assert hidden[1, :, 0].tolist() == [0.25, 1.25, 5.0, 3.25, 4.25, 5.25, 6.25, 7.25]
    assert torch.equal(tokens[0], tokens_BT[0])
    assert torch.equal(hidden[0], noisy_BTF[0])


def test_a_block_of_nothing_is_refused():
    with pytest.raises(BadInput, match="a block holds at least one state, got block=0; take 2"):
        Falcon(block=0)
