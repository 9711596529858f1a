"""Heads' networks: what they compute, what they must not see, and that drafting and teaching are one mathematics."""

from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from decant.errors import BadInput
from decant.models.build import LlamaSpec
from decant.models.build import untrained as untrained_llama
from decant.models.heads.block import angles_of
from decant.models.heads.ends import Ends
from decant.models.heads.folder import untrained
from decant.models.heads.medusa import Parallel, shifted
from decant.models.heads.recurrent import Memory, Recurrent, unrolled
from decant.models.heads.spec import HeadSpec
from decant.types import PAD, Draft, join_rows, select_rows

VOCAB, WIDTH, LENGTH = 40, 16, 12
IDS = torch.arange(0, VOCAB, 3)  # a reduced draft vocabulary


def spec_of(kind: str, **changes) -> HeadSpec:
    config = untrained_llama(LlamaSpec(VOCAB, WIDTH, 6, 4, 2, 24, head_dim=8)).config
    taps = (1, 3, -1) if kind in {"eagle3", "glide"} else (-1,)
    knobs = {"width": 20, "layers": 2} if kind == "glide" else {}
    return HeadSpec.beside(kind, "teacher", config, **{"taps": taps, "knobs": knobs, **changes})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ends(ids: Tensor | None = None, wide: int = WIDTH) -> Ends:
    table, out = random(VOCAB, wide, seed=1), random(VOCAB, wide, seed=2)
    out = out if ids is None else out[ids]
    return Ends(table, lambda hidden: linear(hidden, out))


def net_of(kind: str, ids: Tensor | None = None):
    spec = spec_of(kind, draft_vocab=0 if ids is None else len(ids))
    net = untrained(spec, ids, seed=3).double().bind(ends(ids))
    if kind != "medusa":
        for weight in net.parameters():  # larger than fresh ones, so that every part shows in what is said
            weight.data.mul_(2.0)
    if kind == "glide":
        net.glimpse.weight.data.copy_(random(20, 20, seed=4))  # nothing, at first
    return net


