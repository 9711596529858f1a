"""Rows that ride in a target's forward: nobody else sees them, and what is taught is what drafts."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.distill.heads.hidden_transfer import HiddenTransfer as TransferRecipe
from decant.distill.heads.ppd import Ppd
from decant.drafters.hidden_transfer import HiddenTransfer
from decant.drafters.parallel_prompt import ParallelPrompt
from decant.drafting.riding import ridden
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec
from decant.models.build import untrained as untrained_llama
from decant.models.fast import births
from decant.models.heads.folder import read, ready, save, untrained
from decant.models.load import load
from decant.models.rows import RowClass
from decant.models.teacher import Teacher
from decant.models.widen import Shape, grow
from decant.policies.template import Template
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_model
from decant.types import PAD, Draft
from decant.verifiers.coupled import Coupled

VOCAB, DEPTH = 40, 3
RECIPES = {
    "ppd": Ppd(),
    "ppd copies": Ppd(copies=2),
    "transfer": TransferRecipe(),
    "embedding": TransferRecipe(layer=1),
}
PARENTS = [PAD, PAD, 0, 0, 2, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are large enough that every row matters."""
    model = untrained_llama(LlamaSpec(VOCAB, 32, 6, 4, 2, 64, head_dim=8))
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.data.mul_(15.0 if "embed" in name else 4.0)
    where = tmp_path_factory.mktemp("riders")
    model.save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Teacher:
    return Teacher.open(str(folder))


def net_of(teacher: Teacher, name: str):
    """Not as it begins: every weight says something."""
    recipe = RECIPES[name]
    spec = recipe.spec(teacher)
    if name == "embedding":  # each place enters a layer of its own
        spec = replace(spec, taps=(0, 2, 5))
    net = untrained(spec).bind(teacher.ends())
    rng = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        weight.data.copy_(0.3 * torch.randn(weight.shape, generator=rng))
    return net


def text(count: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (1, count), generator=torch.Generator().manual_seed(seed))


def hung(head, draft: Draft) -> Draft:
    """All places behind every row."""
    rows = draft.tokens_BN.shape[1] + 1
    return ridden(draft, torch.ones(1, rows, head.depth, dtype=torch.bool), head, None)


