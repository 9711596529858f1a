"""Objectives on states: zero where the models are one, blind to padding and to pieces; own weights learn; the teacher
never does."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from decant.distill import seams
from decant.distill.composition import Asked, Composition, learner, looks_of
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives import attention_relations
from decant.distill.objectives.attention_relations import AttentionRelations
from decant.distill.objectives.dual_space import DualSpace
from decant.distill.objectives.hidden_states import HiddenStates
from decant.distill.objectives.mutual_information import MutualInformation
from decant.distill.objectives.ofa import OFA
from decant.distill.objectives.token_relations import TokenRelations
from decant.distill.rollouts.dataset import Dataset
from decant.distill.seams import Study
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.distill.trainer import CHECKPOINT, Settings, Share, run
from decant.errors import BadInput, IncompatibleParts
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import read
from decant.models.teacher import Teacher

VOCAB = 24
OBJECTIVES = {
    "hidden states": HiddenStates(((1, 2), (2, 3))),
    "hidden states, cosine": HiddenStates(((-1, -1),), "cosine"),
    "attention relations": AttentionRelations(layer=1, teacher_layer=-1, heads=4),
    "values alone": AttentionRelations(heads=2, relations="v"),
    "token relations": TokenRelations(layer=1, teacher_layer=2),
    "few tokens": TokenRelations(tokens=3, neighbours=2, contextual=0.5),
    "OFA": OFA((1, 2), epsilon=1.5),
    "mutual information": MutualInformation(width=8),
    "dual space": DualSpace(ForwardKL()),
}
ZERO = [name for name in OBJECTIVES if name not in ("OFA", "mutual information", "dual space")]
OWN = ["hidden states", "OFA", "mutual information", "dual space"]


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch) -> None:
    """The rounding of bfloat16 depends on how rows lie together."""
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)


def model(seed: int, width: int = 16, layers: int = 2, heads: int = 2):
    network = untrained(LlamaSpec(VOCAB, width, layers, heads, heads // 2, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def frozen(network) -> Teacher:
    return Teacher("toy", network.eval().requires_grad_(False))


TEACHER = frozen(model(1, width=24, layers=3, heads=4))


def texts(count: int = 6) -> list[Text]:
    """Of several lengths; what is given, and a hole in the middle, do not count. The last has one position."""
    rng = random.Random(0)
    made = []
    for number in range(count - 1):
        text = Text.answer([rng.randrange(VOCAB) for _ in range(rng.randint(8, 14))], rng.randint(1, 3), number)
        text.weights[5] = 0.0
        made.append(text)
    return [*made, Text.answer([3, 1, 4], 2, count - 1)]


def composed(objective, student, teacher: Teacher = TEACHER, **parts) -> Composition:
    asked = (Asked(objective),)
    live = Live(teacher, looks_of(asked, "teacher_looks"))
    made = learner(student, asked, teacher.config)
    return Composition(made, None, Dataset(texts(), rows=len(texts())), asked, live, **parts)


def study_of(made: Composition, batch: TextBatch, step: int = 0) -> Study:
    at, student, extra = Positions.of(batch), made.learner.student, made.learner.extras[0]
    states = read(student, batch.ids_BT, at.row_N, at.at_N, looks_of(made.objectives))
    own = None if isinstance(extra, nn.Identity) else extra
    return Study(batch, at, states, made.teacher.signal(batch, at), lambda p, q, label: p, step, own)


def each(made: Composition, batch: TextBatch, step: int = 0) -> Tensor:
    """nats_N."""
    return made.objectives[0].objective(study_of(made, batch, step))


@pytest.fixture(params=OBJECTIVES)
def objective(request):
    return OBJECTIVES[request.param]


@pytest.mark.parametrize("name", ZERO)
def test_nothing_is_asked_of_a_student_that_is_its_teacher(name) -> None:
    objective = OBJECTIVES[name]
    if name == "hidden states":
        objective = HiddenStates(((1, 1), (2, 2)))
    if "layer" in objective.__slots__:
        objective = replace(objective, teacher_layer=objective.layer)
    student = model(1, width=24, layers=3, heads=4)
    made = composed(objective, student)
    nats_N = each(made, padded(texts(), 99))
    assert nats_N.detach().abs().max() < 1e-5
    nats_N.sum().backward()
    worst = max(float(weight.grad.abs().max()) for weight in student.parameters() if weight.grad is not None)
    assert worst < 1e-4
    other = each(composed(objective, model(2, width=24, layers=3, heads=4)), padded(texts(), 99))
    assert other.mean() > 1e-3
    assert (other > -1e-6).all()


def test_gradients_reach_the_student_and_own_weights_alone(objective) -> None:
    made = composed(objective, model(2))
    nats_N = each(made, padded(texts(), 99))
    assert nats_N.shape == (len(Positions.of(padded(texts(), 99))),)
    assert nats_N.isfinite().all()
    nats_N.sum().backward()
    assert all(weight.grad is None for weight in TEACHER.network.parameters())
    learning = [weight for weight in made.learner.parameters() if weight.grad is not None and weight.grad.any()]
    own = list(made.learner.extras.parameters())
    assert len(learning) > len(own)
    assert all(any(weight is one for one in learning) for weight in own)
    assert all(weight.grad.isfinite().all() for weight in learning)


def test_padding_and_company_change_nothing(objective) -> None:
    """U5, and that texts are strangers to each other."""
    made = composed(objective, model(2))
    rng = random.Random(1)
    longer = Text.answer([rng.randrange(VOCAB) for _ in range(30)], 1)
    together = each(made, padded([*texts(), longer], 99)).detach()
    alone = torch.cat([each(made, padded([text], 99)).detach() for text in texts()])
    torch.testing.assert_close(together[: len(alone)], alone, rtol=1e-4, atol=1e-5)
    batch = padded([*texts(), longer], 99)
    noise_BT = torch.randint(VOCAB, batch.ids_BT.shape, generator=torch.Generator().manual_seed(0))
    behind_BT = batch.weights_BT.flip(1).cumsum(1).flip(1) == 0
    scribbled = each(made, replace(batch, ids_BT=noise_BT.where(behind_BT, batch.ids_BT))).detach()
    torch.testing.assert_close(scribbled, together, rtol=1e-4, atol=1e-5)


def test_padded_columns_would_be_caught(monkeypatch) -> None:
    """The test above, with relations to all columns of the batch."""

    def whole(study: Study, row: int, rows: slice, reach: int) -> Tensor:
        at_X = torch.full_like(study.at.at_N[rows], study.batch.ids_BT.shape[1] - 1)
        pairs = [
            tuple(one[kind][row].unflatten(-1, (4, -1)).transpose(0, 1) for one in (study.teacher.attention[-1], own))
            for own in study.student.attention.values()
            for kind in range(3)
        ]
        return torch.stack([attention_relations._apart(pair, at_X) for pair in pairs]).mean(0)

    monkeypatch.setattr(AttentionRelations, "_text", lambda self, *given: whole(*given))
    with pytest.raises(AssertionError):
        test_padding_and_company_change_nothing(OBJECTIVES["attention relations"])


def test_the_size_of_pieces_does_not_matter(objective) -> None:
    found = []
    for micro in (1, 4, 6):
        made = composed(objective, model(2), micro=micro)
        pieces, _ = made.batches(made.start(), 3, Share())
        assert len(pieces) == -(-6 // micro)
        weight = sum(float(made.weight(piece)) for piece in pieces)
        for piece in pieces:
            (made.nats(made.start(), 3, piece) / weight).backward()
        grads = [weight.grad for weight in made.learner.parameters() if weight.grad is not None]
        found.append(torch.cat([one.flatten() for one in grads]))
    assert found[0].abs().max() > 1e-4
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-3, atol=1e-5)


def test_chunks_of_positions_change_nothing(objective, monkeypatch) -> None:
    """What is computed again for gradients is what was computed."""
    found = []
    for elements in (2**22, 100):
        monkeypatch.setattr(seams.by_chunks, "__defaults__", (elements,))
        made = composed(objective, model(2))
        made.nats(made.start(), 1, padded(texts(), 99)).backward()
        grads = [weight.grad for weight in made.learner.parameters() if weight.grad is not None]
        found.append(torch.cat([one.flatten() for one in grads]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_a_student_learns_and_so_do_its_own_weights(objective, tmp_path) -> None:
    made = composed(objective, model(2))
    before = [weight.clone() for weight in made.learner.extras.parameters()]
    batch = padded(texts(), 99)

    def apart() -> float:
        with torch.no_grad():
            return float(each(made, batch).mean())

    first = apart()
    run(made.learner, made, Settings(12, peak=1e-2, warmup=3, quiet=True), tmp_path)
    assert apart() < first - 0.05 * abs(first)
    moved = zip(before, made.learner.extras.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in moved)
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"]
    assert sum(name.startswith("extras.") for name in kept) == len(before), "a run that goes on has them"
    assert not any("extras" in name for name in made.learner.student.state_dict()), "an export has none"


@pytest.mark.parametrize("name", OWN)
def test_own_weights_are_a_function_of_the_seed(name) -> None:
    asked = (Asked(OBJECTIVES[name]),)
    one, same, other = (
        torch.cat([weight.flatten() for weight in learner(model(2), asked, TEACHER.config, seed).extras.parameters()])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (name == "OFA"), "its branches begin as nothing at all"


def test_a_branch_begins_as_what_the_head_reads_there() -> None:
    """A lens: the stage behind a norm, through the head. Only then does the loss compare the right positions (U10)."""
    student, batch = model(2), padded(texts(), 99)
    made = composed(OFA((1,), kd=0.0), student)
    at = Positions.of(batch)
    hidden_ND = student(batch.ids_BT, output_hidden_states=True).hidden_states[1][at.row_N, at.at_N]
    q = student.lm_head(nn.RMSNorm(16)(hidden_ND)).log_softmax(-1)
    p = TEACHER.network(batch.ids_BT).logits[at.row_N, at.at_N].log_softmax(-1)
    torch.testing.assert_close(each(made, batch), -(p.exp() * q).sum(-1), rtol=1e-4, atol=1e-4)


def test_in_one_space_both_models_say_the_same() -> None:
    """The same model, with matrices that move nothing: the teacher's cross-entropy is all that is left."""
    student, batch = model(1, width=24, layers=3, heads=4), padded(texts(), 99)
    made = composed(DualSpace(ForwardKL()), student)
    with torch.no_grad():
        for move in made.learner.extras[0].values():
            nn.init.eye_(move.weight)
            nn.init.zeros_(move.bias)
    at = Positions.of(batch)
    logp = student(batch.ids_BT).logits[at.row_N, at.at_N].log_softmax(-1)
    nats_N = each(made, batch)
    torch.testing.assert_close(nats_N, -logp.gather(-1, at.label_N[:, None])[:, 0], rtol=1e-4, atol=1e-4)
    nats_N.sum().backward()
    worst = max(float(weight.grad.abs().max()) for weight in student.parameters())
    assert worst < 1e-3, "the cross-entropy of what the teacher says teaches the student's head nothing"


