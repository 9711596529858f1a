"""How heads are taught: what the losses see, that only the head learns, that lessons help, and that they go on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.answers import Writing, read, write
from decant.distill.heads.chimera import Chimera
from decant.distill.heads.eagle import Eagle
from decant.distill.heads.eagle3 import Eagle3
from decant.distill.heads.falcon import Falcon
from decant.distill.heads.fspad import Fspad
from decant.distill.heads.glide import Glide
from decant.distill.heads.lesson import targets
from decant.distill.heads.measure import measure
from decant.distill.heads.medusa import Medusa
from decant.distill.heads.teach import COUNTED, teach
from decant.distill.runs import RECIPE, TRAINING, Course
from decant.distill.trainer import CHECKPOINT, METRICS, Settings
from decant.errors import BadInput
from decant.models.build import LlamaSpec, mixed_precision, untrained
from decant.models.heads.folder import read as read_head
from decant.models.heads.folder import untrained as untrained_head
from decant.models.teacher import Teacher, frequent

VOCAB, LENGTH = 24, 20
RECIPES = {
    "medusa": Medusa(num_heads=2),
    "medusa, own matrices": Medusa(num_heads=2, shared=False, soft=False),
    "eagle": Eagle(ce=1.0, unroll=2),
    "eagle3": Eagle3(unroll=3),
    "eagle, few ids": Eagle(draft_vocab=9, ce=1.0),
    "eagle3, few ids": Eagle3(draft_vocab=9, unroll=2),
    "medusa, few ids": Medusa(draft_vocab=9, shared=False),
    "glide": Glide(unroll=2, width=16),
    "glide, few ids": Glide(draft_vocab=9, layers=2, heads=4, kv_heads=2),
    "fspad": Fspad(ce=1.0, unroll=2, gate=4),
    "falcon": Falcon(ce=1.0),
    "falcon, blocks of 3": Falcon(block=3, draft_vocab=9, ce=1.0, memory=16, glance=1.0),
    "chimera": Chimera(unroll=2),
    "chimera, own matrix": Chimera(shared=False, gram=8, draft_vocab=9, unroll=2),
}


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    network = untrained(LlamaSpec(VOCAB, 32, 3, 2, 1, 48, head_dim=16), seed=2)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a teacher with opinions
    return Teacher("toy", network.eval().requires_grad_(False))


def batches(step: int) -> tuple[Tensor, Tensor]:
    """Random walks, the first third without weight."""
    rng = torch.Generator().manual_seed(step)
    starts_B1 = torch.randint(VOCAB, (4, 1), generator=rng)
    ids_BT = (starts_B1 + torch.randint(1, 3, (4, LENGTH), generator=rng).cumsum(-1)) % VOCAB
    weights_BT = torch.ones(4, LENGTH)
    weights_BT[:, : LENGTH // 3] = 0.0
    return ids_BT, weights_BT


def net_for(recipe, teacher: Teacher, seed: int = 0):
    spec = recipe.spec(teacher)
    ids_V = frequent(batches, 4, VOCAB, spec.draft_vocab) if spec.draft_vocab else None
    net = untrained_head(spec, ids_V, seed).bind(teacher.ends(ids_V))
    if hasattr(net, "begin"):
        net.begin()
    return net


def course(steps: int = 12, **changes) -> Course:
    settings = Settings(steps=steps, peak=3e-3, warmup=2, save_every=4, report_every=2, quiet=True)
    origin = {"command": "decant distill", "asked": {"rate": "3e-3"}}
    return replace(Course(batches, lambda step: batches(1000 + step), settings, 2, 0, None, origin), **changes)


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_reach_the_head_alone(name, teacher):
    recipe = RECIPES[name]
    net = net_for(recipe, teacher)
    recipe.loss(net, teacher)(*batches(0)).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())
    assert any(weight.grad.abs().sum() > 0 for weight in net.parameters())
    assert all(weight.grad is None for weight in teacher.network.parameters())


BRIEF = {"medusa", "eagle, few ids", "falcon"}  # one of each way to read a text; the others' gradients are tested above


@pytest.mark.parametrize("name", [pytest.param(one, marks=() if one in BRIEF else pytest.mark.slow) for one in RECIPES])
def test_lessons_help(name, teacher, tmp_path):
    recipe = RECIPES[name]
    teach(recipe, teacher, course(60), tmp_path)
    losses = [json.loads(line)["nats"] for line in (tmp_path / TRAINING / METRICS).read_text().splitlines()]
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])


@pytest.mark.parametrize("name", ["medusa", "eagle", "eagle3, few ids", "falcon"])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(name, teacher, tmp_path):
    """Also where lessons draw noise."""
    recipe = RECIPES[name]
    whole = teach(recipe, teacher, course(), tmp_path / "one")

    calls = iter(range(1000))
    last = 6 + (COUNTED if recipe.draft_vocab else 0)

    def interrupted(step: int) -> tuple[Tensor, Tensor]:
        if next(calls) == last:
            raise KeyboardInterrupt
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        teach(recipe, teacher, course(batches=interrupted), tmp_path / "two")
    assert torch.load(tmp_path / "two" / TRAINING / CHECKPOINT, weights_only=True)["step"] == 4
    report = teach(recipe, teacher, course(), tmp_path / "two")
    assert {**report, "seconds": 0} == {**whole, "seconds": 0}
    one, two = (read_head(tmp_path / which).state_dict() for which in ("one", "two"))
    assert all(torch.equal(weight, two[weight_name]) for weight_name, weight in one.items())


def test_another_run_is_refused(teacher, tmp_path):
    teach(RECIPES["eagle"], teacher, course(2), tmp_path / "run")
    other = course(2, origin={"asked": {"rate": "1e-2"}})
    with pytest.raises(BadInput, match=r"holds a run with rate '3e-3', not '1e-2'; ask for the same, or give a new"):
        teach(RECIPES["eagle"], teacher, other, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not empty, and holds no earlier run"):
        teach(RECIPES["eagle"], teacher, course(2), tmp_path / "mine")


def test_minutes_become_steps_once(teacher, tmp_path):
    teach(RECIPES["medusa"], teacher, course(minutes=0.005), tmp_path)
    steps = json.loads((tmp_path / RECIPE).read_text())["steps"]
    assert steps >= 1
    report = teach(RECIPES["medusa"], teacher, course(minutes=0.005), tmp_path)
    assert report["steps"] == steps
    assert "| steps |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("depth", [0, 1])
def test_head_k_learns_what_comes_k_further(depth, teacher):
    """With the text's own ids as labels, the loss of head k at column t is that of token t + 1 + k, k from 1."""
    recipe = Medusa(num_heads=2, soft=False, decay=1.0)
    net = net_for(recipe, teacher)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    ids_BT, weights_BT = batches(1)
    reading = teacher.read(ids_BT, weights_BT, (-1,))
    law_NV, weight_N = recipe._labels(reading, None)
    logits_KV = list(recipe.guesses(net, reading))[depth].float()
    kept_K, column_K = reading.columns(depth)
    row_K = reading.row_N[kept_K]
    assert torch.equal(law_NV[kept_K].argmax(-1), ids_BT[row_K, column_K + 2 + depth])
    assert weight_N.eq(1).all()
    whole = net.ends.say(net.heads[depth](reading.final_BTD))
    torch.testing.assert_close(logits_KV, whole[row_K, column_K], rtol=1e-3, atol=1e-3)
    said = cross_entropy(logits_KV, ids_BT[row_K, column_K + 2 + depth], reduction="sum")
    assert torch.isfinite(said)
    assert column_K.min() >= 0


