"""FreeDave says what the plain loop says, in fewer passes; each of its checks is needed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pytest
import torch
from torch import Tensor

from decant.caches.dual import Dual
from decant.caches.none import NoCache
from decant.decoders import freedave
from decant.decoders.freedave import FreeDave
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import MaskedLM, Outlook, Scope, Turn
from decant.errors import BadInput
from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.load import load
from decant.models.masked.training import adapt
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM, TableLM
from decant.types import PAD
from decant.unmaskers.low_confidence import LowConfidence

HASH = HashLM(vocab=5, sharpness=2.0)
MASK = HASH.mask
BINARY = HashLM(vocab=3, sharpness=2.0)
"""With two ids to say, a proposal is right often enough."""


def plain(loop: FreeDave[Any]) -> MaskedDiffusion[Any]:
    """What it has to say."""
    return MaskedDiffusion(loop.masked, LowConfidence(), loop.schedule, loop.refresh, loop.warp)


def run(decoder: Any, prompts: list[list[int]], places: int) -> tuple[Tensor, Tensor, int]:
    """canvas_BL, passes_B in which a place of each request was open, and tokens that had been guessed."""
    mask = decoder.masked.mask
    with torch.inference_mode():
        state = decoder.start(
            right_pad([prompt + [mask] * places for prompt in prompts]), Noise.of(list(range(len(prompts))))
        )
        passes_B, guessed = torch.zeros(len(prompts), dtype=torch.int64), 0
        while bool((open_B := (state.canvas_BL == mask).any(-1)).any()):
            state, step = decoder.step(state)
            passes_B += open_B
            guessed += int(step.drafted_BC.sum())
            assert int((step.tokens_BC != PAD).sum(-1)[open_B].min()) >= 1
    return state.canvas_BL, passes_B, guessed


def differs(loop: FreeDave[Any], prompts: list[list[int]], places: int) -> bool:
    """Whether it says something else than the plain loop."""
    return not run(loop, prompts, places)[0].equal(run(plain(loop), prompts, places)[0])


def independent(seed: int) -> TableLM:
    """Nine places that do not depend on each other; the mask is 2."""
    chance = torch.Generator().manual_seed(seed)
    probs_LV = torch.rand(9, 2, generator=chance, dtype=torch.float64)
    probs_LV = probs_LV / probs_LV.sum(-1, keepdim=True)
    answers_YL = torch.cartesian_prod(*[torch.arange(2)] * 9)
    return TableLM(answers_YL, probs_LV[torch.arange(9), answers_YL].prod(-1), vocab=3)


@final
@dataclass(frozen=True, slots=True)
class Moody:
    """A schedule whose next block is as wide as the last pass was sure: it remembers widths, and asks for quotas."""

    mask: int
    quotas: bool = False

    def start(self, canvas_BL: Tensor) -> Tensor:
        return torch.full_like(canvas_BL[:, 0], 3)

    def scope(self, state: Tensor, canvas_BL: Tensor) -> Scope:
        open_BL = canvas_BL == self.mask
        block_BL = (open_BL.cumsum(-1) <= state[:, None]) & (canvas_BL != PAD)
        return Scope(block_BL, block_BL & open_BL)

    def turn(self, state: Tensor, scope: Scope, seen: Outlook) -> tuple[Turn, Tensor]:
        sure_B = (seen.confidence_BL.amax(-1) > 0.97).long()
        return Turn(scope.wanted_BL, 1 + sure_B if self.quotas else None), 3 + 4 * sure_B


SETTINGS: dict[str, tuple[Any, Any]] = {
    "blocks, greedy": (Blocks(MASK, 4), greedy()),
    "full, drawn": (Full(MASK), temperature(1.0)),
}


@pytest.mark.parametrize(("schedule", "warp"), SETTINGS.values(), ids=SETTINGS)
def test_two_hundred_prompts_say_the_same_in_fewer_passes(schedule: Any, warp: Any) -> None:
    loop = FreeDave(HASH, schedule, NoCache(), warp)
    prompts = [[number % 4, number // 4] for number in range(200)]
    want, plainly_B, _ = run(plain(loop), prompts, 8)
    found, passes_B, guessed = run(loop, prompts, 8)
    assert found.equal(want)
    assert bool((passes_B <= plainly_B).all())
    assert int(plainly_B.sum()) - int(passes_B.sum()) == guessed > 100


@pytest.mark.parametrize("quotas", [False, True])
def test_a_schedule_that_remembers_is_followed(quotas: bool) -> None:
    loop = FreeDave(BINARY, Moody(BINARY.mask, quotas), NoCache(), greedy())
    prompts = [[number, 1] for number in range(3, 51)]
    want, plainly_B, _ = run(plain(loop), prompts, 9)
    found, passes_B, guessed = run(loop, prompts, 9)
    assert found.equal(want)
    assert bool((passes_B <= plainly_B).all())
    assert guessed > 0


def test_one_draft_is_the_plain_loop() -> None:
    loop = FreeDave(HASH, Blocks(MASK, 4), NoCache(), greedy(), drafts=1)
    want, plainly_B, _ = run(plain(loop), [[1], [2]], 9)
    found, passes_B, guessed = run(loop, [[1], [2]], 9)
    assert found.equal(want)
    assert passes_B.equal(plainly_B)
    assert guessed == 0


@pytest.mark.parametrize("block", [4, 9])
def test_where_places_do_not_depend_on_each_other_every_draft_is_right(block: int) -> None:
    """9 places at 4 canvases a pass: one, four, four; the last canvas of a block asks about the next."""
    loop = FreeDave(independent(seed=2), Blocks(2, block), NoCache(), temperature(1.0))
    found, passes_B, guessed = run(loop, [[1]], 9)
    assert found.equal(run(plain(loop), [[1]], 9)[0])
    assert passes_B.tolist() == [3]
    assert guessed == 6


def test_apart_each_canvas_is_a_pass() -> None:
    together = FreeDave(HASH, Full(MASK), NoCache(), greedy())
    with torch.inference_mode():
        states = [
            one.start(right_pad([[1, *[MASK] * 6]]), Noise.of([3])) for one in (together, replace(together, apart=True))
        ]
        for _ in range(2):
            states = [
                one.step(state)[0] for one, state in zip((together, replace(together, apart=True)), states, strict=True)
            ]
    assert [state.context.asked.passes[0] for state in states] == [2, 5]
    assert states[0].canvas_BL.equal(states[1].canvas_BL)


def test_no_canvas_at_all_is_refused() -> None:
    with pytest.raises(BadInput, match="looks at one canvas or more in a pass, not 0"):
        FreeDave(HASH, Full(MASK), NoCache(), greedy(), drafts=0)


def places_only(canvas_BL: Tensor, reached_BL: Tensor) -> Tensor:
    return ((canvas_BL == MASK) == (reached_BL == MASK)).all(-1)


def test_a_check_that_is_too_kind_is_caught() -> None:
    loop, prompts = FreeDave(HASH, Blocks(MASK, 4), NoCache(), greedy()), [[number] for number in range(12)]
    assert differs(loop.careless(), prompts, 8)
    assert differs(replace(loop, right=places_only), prompts, 8)


def test_a_scope_that_nobody_checks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = FreeDave(BINARY, Moody(BINARY.mask), NoCache(), greedy())
    prompts = [[number, 1] for number in range(3, 51)]
    assert not differs(loop, prompts, 9)
    monkeypatch.setattr(freedave, "same", lambda scope, other: torch.ones_like(scope.block_BL[:, 0]))
    assert differs(loop, prompts, 9)


@pytest.fixture(scope="module", params=[False, True], ids=["row i says i", "row i says i + 1"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MaskedLM[Any]:
    """A small transformer, untrained, that reads in both directions."""
    return tiny(tmp_path_factory.mktemp("filling"), request.param)


def tiny(folder: Path, shift: bool) -> MaskedLM[Any]:
    spec = LlamaSpec(vocab=23, hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, head_dim=16, positions=64)
    model = untrained(spec, seed=1)
    for weight in model.parameters():
        weight.data.mul_(3)
    adapt(model, shift)
    save_folder(model, folder)
    masked = load(str(folder), exact="off").masked
    assert masked is not None
    return masked


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("refresh", [NoCache(), Dual()], ids=repr)
def test_a_transformer_says_the_same(network: MaskedLM[Any], refresh: Any, apart: bool) -> None:
    loop = FreeDave(network, Blocks(network.mask, 6), refresh, temperature(0.7), apart=apart)
    prompts = [[number, 5, 2 * number] for number in range(6)]
    want, plainly_B, _ = run(plain(loop), prompts, 15)
    found, passes_B, guessed = run(loop, prompts, 15)
    assert found.equal(want)
    assert bool((passes_B <= plainly_B).all())
    assert guessed > 0


def test_a_cache_whose_passes_are_left_out_unseen_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shifted model computes the row in front of a block while the block's first place is open: with the pass that
    settles it left out, that row stays as an older canvas made it."""
    network = tiny(tmp_path, shift=True)
    loop = FreeDave(network, Blocks(network.mask, 6), Dual(), temperature(0.7))
    prompts = [[number % 20, number // 3] for number in range(48)]
    assert not differs(loop, prompts, 12)
    monkeypatch.setattr(freedave, "written", lambda fresh, scope: torch.zeros_like(fresh.answer_BL))
    assert differs(loop, prompts, 12)
