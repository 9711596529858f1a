"""The oracle's replay, what a filter reads of it, and what it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Fresh, Outlook, Turn
from decant.distill.diffusion.learn2pd import Lasting, Learn2PD, Prompts, Run, measured, teach
from decant.distill.diffusion.trajectories import Examples, Trajectories, replay
from decant.distill.settings import Settings
from decant.distill.trainer import train
from decant.errors import BadInput
from decant.models.masked.filter import FilterSpec, read, save, untrained
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.schedules.blocks import Blocks
from decant.testing.canvases import HashLM
from decant.types import PAD
from decant.unmaskers.learn2pd import Learn2PD as Unmasker
from decant.unmaskers.learn2pd import windows
from decant.unmaskers.low_confidence import LowConfidence

MODEL = HashLM(vocab=4, sharpness=1.5)
PROMPTS = [[1, 2, 0], [1], [2, 2, 0, 1], [0], [0, 0], [1, 1, 2]]


def walks(places: int = 10, block: int = 4) -> Trajectories:
    reference = MaskedDiffusion(MODEL, LowConfidence(), Blocks(MODEL.mask, block), NoCache(), greedy(), length=places)
    return Trajectories(reference, block, batch=4)


def test_the_oracle_says_what_the_reference_says_in_no_more_passes() -> None:
    prompt_BT = right_pad(PROMPTS)
    answer_BL = walks().answers(prompt_BT)
    found = replay(MODEL, prompt_BT, answer_BL, 4)
    assert found.canvas_BL.equal(answer_BL)
    assert int(found.passes_B.max()) <= 10
    assert int(found.passes_B.min()) < 10
    total, plain, needed = walks().of(PROMPTS)
    assert (plain, needed) == (60, int(found.passes_B.sum()))
    assert len(total) == needed, "an example a pass"


def test_a_replay_of_another_answer_ends_with_it() -> None:
    """An answer that the model would never give: where nothing is right the block is filled in."""
    other_BL = torch.zeros(2, 9, dtype=torch.int64)
    found = replay(MODEL, right_pad(PROMPTS[:2]), other_BL, 4)
    assert found.canvas_BL.equal(other_BL)


def test_examples_are_what_the_model_thought() -> None:
    """Of the first pass over each block: probabilities of its guesses, and whether they are the answer's."""
    prompt_BT = right_pad(PROMPTS[:1])
    answer_BL = walks().answers(prompt_BT)
    examples = replay(MODEL, prompt_BT, answer_BL, 4).examples
    bare_BL = torch.full_like(answer_BL, MODEL.mask)
    _, logits_NV = MODEL.predict(
        MODEL.start(prompt_BT, bare_BL), bare_BL, Fresh.whole(bare_BL), torch.arange(10)[None] < 4
    )
    best_N = logits_NV.softmax(-1).max(-1)
    torch.testing.assert_close(examples.sure_NW[0], best_N.values)
    assert examples.right_NW[0].equal(best_N.indices == answer_BL[0, :4])
    assert examples.asked_NW[0].all()
    for at in range(1, len(examples)):
        closed_W = ~examples.asked_NW[at]
        assert set(examples.sure_NW[at][closed_W].tolist()) <= {0.0, 1.0}
    assert examples.asked_NW[-1].tolist()[2:] == [False, False], "the last block has two places"
    assert examples.sure_NW[-1].tolist()[2:] == [0.0, 0.0]