def test_ids_that_cannot_be_guessed_teach_nothing(teacher):
    reading = teacher.read(*batches(0), (-1,))
    best_N = reading.logits_NV.argmax(-1)
    ids_V = torch.arange(0, VOCAB, 2)
    law_NV, weight_N = targets(reading, ids_V)
    torch.testing.assert_close(law_NV.sum(-1), torch.ones(len(best_N)))
    assert torch.equal(weight_N > 0, best_N % 2 == 0)


def test_the_teachers_states_are_those_of_the_layers_asked_for(teacher):
    ids_BT, weights_BT = batches(0)
    reading = teacher.read(ids_BT, weights_BT, (0, 2, -1))
    with mixed_precision(torch.device("cpu")):
        out = teacher.network(ids_BT, output_hidden_states=True)
    states = [out.hidden_states[layer] for layer in (0, 2, -1)]
    torch.testing.assert_close(reading.hidden_BTF, torch.cat(states, -1))
    torch.testing.assert_close(reading.final_BTD, states[-1])
    torch.testing.assert_close(reading.logits_NV, out.logits[reading.row_N, reading.at_N].float())
    assert reading.at_N.min() == LENGTH // 3 - 1
    with pytest.raises(BadInput, match="no position has a weight"):
        teacher.read(ids_BT, torch.zeros_like(weights_BT), (-1,))