def text(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def states(net, batch: int = 2, length: int = LENGTH) -> Tensor:
    return random(batch, length, len(net.spec.taps) * WIDTH, seed=5)


def ready(net) -> Recurrent:
    return Recurrent(net, net.spec.taps, VOCAB, torch.empty(0, dtype=torch.float64))


def taught(net, ids_BT: Tensor, hidden_BTF: Tensor, steps: int) -> list[Tensor]:
    """logits_BTV of each step, as they are taught."""
    angles = angles_of(net.spec, torch.float64, torch.device("cpu"))
    return [net.logits(state) for state in islice(unrolled(net, ids_BT, hidden_BTF, angles), steps)]


def chained(head: Recurrent, memory: Memory, tokens_BN: Tensor) -> Tensor:
    """logits_BMV of a chain, drafted a node at a time."""
    guess = head.guess(memory)
    return [guess(Draft(tokens_BN[:, :count])) for count in range(tokens_BN.shape[1] + 1)][-1]


RECURRENT = ["eagle", "eagle3", "glide", "fspad"]
NETS = [(kind, ids) for kind in RECURRENT for ids in (None, IDS)]


@pytest.mark.parametrize("kind", RECURRENT)
@torch.no_grad()
def test_a_guess_does_not_see_what_it_guesses(kind):
    """Column t of step i knows tokens up to t + 1 + i, and states up to t."""
    net, ids_BT = net_of(kind), text()
    hidden_BTF = states(net)
    before = taught(net, ids_BT, hidden_BTF, 3)
    column = 4
    for step, logits in enumerate(before):
        later_BT, seen_BT = ids_BT.clone(), ids_BT.clone()
        later_BT[:, column + 2 + step :] = (later_BT[:, column + 2 + step :] + 1) % VOCAB
        seen_BT[:, column + 1 + step] = (seen_BT[:, column + 1 + step] + 1) % VOCAB
        hidden = hidden_BTF.clone()
        hidden[:, column + 1 :] += 1.0
        after = taught(net, later_BT, hidden, 3)[step]
        torch.testing.assert_close(after[:, column], logits[:, column], msg=f"step {step} sees the future")
        moved = taught(net, seen_BT, hidden_BTF, 3)[step]
        assert not torch.allclose(moved[:, column], logits[:, column]), "the last token must be seen"


@pytest.mark.parametrize(("kind", "ids"), NETS)
@torch.no_grad()
def test_what_is_taught_is_what_drafts(kind, ids):
    """Every step of a lesson gives the logits of a chain that is drafted from the same column."""
    net, ids_BT = net_of(kind, ids), text()
    hidden_BTF, head = states(net), ready(net)
    lessons = taught(net, ids_BT, hidden_BTF, 4)
    for column in (0, 3, 6):
        memory = head.start(ids_BT[:, : column + 2], hidden_BTF[:, : column + 1])
        guess = head.guess(memory)
        for step, lesson in enumerate(lessons):
            chain = Draft(ids_BT[:, column + 2 : column + 2 + step])
            said_BV = guess(chain)[:, -1]
            want_BV = lesson[:, column]
            if ids is not None:
                assert (said_BV[:, [at for at in range(VOCAB) if at not in IDS]] == -torch.inf).all()
                said_BV = said_BV[:, ids]
            torch.testing.assert_close(said_BV, want_BV)


@pytest.mark.parametrize("kind", RECURRENT)
@torch.no_grad()
def test_a_node_of_a_tree_says_what_its_path_says(kind):
    net, ids_BT = net_of(kind), text()
    hidden_BTF, head = states(net), ready(net)
    memory = head.start(ids_BT, hidden_BTF[:, :-1])
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]]).repeat(2, 1)
    parents = torch.tensor([[PAD, PAD, 0, 0, 1, 2], [PAD, PAD, 1, 1, 0, 3]])
    guess = head.guess(memory)
    levels = (0, 2, 4, 6)  # one node of the second later than the others
    said_BMV = torch.cat([guess(Draft(tokens[:, :count], parents[:, :count])) for count in levels], 1)
    for request in range(2):
        alone = select_rows(memory, torch.tensor([request]))
        for node in range(6):
            path, at = [], node
            while at != PAD:
                path, at = [int(tokens[request, at]), *path], int(parents[request, at])
            want = chained(head, alone, torch.tensor([path]))[0, -1]
            torch.testing.assert_close(said_BMV[request, node + 1], want)


def like(one: Memory, two: Memory) -> None:
    """Equal where there are slots."""
    assert torch.equal(one.length_B, two.length_B)
    torch.testing.assert_close(one.last_BD, two.last_BD)
    for request, length in enumerate(one.length_B.tolist()):
        for a, b in ((one.key_BKTW, two.key_BKTW), (one.value_BKTW, two.value_BKTW)):
            torch.testing.assert_close(a[request, :, :length], b[request, :, :length])


@pytest.mark.parametrize("kind", RECURRENT)
@torch.no_grad()
def test_after_any_round_the_memory_is_that_of_a_fresh_start(kind):
    net, ids_BT = net_of(kind), text()
    hidden_BTF, head = states(net), ready(net)
    prompt_BT = ids_BT[:, :5].clone()
    prompt_BT[1, 3:] = PAD
    lengths = [5, 3]
    memory = head.start(prompt_BT, hidden_BTF[:, :4])
    for committed in ([1, 3], [2, 1], [3, 2]):
        most = max(committed)
        tokens_BC = torch.full((2, most), PAD)
        new_BCF = hidden_BTF.new_zeros(2, most, hidden_BTF.shape[-1])
        for request, (length, count) in enumerate(zip(lengths, committed, strict=True)):
            tokens_BC[request, :count] = ids_BT[request, length : length + count]
            new_BCF[request, :count] = hidden_BTF[request, length - 1 : length - 1 + count]
        chained(head, memory, torch.tensor([[7, 8], [9, 1]]))  # leaves no trace
        memory = head.follow(memory, tokens_BC, new_BCF)
        lengths = [length + count for length, count in zip(lengths, committed, strict=True)]
        fresh = [
            head.start(ids_BT[at : at + 1, :length], hidden_BTF[at : at + 1, : length - 1])
            for at, length in enumerate(lengths)
        ]
        for request, alone in enumerate(fresh):
            like(select_rows(memory, torch.tensor([request])), alone)
        like(memory, join_rows(*fresh))
    swapped = select_rows(memory, torch.tensor([1, 0]))
    like(select_rows(swapped, torch.tensor([1, 0])), memory)