def test_windows_know_open_settled_and_absent_places() -> None:
    canvas_BL = torch.tensor([[9, 3, 9, 9, 9], [1, 9, PAD, PAD, PAD]])
    sure_BL = torch.tensor([[0.5, 0.0, 0.25, 0.0, 0.75], [0.0, 0.5, 0.0, 0.0, 0.0]])
    found = windows(canvas_BL, sure_BL, 9, 3)
    assert found.tolist() == [[[0.5, 1.0, 0.25], [0.0, 0.75, 0.0]], [[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]]


class Recorder:
    """A filter that says the same of everything, and keeps what it read."""

    block = 4

    def __init__(self, score: float) -> None:
        self.score, self.seen = score, []

    def __call__(self, sure_XW: Tensor) -> Tensor:
        self.seen.append(sure_XW)
        return torch.full_like(sure_XW, self.score)


def test_places_that_may_not_settle_are_left_whatever_the_filter_says() -> None:
    canvas_BL = torch.tensor([[3, 3, 1, 3, 3, 3]])
    row_N, place_N = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 3])
    logits_NV = torch.tensor([[2.0, 0, 0, -torch.inf], [0, 3.0, 0, -torch.inf], [0, 0, 1.0, -torch.inf]])
    seen = Outlook(canvas_BL, row_N, place_N, logits_NV, greedy(), Noise.of([0]))
    turn = Turn(torch.tensor([[True, True, False, False, False, False]]))
    sure = Recorder(9.0)
    reveal, _ = Unmasker(sure, mask=3).reveal(None, seen, turn)
    assert reveal.settled_BL.tolist() == [[True, True, False, False, False, False]]
    torch.testing.assert_close(sure.seen[0][0, 0, [0, 1, 3]], logits_NV.softmax(-1).amax(-1))
    assert sure.seen[0][0, 0, 2] == 1.0, "what is settled"
    assert sure.seen[0][0, 1].tolist() == [0.0] * 4, "what nobody asked about"
    reveal, _ = Unmasker(Recorder(-9.0), mask=3).reveal(None, seen, turn)
    assert reveal.settled_BL.tolist() == [[False, True, False, False, False, False]], "the surest settles anyway"


def separable(count: int = 600) -> Examples:
    """Guesses last where they are surer than 0.6."""
    sure_NW = torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    return Examples(sure_NW, sure_NW > 0.6, torch.rand(count, 4, generator=torch.Generator().manual_seed(1)) < 0.8)


def test_a_filter_learns_and_places_that_are_not_open_count_for_nothing(tmp_path: Path) -> None:
    examples = separable()
    net = untrained(FilterSpec(4, 16))
    lesson = Lasting(net, examples)
    rows, weights = lesson.batch(3)
    assert float(weights.sum()) == float(examples.asked_NW.sum())
    flipped = Examples(examples.sure_NW, examples.right_NW ^ ~examples.asked_NW, examples.asked_NW)
    torch.testing.assert_close(lesson.loss(rows, weights), Lasting(net, flipped).loss(rows, weights))
    train(net, lesson.loss, lesson.batch, Settings(150, peak=5e-2, warmup=0, quiet=True, save_every=150), tmp_path)
    found = measured(net, separable())
    assert (found["found"] or 0.0) > 0.7
    assert found["wrong"] is not None
    assert found["wrong"] < 0.02
    fresh = measured(untrained(FilterSpec(4, 16)), separable())
    assert fresh["found"] == 0.0
    assert fresh["wrong"] is None


def test_blocks_are_the_models_own_where_nobody_says() -> None:
    assert Learn2PD().spec(16) == FilterSpec(16, 16)
    assert Learn2PD(block=8, hidden=4).spec(16) == FilterSpec(8, 4)


def test_from_prompts_to_a_folder_and_again(tmp_path: Path) -> None:
    settings = Settings(6, peak=1e-2, warmup=0, quiet=True, save_every=2)
    prompts = Prompts(PROMPTS[1:], PROMPTS[:1])

    def made(name: str) -> dict[str, Any]:
        return teach(Learn2PD(block=4), walks(), prompts, settings, Run("toy", tmp_path / name, {"asked": {}}))

    report = made("one")
    assert report["plain"] == 50
    assert report["oracle"] < 50
    assert made("one") | {"seconds": 0} == report | {"seconds": 0}, "a run that is done says the same"
    made("two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert "--method learn2pd:filter=" in (tmp_path / "one" / "README.md").read_text()
    net = read(tmp_path / "one")
    assert net.spec == FilterSpec(4, 4)
    save(net, tmp_path / "three")
    assert (tmp_path / "three" / "model.safetensors").read_bytes() == one.read_bytes()
    with pytest.raises(BadInput, match="holds no filter that can be read"):
        read(tmp_path)


def test_what_makes_no_sense_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a filter reads at least one place"):
        Learn2PD(block=0)
    with pytest.raises(BadInput, match="tau is a probability above 0"):
        Unmasker(Recorder(0.0), 3, tau=0.0)
    certain = MaskedDiffusion(HashLM(vocab=2), LowConfidence(), Blocks(1, 4), NoCache(), greedy(), length=4)
    run = Run("toy", tmp_path / "out", {"asked": {}})
    with pytest.raises(BadInput, match="100% of all guesses are right: a filter learns from both kinds"):
        teach(Learn2PD(4), Trajectories(certain, 4), Prompts([[1]], [[0]]), Settings(1), run)
    assert not (tmp_path / "out").exists()
