"""Distilled Decoding 1 on a teacher of which everything is known: pairs, losses, the running mean, learning."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.distill.images.dd1 import DD1, Jumping, averaged, losses, measured
from decant.distill.images.imitating import Run
from decant.distill.images.imitating import student as begun
from decant.distill.images.rule import teacher_of
from decant.distill.images.trajectories import made
from decant.distill.trainer import CHECKPOINT, Settings, Share, run
from decant.errors import BadInput
from decant.images.jumping import jumped, onward
from decant.images.layout import Layout
from decant.images.normals import normals
from decant.models.heads.folder import kind_of
from decant.models.images.jump import JumpNet, JumpSpec, inherit, read, save, untrained
from decant.noise import Noise
from decant.testing.tables import TableTeacher
from tests.images.tiny import RASTER, SCALES, Oracle, model, student

TABLE = TableTeacher()
RECIPE = DD1(ema=0.9)


def training(pairs: int = 256, recipe: DD1 = RECIPE, net: JumpNet | None = None, batch: int = 64) -> Jumping:
    net = student(TABLE.layout, codes_VC=TABLE.codes_VC, hidden=32, intermediate=64) if net is None else net
    return Jumping(net, recipe, made(TABLE, torch.arange(pairs) % 2, torch.arange(pairs), flow=20), batch, seed=0)


def settings(steps: int, **more: Any) -> Settings:
    return Settings(steps=steps, peak=3e-3, warmup=10, decay=0.5, weight_decay=0.01, quiet=True, **more)


def test_places_that_are_settled_teach_nothing() -> None:
    lesson = training(net=student(TABLE.layout, split=1, codes_VC=TABLE.codes_VC))
    rows = torch.arange(8)
    for units in (0, 1):
        piece = lesson.piece(rows, torch.full((8,), units))
        assert int(lesson.weight(piece)) == 8 * (2 - units)
        changed = piece.ids_BL.clone()
        changed[:, 0] = (changed[:, 0] + 1) % 3
        parts = losses(lesson.net, piece, RECIPE, None)
        assert set(parts) == {"nats", "vectors"}
        assert all(float(part.detach()) > 0 for part in parts.values())
    vectors = losses(lesson.net, lesson.piece(rows, torch.ones(8, dtype=torch.int64)), RECIPE, None)["vectors"]
    vectors.backward()
    assert lesson.net.logits.weight.grad is None
    assert lesson.net.continuous.outward.weight.grad is not None


def test_nats_are_those_of_the_teachers_codes() -> None:
    lesson = training()
    piece = lesson.piece(torch.arange(8), torch.zeros(8, dtype=torch.int64))
    said = lesson.net.jump(piece.labels_B, piece.eps_BLC, torch.zeros(8, 2, dtype=torch.int64))
    want = -said.logits_BLV.log_softmax(-1).gather(-1, piece.ids_BL[..., None]).sum()
    assert torch.allclose(losses(lesson.net, piece, RECIPE, None)["nats"], want)


def test_pictures_pull_at_the_continuous_head_alone(tmp_path: Path) -> None:
    images = model(tmp_path)
    teacher = teacher_of(images)
    net = student(RASTER, split=2, codes_VC=teacher.codes_VC)
    lesson = Jumping(net, RECIPE, made(teacher, torch.arange(6) % 2, torch.arange(6), 8), 6, 0, images.tokenizer.decode)
    parts = losses(net, lesson.piece(torch.arange(6), torch.zeros(6, dtype=torch.int64)), RECIPE, lesson.decode)
    assert set(parts) == {"nats", "vectors", "pictures"}
    parts["pictures"].backward()
    assert net.continuous.outward.weight.grad is not None
    assert net.logits.weight.grad is None
    assert parts["pictures"] > 0


def test_a_perfect_student_has_nothing_to_learn() -> None:
    pairs = made(TABLE, torch.arange(64) % 2, torch.arange(64), flow=40)
    found = measured(Oracle(TABLE), pairs, decode=lambda vectors_BLC: vectors_BLC)
    assert found == {calls: {"codes": 1.0, "images": 1.0, "pixels": 0.0} for calls in ("1", "2")}


def test_steps_are_drawn_by_their_number() -> None:
    lesson = training(recipe=DD1(other=0.5))
    first, again = (lesson.batches({}, 7, Share())[0][0] for _ in range(2))
    assert torch.equal(first.eps_BLC, again.eps_BLC)
    assert torch.equal(first.units_B, again.units_B)
    assert not torch.equal(first.eps_BLC, lesson.batches({}, 8, Share())[0][0].eps_BLC)
    other = replace(lesson, seed=1)
    assert not torch.equal(first.eps_BLC, other.batches({}, 7, Share())[0][0].eps_BLC)
    halves = [lesson.batches({}, 7, Share(rank, 2))[0][0].labels_B for rank in (0, 1)]
    assert torch.equal(torch.stack(halves, 1).flatten(), first.labels_B)


def test_the_running_mean_begins_fast() -> None:
    lesson = training(recipe=DD1(ema=0.99))
    mean = lesson.start()
    with torch.no_grad():
        lesson.net.logits.weight += 1
    before = mean["logits.weight"].clone()
    after = lesson.observe(mean, 0, 0.0)["logits.weight"]
    assert torch.allclose(after - before, torch.full_like(before, 0.9))
    assert torch.equal(averaged(lesson.net, mean).logits.weight, after)
    assert not torch.equal(lesson.net.logits.weight, after)


def test_a_killed_run_ends_with_the_same_weights_and_mean(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 4:
            raise Killed

    run(lesson := training().net, training(net=lesson), settings(8, save_every=2), tmp_path / "whole")
    with pytest.raises(Killed):
        run(net := training().net, training(net=net), settings(8, save_every=2), tmp_path / "cut", kill)
    run(net := training().net, training(net=net), settings(8, save_every=2), tmp_path / "cut")
    one, two = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "cut"))
    for part in ("model", "memory"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])


def test_a_student_begins_as_its_teacher(tmp_path: Path) -> None:
    network = model(tmp_path).network
    net = student(RASTER, layers=3)
    left = inherit(net, network.body, network.head.weight)
    assert torch.equal(net.body.llama.layers[0].mlp.up_proj.weight, network.body.llama.layers[0].mlp.up_proj.weight)
    assert torch.equal(net.logits.weight, network.head.weight)
    assert torch.equal(net.body.inward.weight, network.body.inward.weight)
    assert [name for name in left if ".layers.0." in name] == []
    assert "flags.weight" in left
    x_BKD, at = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0)), torch.arange(4)[None]
    for layer in net.body.llama.layers[1:]:  # those that the teacher does not have add nothing
        turned = net.body.llama.rotary_emb(x_BKD, at)
        out: Any = layer(x_BKD, position_embeddings=turned)
        assert torch.equal(out if isinstance(out, Tensor) else out[0], x_BKD)


@pytest.mark.parametrize("layout", [RASTER, SCALES], ids=str)
def test_a_student_with_a_flow_begins_as_its_teacher_where_codes_are_settled(layout: Layout, tmp_path: Path) -> None:
    teacher = teacher_of(model(tmp_path, layout))
    net = begun(DD1(head="flow", layers=2), teacher, Run("toy", tmp_path, {}, 4))
    pairs = made(teacher, torch.arange(40) % 2, torch.arange(40), flow=20)
    codes_BLC, eps_BLC = teacher.codes_VC[pairs.ids_NL], pairs.eps()
    for unit in range(layout.units):
        units_B = torch.full_like(pairs.labels_N, unit)
        _, ids_BL = onward(net, pairs.labels_N, (codes_BLC, eps_BLC), units_B)
        part = layout.span(unit)
        assert torch.equal(ids_BL[:, : part.stop], pairs.ids_NL[:, : part.stop])
    assert not torch.equal(jumped(net, pairs.labels_N, eps_BLC)[1], pairs.ids_NL)


@pytest.mark.parametrize("layout", [RASTER, SCALES], ids=str)
def test_a_law_follows_earlier_units_alone(layout: Layout, tmp_path: Path) -> None:
    teacher = teacher_of(model(tmp_path, layout))
    net = begun(DD1(head="flow"), teacher, Run("toy", tmp_path, {}, 4))
    labels_1, state_BLC = torch.tensor([1]), made(teacher, torch.tensor([1]), torch.tensor([3]), flow=4).eps()
    flags_BL = torch.zeros(1, layout.places, dtype=torch.int64)
    before = net.laws(labels_1, state_BLC, flags_BL)
    for j in range(layout.places):
        moved_BLC = state_BLC.clone()
        moved_BLC[:, j] += 1
        moved_L = (net.laws(labels_1, moved_BLC, flags_BL) != before).any(-1)[0]
        assert moved_L.tolist() == layout.seen("earlier")[:, j].tolist()


def test_a_student_with_a_flow_learns_the_teachers_laws() -> None:
    """Its loss is the distance of laws; it is the teacher's own where all is settled, so that nothing is left."""
    net = flowing()
    lesson = replace(training(net=net, recipe=DD1(head="flow")), teacher=TABLE)
    piece = lesson.piece(torch.arange(64), torch.zeros(64, dtype=torch.int64))
    said_BLV = net.laws(piece.labels_B, piece.eps_BLC, torch.zeros(64, 2, dtype=torch.int64))
    want_BLV = TABLE.laws(piece.labels_B, TABLE.codes_VC[piece.ids_BL])
    want = (want_BLV.exp() * (want_BLV - said_BLV)).sum()
    assert torch.allclose(lesson.nats({}, 0, piece), want, rtol=1e-4)
    assert lesson.nats({}, 0, lesson.piece(torch.arange(64), torch.full((64,), 2))) == 0