@pytest.mark.parametrize("kind", RECURRENT)
@torch.no_grad()
def test_a_prompt_of_one_token_leaves_every_guess_as_likely(kind):
    """But for a head that reads the first token too."""
    head = ready(net_of(kind))
    memory = head.start(torch.tensor([[3]]), torch.empty(1, 0, 0))
    said = head.guess(memory)(Draft(torch.empty(1, 0, dtype=torch.int64)))
    assert (said == said[..., :1]).all() == (kind != "glide")
    assert head.guess(memory)(Draft(torch.tensor([[4]]))).isfinite().all()


@pytest.mark.parametrize("kind", RECURRENT)
@torch.no_grad()
def test_an_enlarged_target_gives_the_same_guesses(kind):
    """Its states hold the teacher's in front, zeros behind, layer by layer."""
    net, ids_BT = net_of(kind), text()
    hidden_BTF, head = states(net), ready(net)
    layers = len(net.spec.taps)
    wide = torch.nn.functional.pad(hidden_BTF.unflatten(-1, (layers, WIDTH)), (0, 3 * WIDTH)).flatten(-2)
    like(head.start(ids_BT, wide[:, :-1]), head.start(ids_BT, hidden_BTF[:, :-1]))


def test_taps_of_an_enlarged_target_lie_where_the_layers_went():
    from decant.models.widen import Shape, _places

    spec = spec_of("eagle3", taps=(1, 3, 6, -1, 0))
    places = _places(Shape(1, 1, 6, 1, 1), Shape(1, 1, 22, 1, 1))
    assert spec.tapped(22) == (places[0] + 1, places[2] + 1, places[5] + 1, -1, 0)
    assert spec.tapped(6) == spec.taps


def test_medusa_begins_as_the_target_and_head_k_looks_k_further():
    net, hidden = net_of("medusa"), states(net_of("medusa"))
    own = untrained(spec_of("medusa", knobs={"num_heads": 3, "shared": False})).double().bind(ends())
    own.begin()
    for medusa in (net, own):
        heads = list(shifted(medusa, hidden))
        assert len(heads) == 3
        for said in heads:
            torch.testing.assert_close(said, ends().say(hidden))
    blocks = [head[0] for head in net.heads]
    assert len(set(map(id, blocks))) == len(blocks), "every head has blocks of its own"
    head = Parallel(net_of("medusa", IDS), (-1,), VOCAB, hidden)
    said = head.said(hidden[:, 0])
    torch.testing.assert_close(said[:, 2, IDS], ends(IDS).say(hidden[:, 0]))
    assert said.isfinite().sum(-1).eq(len(IDS)).all()


def test_impossible_shapes_are_refused():
    with pytest.raises(BadInput, match=r"heads \(3\) must be a multiple of kv_heads \(2\)"):
        spec_of("eagle", heads=3, kv_heads=2)
    with pytest.raises(BadInput, match="a draft vocabulary of 99 ids is more than the teacher's 40"):
        spec_of("eagle", draft_vocab=99)
    with pytest.raises(BadInput, match="no head is called 'dragon'; there are medusa"):
        untrained(spec_of("dragon"))
