"""GLIDE: a head that starts from a draft model begins with that model's law, and learns what the states add."""

from itertools import islice
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from decant.distill.heads.glide import Glide
from decant.distill.heads.teach import teach
from decant.distill.runs import Course
from decant.distill.trainer import Settings
from decant.drafters.draft_model import DraftModel
from decant.drafters.eagle import Eagle
from decant.errors import BadInput
from decant.models.build import LlamaSpec, save_folder
from decant.models.build import untrained as untrained_llama
from decant.models.heads.block import angles_of
from decant.models.heads.folder import ready, untrained
from decant.models.heads.recurrent import unrolled
from decant.models.load import load
from decant.models.teacher import Teacher
from decant.noise import Noise
from decant.samplers.temperature import temperature
from decant.types import PAD, Draft, DraftShape, Verdict

VOCAB, LENGTH = 40, 14
IDS = torch.arange(1, VOCAB, 3)
SMALL = LlamaSpec(VOCAB, 24, 2, 3, 3, 32, head_dim=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    """A target, and a draft model of another shape."""
    place = tmp_path_factory.mktemp("models")
    for name, spec, seed in (("target", LlamaSpec(VOCAB, 32, 6, 4, 2, 48, head_dim=8), 1), ("draft", SMALL, 2)):
        model = untrained_llama(spec, seed)
        for weight in model.parameters():
            weight.data.mul_(3.0)  # with opinions
        save_folder(model, place / name)
    return str(place / "target"), str(place / "draft")


def text(batch: int = 2) -> Tensor:
    return torch.randint(VOCAB, (batch, LENGTH), generator=torch.Generator().manual_seed(0))


def begun(folders: tuple[str, str], ids: Tensor | None = None):
    """The head as its lessons begin, and its teacher."""
    teacher = Teacher.open(folders[0])
    spec = Glide(start=folders[1], draft_vocab=0 if ids is None else len(ids)).spec(teacher)
    net = untrained(spec, ids).bind(teacher.ends(ids))
    net.begin()
    return net, teacher


@pytest.mark.parametrize("ids", [None, IDS], ids=["all ids", "few ids"])
@torch.no_grad()
def test_its_lessons_begin_with_the_draft_models_law(folders, ids):
    """In every step, whatever the target thinks; as soon as the glimpse is not zero, no more."""
    net, teacher = begun(folders, ids)
    ids_BT = text()
    hidden_BTF = teacher.read(ids_BT, torch.ones(2, LENGTH), net.spec.taps).hidden_BTF
    want_BTV = Teacher.open(folders[1]).network(ids_BT).logits
    want_BTV = want_BTV if ids is None else want_BTV[..., ids]
    angles = angles_of(net.spec, torch.float32, torch.device("cpu"))

    def apart() -> list[float]:
        said = islice(unrolled(net, ids_BT, hidden_BTF, angles), 3)
        return [
            float((net.logits(state)[:, : LENGTH - 1 - step] - want_BTV[:, 1 + step :]).abs().max())
            for step, state in enumerate(said)
        ]

    assert max(apart()) < 1e-4
    net.glimpse.weight.copy_(torch.eye(net.width))
    assert min(apart()) > 1e-2


SHAPES = {"chain": DraftShape(4), "tree": DraftShape(3, width=2, budget=8)}


@pytest.mark.parametrize("widen", [None, "1M"])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_it_drafts_what_the_draft_model_drafts(folders, shape, widen):
    """Round after round, tokens and laws, a prompt of one token included; beside an enlarged target as well."""
    target = load(folders[0], dtype="float32", exact="off", **({"widen": widen} if widen else {})).model
    model = load(folders[1], dtype="float32", exact="off").model
    net, _ = begun(folders)
    parts = (Eagle(ready(net, target.network), coupled=False), DraftModel(model, coupled=False))
    for prompt_BT in (text(1), torch.tensor([[3]])):
        context, prefill = target.start(prompt_BT, parts[0].taps)
        states = [part.start(prompt_BT, prefill) for part in parts]
        for round_ in range(3):
            noise = Noise.of([round_])
            one, two = (
                part.draft(state, SHAPES[shape], temperature(0.8), noise, context)
                for part, state in zip(parts, states, strict=True)
            )
            assert torch.equal(one.tokens_BN, two.tokens_BN)
            torch.testing.assert_close(one.laws_BMV, two.laws_BMV, rtol=1e-3, atol=1e-5)
            scores = target.score(context, one)
            verdict = along(one, round_)
            context = target.commit(context, verdict)
            states = [part.observe(state, one, verdict, scores) for part, state in zip(parts, states, strict=True)]


def along(draft: Draft, accepted: int) -> Verdict:
    """So many of the first guesses are kept, each the first child of the one before."""
    last_B = torch.tensor([7])
    if draft.parents_BN is None:
        return Verdict.of_chain(draft.tokens_BN, torch.tensor([accepted]), last_B)
    parents, path = draft.parents_BN[0].tolist(), [PAD]
    for _ in range(accepted):
        path.append(parents.index(path[-1]))
    return Verdict.of_path(draft.tokens_BN, torch.tensor([path[1:]], dtype=torch.int64), last_B)


def test_a_start_that_does_not_fit_is_refused(folders, tmp_path):
    save_folder(untrained_llama(LlamaSpec(VOCAB + 1, 24, 2, 3, 3, 32, head_dim=8)), tmp_path / "foreign")
    teacher = Teacher.open(folders[0])
    with pytest.raises(BadInput, match=r"knows 41 ids and .* 40; start from a model with the teacher's tokenizer"):
        Glide(start=str(tmp_path / "foreign")).spec(teacher)
    net, _ = begun(folders)
    biased = untrained_llama(SMALL)
    biased.model.layers[0].self_attn.q_proj.bias = torch.nn.Parameter(torch.zeros(24))
    with (
        patch("decant.models.heads.glide.stored", return_value=(biased, None)),
        pytest.raises(BadInput, match="is not a Llama without biases; name one that is"),
    ):
        net.begin()


def test_what_a_guess_reads_leaves_out_the_table(folders, tmp_path):
    """A row of the embedding is next to nothing, and the states are joined once a round, however deep it is."""
    teacher = Teacher.open(folders[0])
    recipe = Glide(start=folders[1], draft_vocab=len(IDS))
    batch = text(4), torch.ones(4, LENGTH)
    settings = Settings(steps=1, peak=1e-3, quiet=True)
    course = Course(lambda step: batch, lambda step: batch, settings, 1, 0, None, {"asked": {}})
    report = teach(recipe, teacher, course, tmp_path)
    assert report["once_bytes"] == 2 * 3 * 32 * 24
    assert report["read_bytes"] == 2 * report["parameters"] - report["once_bytes"] - 2 * VOCAB * 24