def flowing() -> JumpNet:
    body = student(TABLE.layout, codes_VC=TABLE.codes_VC, hidden=32, intermediate=64).spec.body
    return untrained(JumpSpec("toy", body, 3, (0, 1), 2, flow=20), TABLE.codes_VC, 4, TABLE.carried)


def test_sharp_laws_lead_to_likelier_codes() -> None:
    net, labels_B = flowing(), torch.zeros(500, dtype=torch.int64)
    eps_BLC, flags_BL = normals(Noise.of(list(range(500))), 2, 2), torch.zeros(500, 2, dtype=torch.int64)
    best_L = net.laws(labels_B, eps_BLC, flags_BL)[:, 0].argmax(-1)
    shares = []
    for sharpness in (1.0, 3.0, 1e4):
        net.spec = replace(net.spec, sharpness=sharpness)
        ids_BL = net.jump(labels_B, eps_BLC, flags_BL).logits_BLV.argmax(-1)
        shares.append(float((ids_BL[:, 0] == best_L).float().mean()))
    assert shares == sorted(set(shares))
    assert shares[-1] == 1


def test_a_flow_ends_on_codes() -> None:
    with pytest.raises(BadInput, match="leave split 1 out"):
        JumpSpec("toy", flowing().spec.body, 3, (0, 1), 1, flow=20)


