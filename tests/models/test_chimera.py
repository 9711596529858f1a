"""Chimera: how it begins, and what its two encoders see."""

import pytest
import torch

from decant.models.heads.block import angles_of
from decant.models.heads.chimera import unrolled
from decant.models.heads.folder import untrained
from decant.types import Draft
from tests.models.test_heads import IDS, WIDTH, ends, random, spec_of, states, text
from tests.models.test_heads_by_state import net_of, ready


@pytest.mark.parametrize("ids", [None, IDS], ids=["all ids", "some ids"])
@pytest.mark.parametrize("shared", [True, False])
def test_with_the_targets_own_state_it_begins_as_the_target_twice(shared, ids):
    spec = spec_of("chimera", draft_vocab=0 if ids is None else len(ids), knobs={"shared": shared})
    net = untrained(spec, ids).double().bind(ends(ids))
    net.begin()
    hidden_XD = random(7, WIDTH)
    torch.testing.assert_close(net.logits(hidden_XD, hidden_XD), 2 * ends(ids).say(hidden_XD))


@torch.no_grad()
def test_three_tokens_are_read_and_the_first_repeats_itself():
    net, ids_BT = net_of("chimera"), text()
    hidden_BTF, head = states(net), ready(net)
    assert head.start(ids_BT[:, :1], hidden_BTF[:, :0]).gram_BG[0].tolist() == ids_BT[0, [0, 0, 0]].tolist()
    assert head.start(ids_BT[:, :2], hidden_BTF[:, :1]).gram_BG[0].tolist() == ids_BT[0, [0, 0, 1]].tolist()
    assert head.start(ids_BT[:, :6], hidden_BTF[:, :5]).gram_BG[0].tolist() == ids_BT[0, [3, 4, 5]].tolist()
    said = []
    for at in range(6):
        other_BT = ids_BT.clone()
        other_BT[:, at] += 1
        memory = head.start(other_BT[:, :6], hidden_BTF[:, :5])
        said.append(head.guess(memory)(Draft(ids_BT[:, :0])))
    assert all(torch.equal(said[0], one) for one in said[1:3]), "what is older shows in the target's states alone"
    assert not any(torch.allclose(said[0], one) for one in said[3:])


@torch.no_grad()
def test_a_row_sees_every_state_before_it_and_no_state_of_its_own():
    """The target's of the text, then the guessed ones: each stands where it belongs."""
    net, ids_BT = net_of("chimera"), text()
    hidden_BTF, angles = states(net), angles_of(net.spec, torch.float64, torch.device("cpu"))
    column = 6

    def third(hidden):
        """Of three steps the last, at a column."""
        return [state for state, _ in zip(unrolled(net, ids_BT, hidden, angles), range(3), strict=False)][2][:, column]

    for at in range(net.spec.hidden // 2):
        other = hidden_BTF.clone()
        if at < hidden_BTF.shape[1]:
            other[:, at] += 1
            assert torch.equal(third(other), third(hidden_BTF)) == (at > column)


@torch.no_grad()
def test_the_last_true_state_stands_beside_every_guessed_one():
    """At any depth of a draft the head reads the state that the target computed last."""
    net, ids_BT = net_of("chimera"), text()
    hidden_BTF, head = states(net), ready(net)
    memory = head.start(ids_BT[:, :6], hidden_BTF[:, :5])
    torch.testing.assert_close(memory.text.last_BD, hidden_BTF[:, 4])
    angles = angles_of(net.spec, torch.float64, torch.device("cpu"))
    guess = head.guess(memory)
    for depth, state_BTD in zip(range(3), unrolled(net, ids_BT, hidden_BTF, angles), strict=False):
        said = guess(Draft(ids_BT[:, 6 : 6 + depth]))[:, 0]
        torch.testing.assert_close(said, net.logits(hidden_BTF[:, 4], state_BTD[:, 4]))
