"""Heads that keep more than keys of a text (Falcon's, Chimera's): they draft as they are taught, on trees as on chains,
and after any round they know what a fresh start knows."""

from itertools import islice

import pytest
import torch
from torch import Tensor

from decant.models.heads.block import angles_of
from decant.models.heads.chimera import unrolled as chimera_unrolled
from decant.models.heads.falcon import unrolled as falcon_unrolled
from decant.models.heads.folder import untrained
from decant.models.heads.full_context import FullContext
from decant.models.heads.semi_autoregressive import SemiAutoregressive
from decant.types import PAD, Draft, join_rows, select_rows
from tests.models.test_heads import IDS, LENGTH, VOCAB, WIDTH, ends, spec_of, states, text

CASES = {
    "falcon": ("falcon", {"block": 2}, None),
    "falcon, one at a time": ("falcon", {"block": 1}, None),
    "falcon, three at a time": ("falcon", {"block": 3, "memory": 10}, IDS),
    "chimera": ("chimera", {}, None),
    "chimera, own matrix": ("chimera", {"gram": 6, "shared": False}, IDS),
}


def net_of(name: str):
    kind, knobs, ids = CASES[name]
    spec = spec_of(kind, draft_vocab=0 if ids is None else len(ids), knobs=knobs)
    net = untrained(spec, ids, seed=3).double().bind(ends(ids))
    rng = torch.Generator().manual_seed(4)
    for weight in net.parameters():  # larger than fresh ones, so that every part shows in what is said
        weight.data += 0.3 * torch.randn(weight.shape, generator=rng, dtype=torch.float64)
    return net


def ready(net):
    made = SemiAutoregressive if net.spec.kind == "falcon" else FullContext
    return made(net, net.spec.taps, VOCAB, torch.empty(0, dtype=torch.float64))


def taught(net, ids_BT: Tensor, hidden_BTF: Tensor, depths: int) -> list[Tensor]:
    """logits_BTV of each depth, as they are taught and measured."""
    angles = angles_of(net.spec, torch.float64, torch.device("cpu"))
    if net.spec.kind == "falcon":
        return [net.logits(state) for state in islice(falcon_unrolled(net, ids_BT, hidden_BTF, angles), depths)]
    steps = chimera_unrolled(net, ids_BT, hidden_BTF, angles)
    return [net.logits(hidden_BTF, state) for state in islice(steps, depths)]


def chained(head, memory, tokens_BN: Tensor) -> Tensor:
    """logits_BMV of a chain, drafted a node at a time."""
    guess = head.guess(memory)
    return torch.cat([guess(Draft(tokens_BN[:, :count])) for count in range(tokens_BN.shape[1] + 1)], 1)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_guess_does_not_see_what_it_guesses(name):
    """Column t of depth i knows states up to t, and tokens up to t + 1 + i, or up to where its block began."""
    net, ids_BT = net_of(name), text()
    hidden_BTF, block = states(net), getattr(net, "block", 1)
    column = 4
    for depth, logits in enumerate(taught(net, ids_BT, hidden_BTF, 5)):
        known = column + 1 + depth // block * block
        later_BT, seen_BT, hidden = ids_BT.clone(), ids_BT.clone(), hidden_BTF.clone()
        later_BT[:, known + 1 :] = (later_BT[:, known + 1 :] + 1) % VOCAB
        seen_BT[:, known] = (seen_BT[:, known] + 1) % VOCAB
        hidden[:, column + 1 :] += 1.0
        after = taught(net, later_BT, hidden, 5)[depth]
        torch.testing.assert_close(after[:, column], logits[:, column], msg=f"depth {depth} sees the future")
        moved = taught(net, seen_BT, hidden_BTF, 5)[depth]
        assert not torch.allclose(moved[:, column], logits[:, column]), "the last token must be seen"


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_what_is_taught_is_what_drafts(name):
    """Every depth of a lesson gives the logits of a chain that is drafted from the same column, texts together."""
    net, ids_BT = net_of(name), text()
    hidden_BTF, head = states(net), ready(net)
    lessons = taught(net, ids_BT, hidden_BTF, 5)
    for column in (0, 1, 3, 6):
        memory = head.start(ids_BT[:, : column + 2], hidden_BTF[:, : column + 1])
        said_BMV = chained(head, memory, ids_BT[:, column + 2 : column + 6])
        for depth, lesson in enumerate(lessons):
            said_BV = said_BMV[:, depth]
            if net.ids_V is not None:
                assert (said_BV[:, [at for at in range(VOCAB) if at not in net.ids_V]] == -torch.inf).all()
                said_BV = said_BV[:, net.ids_V]
            torch.testing.assert_close(said_BV, lesson[:, column], msg=f"column {column}, depth {depth}")


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_node_of_a_tree_says_what_its_path_says(name):
    """Also where a call brings nodes of several depths, and where texts are of different lengths."""
    net, ids_BT = net_of(name), text()
    hidden_BTF, head = states(net), ready(net)
    lengths = [LENGTH, 4]
    prompt_BT = ids_BT.clone()
    prompt_BT[1, lengths[1] :] = PAD
    memory = head.start(prompt_BT, hidden_BTF[:, :-1])
    tokens = torch.arange(1, 13).repeat(2, 1)
    parents = torch.tensor([[PAD, PAD, 0, 0, PAD, 4, 2, 5, 6, 8, 7, 9], [PAD, PAD, 1, 0, PAD, 4, 3, 5, 6, 8, 7, 10]])
    guess = head.guess(memory)
    calls = (0, 2, 5, 7, 9, 11, 12)
    said_BMV = torch.cat([guess(Draft(tokens[:, :count], parents[:, :count])) for count in calls], 1)
    for request in range(2):
        alone = select_rows(memory, torch.tensor([request]))
        for node in range(12):
            path, at = [], node
            while at != PAD:
                path, at = [int(tokens[request, at]), *path], int(parents[request, at])
            want = chained(head, alone, torch.tensor([path]))[0, -1]
            torch.testing.assert_close(said_BMV[request, node + 1], want, msg=f"request {request}, node {node}")