def test_a_folder_is_read_back(tmp_path: Path) -> None:
    net = student(RASTER, split=2)
    save(net, tmp_path)
    again = read(tmp_path)
    assert (again.spec, again.steps, again.split, again.classes) == (net.spec, (0, 1), 2, 2)
    assert torch.equal(again.codes_VC, net.codes_VC)
    eps_BLC, flags_BL = normals(Noise.of([0]), 4, 2), torch.zeros(1, 4, dtype=torch.int64)
    one, two = (each.jump(torch.tensor([1]), eps_BLC, flags_BL).logits_BLV for each in (net, again))
    assert torch.allclose(one, two, atol=0.02)
    assert kind_of(tmp_path) == "dd1"
    assert not any(weight.requires_grad for weight in again.parameters())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(BadInput, match=r"does not hold the weights that config\.json promises"):
        read(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(BadInput, match="a student of dd1 is a DistilledDecoding1"):
        read(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(BadInput, match=r"holds no config\.json that can be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("steps", "split", "sentence"),
    [((1,), 4, "steps ascend from 0"), ((0, 4), 4, "steps ascend from 0"), ((0, 2), 1, "a split lies between")],
)
def test_states_that_do_not_fit_are_refused(steps: tuple[int, ...], split: int, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        JumpSpec("toy", student(RASTER).spec.body, 5, steps, split)


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="0 <= ema < 1"):
        DD1(ema=1.0)
    with pytest.raises(BadInput, match="a sharpness above 0"):
        DD1(sharpness=0)
    with pytest.raises(BadInput, match=r"lies in 1 ... 3, got 4"):
        DD1(middle=4).steps(RASTER)
    assert DD1().steps(Layout.raster(4)) == (0, 5)
    assert DD1().steps(Layout.scales((1, 2, 4))) == (0, 2)


def apart(net: JumpNet, calls: int) -> float:
    """Total variation of 40,000 images of each class from the joint law, the mean of both; about 0.004 is chance."""
    found, count = 0.0, 40_000
    for label in (0, 1):
        eps_BLC = normals(Noise.of(list(range(count))), 2, 2)
        with torch.no_grad():
            _, ids_BL = jumped(net, torch.full((count,), label), eps_BLC, calls)
        share_V = torch.bincount(ids_BL[:, 0] * 3 + ids_BL[:, 1], minlength=9) / count
        found += float((share_V - TABLE.joint(label).flatten()).abs().sum()) / 4
    return found


@pytest.mark.slow
def test_one_pass_learns_the_joint_law(tmp_path: Path) -> None:
    """The product of the marginals, the best that places without noise of each other can do, is at 0.5."""
    net = student(TABLE.layout, codes_VC=TABLE.codes_VC, hidden=32, intermediate=64)
    run(net, training(20_000, DD1(ema=0.98), net, batch=256), settings(300), tmp_path)
    one, two = (apart(learnt(net, tmp_path), calls) for calls in (1, 2))
    assert one < 0.05
    assert two < one + 0.004


@pytest.mark.slow
def test_one_pass_learns_the_joint_law_through_flows(tmp_path: Path) -> None:
    """The first place has no noise before it: its law is learnt at once, and its code is the teacher's."""
    net = flowing()
    lesson = replace(training(20_000, DD1(head="flow", ema=0.98), net, batch=256), teacher=TABLE)
    run(net, lesson, settings(300), tmp_path)
    one, two = (apart(learnt(net, tmp_path), calls) for calls in (1, 2))
    assert one < 0.05
    assert two < one + 0.004


def learnt(net: JumpNet, folder: Path) -> JumpNet:
    """The running mean of a run."""
    return averaged(net, torch.load(folder / CHECKPOINT, weights_only=True)["memory"])