TREE = Draft(text(6, seed=5), torch.tensor([PARENTS]))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("exact", ["on", "off"])
def test_rows_that_are_asked_for_do_not_see_them(folder, teacher, name, exact):
    model = load(str(folder), exact=exact).model
    head = ready(net_of(teacher, name), model.network)
    ids_1T = text(20)
    with torch.inference_mode():
        want = model.score(model.start(ids_1T)[0], TREE).logits_BMV
        target = head.dressed(model)
        have = target.score(target.start(ids_1T)[0], hung(head, TREE)).logits_BMV[:, :7]
    if exact == "on":
        assert torch.equal(have, want)
    torch.testing.assert_close(have, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
@torch.inference_mode()
def test_they_see_their_own_path_alone(folder, teacher, name):
    """What is said at one behind node 4 is what is said at one behind the text that ends there, alone."""
    model = load(str(folder), exact="off").model
    head = ready(net_of(teacher, name), model.network)
    target, ids_1T = head.dressed(model), text(20)
    rows = target.score(target.start(ids_1T)[0], hung(head, TREE)).logits_BMV[0]
    each = head.depth * head.copies
    path = TREE.tokens_BN[0, [0, 2, 4]]
    alone, _ = target.start(torch.cat([ids_1T, path[None]], 1))
    want = target.score(alone, hung(head, Draft.nothing(1))).logits_BMV[0, 1:]
    first = 7 + 5 * each  # the root and six nodes, then riders in order of rows: the root's, node 0's ... node 4's
    torch.testing.assert_close(rows[first : first + each], want, rtol=0, atol=1e-4)
    assert not torch.allclose(rows[first - each : first], want, atol=1e-2), "behind another node they say other things"


def taught(recipe, net, teacher: Teacher, ids_1T: Tensor) -> list[Tensor]:
    """Of each place, logits_TV by column."""
    reading = teacher.read(ids_1T, torch.ones_like(ids_1T).float(), net.spec.taps)
    found = []
    for place, logits_KV in enumerate(recipe.guesses(net, reading)):
        _, column_K = reading.columns(place)
        found.append(torch.zeros(ids_1T.shape[1], VOCAB).index_copy(0, column_K, logits_KV.float()))
    return found


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("wide", [False, True], ids=["teacher", "enlarged"])
@torch.no_grad()
def test_what_is_taught_is_what_drafts(folder, teacher, name, wide, tmp_path, monkeypatch):
    """Also with the rows of one draft cut into several forwards."""
    monkeypatch.setattr("decant.models.teacher.mixed_precision", lambda device: nullcontext())
    net, ids_1T = net_of(teacher, name), text(20)
    lessons = taught(RECIPES[name], net, teacher, ids_1T)
    if wide:
        grow(teacher.network, Shape(128, 128, 9, 16, 8)).save_pretrained(tmp_path)
    model = load(str(tmp_path if wide else folder), exact="off").model
    head = ready(net, model.network)
    target = head.dressed(model)
    for model in (target, replace(target, rows=RowClass(4, 8), steady=True)):
        for column in (3, 11, 14):  # with guesses that are the text's own next tokens
            draft = hung(head, Draft(ids_1T[:, column - 1 : column + 1]))
            context, _ = model.start(ids_1T[:, : column - 1])
            said = model.score(context, draft).logits_BMV[0, 3:].float()
            said = said.view(3, head.copies, DEPTH, VOCAB).mean(1)
            for row, at in enumerate((column - 2, column - 1, column)):
                for place in range(DEPTH):
                    torch.testing.assert_close(said[row, place], lessons[place][at], rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["ppd copies", "transfer"])
@torch.no_grad()
def test_the_loss_is_that_of_the_guesses(teacher, name, monkeypatch):
    """Behind all columns: what is taught to be guessed is what is measured to be guessed."""
    for module in ("decant.models.teacher", "decant.distill.heads.riders"):
        monkeypatch.setattr(f"{module}.mixed_precision", lambda device: nullcontext())
    recipe, net = replace(RECIPES[name], columns=99), net_of(teacher, name)
    ids_BT, weights_BT = torch.cat([text(24, 1), text(24, 2)]), torch.ones(2, 24)
    weights_BT[1, 15:] = 0
    reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
    want = torch.zeros(())
    for place, logits_KV in enumerate(recipe.guesses(net, reading)):
        kept_K, _ = reading.columns(place)
        law_KV = reading.logits_NV[kept_K].softmax(-1)
        want = want - 0.8**place * (law_KV * logits_KV.log_softmax(-1)).sum() / DEPTH
    columns = len(reading.columns(0)[0])
    torch.testing.assert_close(recipe.loss(net, teacher)(ids_BT, weights_BT), want * len(reading.row_N) / columns)


def test_a_birth_out_of_the_wrong_row_shows(folder, teacher, tmp_path, monkeypatch):
    """The comparison above has power: the classic slip is one place off."""
    right = births._slot_at
    monkeypatch.setattr(births, "_slot_at", lambda span, slot, position: right(span, slot, max(position - 1, 0)))
    with pytest.raises((AssertionError, KeyError)):
        test_what_is_taught_is_what_drafts(folder, teacher, "transfer", False, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["ppd", "transfer"])
def test_only_they_learn_and_they_do(teacher, name):
    recipe, net = RECIPES[name], untrained(RECIPES[name].spec(teacher)).bind(teacher.ends())
    if name == "ppd":
        net.begin()
    count = sum(weight.numel() for weight in net.parameters())
    assert count == (DEPTH * 32 if name == "ppd" else DEPTH * 32 * 32)
    loss = recipe.loss(net, teacher)
    ids_BT, weights_BT = torch.cat([text(24, 1), text(24, 2)]), torch.ones(2, 24)
    weights_BT[1, 15:] = 0
    before = {key: weight.clone() for key, weight in teacher.network.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.rate(net.spec))
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        nats = loss(ids_BT, weights_BT)
        nats.backward()
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())
        optimiser.step()
        losses.append(float(nats.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(weight.grad is None for weight in teacher.network.parameters())
    assert all(torch.equal(before[key], weight) for key, weight in teacher.network.state_dict().items())


@pytest.mark.parametrize("name", ["ppd copies", "transfer"])
def test_a_folder_gives_back_what_was_written(teacher, name, tmp_path):
    net = net_of(teacher, name)
    save(net, tmp_path, torch.float32)
    again = read(tmp_path)
    assert again.spec == net.spec
    assert all(torch.equal(again.state_dict()[key], weight) for key, weight in net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "warp"),
    [
        pytest.param("ppd", temperature(1.0), id="ppd-sampled"),
        pytest.param("transfer", greedy(), id="transfer-greedy"),
        pytest.param("ppd", greedy(), id="ppd-greedy", marks=pytest.mark.slow),
        pytest.param("transfer", temperature(1.0), id="transfer-sampled", marks=pytest.mark.slow),
    ],
)
def test_the_text_is_plain_decoding_s(folder, teacher, name, warp):
    model = load(str(folder), exact="on").model
    head = ready(net_of(teacher, name), model.network)
    drafter = ParallelPrompt(head) if name == "ppd" else HiddenTransfer(head)
    with torch.inference_mode():
        decoder = Speculative(head.dressed(model), drafter, Coupled(), Template("3-2-1"), warp, Unconstrained())
        check_decoder(decoder, Autoregressive(model, warp, Unconstrained()), max_tokens=10)


@pytest.mark.parametrize("name", [pytest.param("ppd", marks=pytest.mark.slow), "transfer"])
@torch.inference_mode()
def test_a_dressed_target_is_a_model_like_any_other(folder, teacher, name):
    model = load(str(folder), exact="off").model
    check_model(ready(net_of(teacher, name), model.network).dressed(model))


def test_a_model_of_transformers_is_refused(folder, teacher):
    model = load(str(folder), exact="off", lean=False).model
    head = ready(net_of(teacher, "ppd"), model.network)
    with pytest.raises(IncompatibleParts, match="a ppd head rides in decant's own forward pass, but LlamaForCausalLM"):
        head.dressed(model)


@pytest.mark.parametrize("taps", [(3, 2), (6,), (-1,), ()])
def test_layers_that_descend_are_refused(teacher, taps):
    with pytest.raises(BadInput, match="layers that ascend from 0 to 5, not"):
        untrained(replace(RECIPES["transfer"].spec(teacher), taps=taps))


def test_texts_that_are_too_short_are_refused(teacher):
    net = net_of(teacher, "ppd")
    with pytest.raises(BadInput, match="nothing can be guessed two tokens ahead"):
        RECIPES["ppd"].loss(net, teacher)(text(2), torch.ones(1, 2))