def leaves(memory):
    """Every tensor, slots behind a request's length blanked."""
    text = memory.text
    there_BT = torch.arange(text.key_BKTW.shape[2]) < text.length_B[:, None]
    slots = [part.where(there_BT[:, None, :, None], 0.0) for part in (text.key_BKTW, text.value_BKTW)]
    rest = [getattr(memory, name) for name in memory.__slots__ if name != "text"]
    return [*slots, text.length_B, text.last_BD, *rest]


def like(one, two) -> None:
    for a, b in zip(leaves(one), leaves(two), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_after_any_round_the_memory_is_that_of_a_fresh_start(name):
    """Falcon's LSTM goes on from the last token that was committed, wherever the draft had gone."""
    net, ids_BT = net_of(name), text()
    hidden_BTF, head = states(net), ready(net)
    prompt_BT = ids_BT[:, :5].clone()
    prompt_BT[1, 1:] = PAD
    lengths = [5, 1]
    memory = head.start(prompt_BT, hidden_BTF[:, :4])
    for committed in ([1, 3], [2, 1], [3, 2]):
        most = max(committed)
        tokens_BC = torch.full((2, most), PAD)
        new_BCF = hidden_BTF.new_zeros(2, most, hidden_BTF.shape[-1])
        for request, (length, count) in enumerate(zip(lengths, committed, strict=True)):
            tokens_BC[request, :count] = ids_BT[request, length : length + count]
            new_BCF[request, :count] = hidden_BTF[request, length - 1 : length - 1 + count]
        before = [part.clone() for part in leaves(memory)]
        chained(head, memory, torch.tensor([[7, 8, 2], [9, 1, 3]]))
        assert all(map(torch.equal, before, leaves(memory))), "drafting leaves no trace"
        memory = head.follow(memory, tokens_BC, new_BCF)
        lengths = [length + count for length, count in zip(lengths, committed, strict=True)]
        fresh = [
            head.start(ids_BT[at : at + 1, :length], hidden_BTF[at : at + 1, : length - 1])
            for at, length in enumerate(lengths)
        ]
        like(memory, join_rows(*fresh))
        for request, alone in enumerate(fresh):
            lone = select_rows(memory, torch.tensor([request]))
            torch.testing.assert_close(lone.text.last_BD, alone.text.last_BD)
            tokens_14 = torch.tensor([[3, 1, 4, 1]])
            torch.testing.assert_close(chained(head, lone, tokens_14), chained(head, alone, tokens_14))
    swapped = select_rows(memory, torch.tensor([1, 0]))
    like(select_rows(swapped, torch.tensor([1, 0])), memory)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_prompt_of_one_token_can_be_drafted_from(name):
    head = ready(net_of(name))
    memory = head.start(torch.tensor([[3]]), torch.empty(1, 0, 0))
    said = chained(head, memory, torch.tensor([[4, 5, 6]]))
    assert not said.isnan().any()
    assert (said > -torch.inf).any(-1).all()


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_an_enlarged_target_gives_the_same_guesses(name):
    """Its states hold the teacher's in front, zeros behind."""
    net, ids_BT = net_of(name), text()
    hidden_BTF, head = states(net), ready(net)
    wide = torch.nn.functional.pad(hidden_BTF, (0, 3 * WIDTH))
    like(head.start(ids_BT, wide[:, :-1]), head.start(ids_BT, hidden_BTF[:, :-1]))


def test_what_a_request_keeps_is_counted():
    """All but the ids, of which there are three, and the last state."""
    for name in ("falcon", "chimera"):
        net = net_of(name)
        head, ids_BT = ready(net), text(1)
        memory = head.start(ids_BT, states(net, 1)[:, :-1])
        kept = sum(part.nbytes for part in leaves(memory) if part.is_floating_point())
        assert kept - memory.text.last_BD.nbytes <= head.cache_bytes([LENGTH]) <= 2 * kept