def test_messages() -> None:
    objective, student = OBJECTIVES["hidden states"], model(2)
    asked = (Asked(objective),)
    with pytest.raises(IncompatibleParts, match=r"Live shows Looks.*give it looks_of\(objectives, 'teacher_looks'\)"):
        Composition(learner(student, asked, TEACHER.config), None, Dataset(texts()), asked, Live(TEACHER))
    with pytest.raises(IncompatibleParts, match="HiddenStates learns from a model's states"):
        learner(student, asked)
    batch = padded(texts(), 99)
    with pytest.raises(BadInput, match="states of layer 9 were asked for, and this llama has layers 0 to 2"):
        each(composed(HiddenStates(((9, 1),)), student), batch)
    with pytest.raises(BadInput, match="attention of layer -3 were asked for, and this llama has layers 0 to 1"):
        each(composed(AttentionRelations(layer=-3), student), batch)
    with pytest.raises(BadInput, match="5 relation heads do not divide 32 channels"):
        each(composed(AttentionRelations(heads=5), student), batch)
    for wrong, match in (
        (lambda: AttentionRelations(relations="qx"), "out of the letters qkv"),
        (lambda: HiddenStates(()), "needs pairs of layers"),
        (lambda: TokenRelations(neighbours=1), "tokens and neighbours >= 2"),
        (lambda: OFA((1,), epsilon=0.5), "epsilon >= 1"),
        (lambda: MutualInformation(alpha=1.5), "alpha between 0 and 1"),
        (lambda: DualSpace(ForwardKL(), 0.0), r"temperature must be above 0, got 0\.0"),
    ):
        with pytest.raises(BadInput, match=match):
            wrong()
