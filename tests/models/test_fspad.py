"""FSPAD: EAGLE with two parts more, which can be turned off; what guesses the law is not what the head goes on with."""

from itertools import islice

import pytest
import torch
from torch import Tensor

from decant.distill.heads.fspad import Fspad
from decant.models.heads.block import angles_of
from decant.models.heads.fspad import FspadNet
from decant.models.heads.recurrent import unrolled
from tests.models.test_heads import WIDTH, net_of, random, spec_of, states, taught, text

OPEN = 50.0  # a sigmoid of this is 1, to the last bit


def lessons(net) -> list[Tensor]:
    return taught(net, text(), states(net), 3)


def without_its_parts(net: FspadNet) -> FspadNet:
    """Gate 1, down times up the identity, no branch."""
    net.requires_grad_(False)
    net.gate[-1].get_parameter("weight").zero_()
    net.gate[-1].get_parameter("bias").fill_(OPEN)
    net.up.weight.copy_(torch.eye(2 * WIDTH, WIDTH))
    net.down.weight.copy_(torch.eye(WIDTH, 2 * WIDTH))
    net.branch[-1].get_parameter("weight").zero_()
    net.branch[-1].get_parameter("bias").zero_()
    return net


@torch.no_grad()
def test_without_its_parts_it_is_eagle():
    eagle, net = net_of("eagle"), without_its_parts(net_of("fspad"))
    shared = {name: weight for name, weight in eagle.state_dict().items() if name in net.state_dict()}
    assert len(shared) == len(eagle.state_dict())
    net.load_state_dict(shared, strict=False)
    for one, two in zip(lessons(net), lessons(eagle), strict=True):
        assert torch.equal(one, two)
    net.gate[-1].get_parameter("bias").zero_()
    assert not torch.allclose(lessons(net)[0], lessons(eagle)[0]), "a gate that is half shut must be felt"


@torch.no_grad()
def test_it_begins_as_eagle():
    from decant.models.heads.folder import untrained

    spec = spec_of("fspad", knobs={"gate": 4, "lift": 3 * WIDTH})
    net = untrained(spec, seed=3)
    state_XD, token_XD = random(5, WIDTH).float(), random(5, WIDTH, seed=1).float()
    torch.testing.assert_close(net.sampled(token_XD, state_XD), state_XD)
    assert net.branch(state_XD).eq(0).all()


@torch.no_grad()
def test_the_state_is_sampled_with_the_next_token():
    """Not with the one whose state it is: only so does what the token's draw ruled out go."""
    net, ids_BT = net_of("fspad"), text()
    net.gate[-1].get_parameter("weight").normal_(generator=torch.Generator().manual_seed(0))
    hidden_BTF = states(net)
    table_VD = net.ends.table_VD

    def joined(tokens_BT):
        token_BTD = table_VD[tokens_BT]
        sampled_BTD = net.down(net.up(hidden_BTF[:, :-1]) * torch.sigmoid(net.gate(token_BTD)))
        return net.fc(torch.cat([token_BTD, sampled_BTD], -1))

    fed = []
    read = net.fc.register_forward_hook(lambda _, given, out: fed.append(out))
    next(iter(unrolled(net, ids_BT, hidden_BTF, angles_of(net.spec, torch.float64, torch.device("cpu")))))
    read.remove()
    torch.testing.assert_close(fed[0][:, :-1], joined(ids_BT[:, 1:]))
    assert not torch.allclose(fed[0][:, :-1], joined(ids_BT[:, :-1]))


@pytest.mark.parametrize("apart", [True, False])
def test_the_law_teaches_the_branch_alone(apart):
    net = net_of("fspad")
    for weight in net.branch[-1].parameters():
        weight.data.normal_(generator=torch.Generator().manual_seed(1))
    angles = angles_of(net.spec, torch.float64, torch.device("cpu"))
    for state_BTD in islice(unrolled(net, text(), states(net), angles), 2):
        said = Fspad(apart=apart).said(net, state_BTD).log_softmax(-1)[..., 0].sum()
        net.zero_grad()
        said.backward(retain_graph=True)
        felt = {name for name, weight in net.named_parameters() if weight.grad is not None and weight.grad.any()}
        assert felt >= {name for name, _ in net.named_parameters() if name.startswith("branch")}
        assert (felt == {name for name in felt if name.startswith("branch")}) == apart


@torch.no_grad()
def test_the_branch_is_not_fed_back():
    net = net_of("fspad")
    angles = angles_of(net.spec, torch.float64, torch.device("cpu"))
    before = list(islice(unrolled(net, text(), states(net), angles), 3))
    said = lessons(net)
    for weight in net.branch.parameters():
        weight.add_(1.0)
    assert all(map(torch.equal, before, islice(unrolled(net, text(), states(net), angles), 3)))
    assert not torch.allclose(said[0], lessons(net)[0])