def test_a_head_that_repeats_the_teacher_is_measured_as_right(teacher):
    class Repeats(Medusa):
        def guesses(self, net, reading):
            for depth in range(3):
                kept_K, _ = reading.columns(depth)
                logits_KV = reading.logits_NV[kept_K].clone()
                if depth == 1:
                    logits_KV[::2] = -logits_KV[::2]
                yield logits_KV

    recipe = Repeats()
    learnt = measure(recipe, net_for(Medusa(), teacher), teacher, [batches(3), batches(4)])
    assert learnt.accuracy == (1.0, pytest.approx(0.5, abs=0.02), 1.0)
    assert learnt.in_row[0] == 1.0
    assert learnt.in_row[1:] == pytest.approx([0.5, 0.5], abs=0.06)
    assert learnt.columns[0] > learnt.columns[1] - 1
    assert learnt.acceptance_length == pytest.approx(1 + sum(learnt.in_row))


def test_the_likeliest_ids_are_those_that_are_predicted_most():
    ids_BT = torch.tensor([[5, 5, 5, 5, 2, 2, 7, 1]])
    weights_BT = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    assert frequent(lambda step: (ids_BT, weights_BT), 2, 9, 3).tolist() == [2, 5, 7]


def test_answers_go_on_where_they_ended(tmp_path: Path):
    from decant.constraints.unconstrained import Unconstrained
    from decant.decoders.autoregressive import Autoregressive
    from decant.decoders.stopping import Stopping
    from decant.samplers.temperature import temperature
    from decant.testing.markov import MarkovLM

    decoder = Autoregressive(MarkovLM.random(vocab=6, seed=0), temperature(1.0), Unconstrained())
    prompts, writing = [[at % 5, 1] for at in range(7)], Writing(Stopping(5), batch=3, seed=4)
    whole = write(decoder, prompts, tmp_path / "one.jsonl", writing)
    assert [answer.ids[:2] for answer in whole] == prompts
    assert {len(answer.ids) for answer in whole} == {7}
    lines = sorted((tmp_path / "one.jsonl").read_text().splitlines(keepends=True))
    (tmp_path / "two.jsonl").write_text("".join(lines[:3]) + lines[3][:9])
    told: list[tuple[int, int]] = []
    assert write(decoder, prompts, tmp_path / "two.jsonl", writing, lambda *far: told.append(far)) == whole
    assert told == [(4, 7), (5, 7), (6, 7), (7, 7)]
    assert len(read(tmp_path / "two.jsonl", prompts)) == 7
    with pytest.raises(BadInput, match="answers other prompts than these"):
        write(decoder, prompts[1:], tmp_path / "two.jsonl", writing)
