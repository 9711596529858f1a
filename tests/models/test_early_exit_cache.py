"""An early exit works in the target's own cache, and the target never notices."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.early_exit import EarlyExit
from decant.drafters.sorted_exits import SortedExits
from decant.models.causal import Causal
from decant.models.early_exit import EarlyExits
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_drafter
from decant.types import PAD, Draft, DraftShape, Verdict, select_rows
from decant.verifiers.coupled import Coupled
from tests.models.exits import CLOSE, PARENTS, anyhow, made, nodes, prompts


@pytest.fixture(scope="module", params=["llama", "mistral-sliding", "llama, filled up"])
def model(request, tmp_path_factory) -> Causal:
    causal = made(tmp_path_factory.mktemp("exits"), request.param.partition(",")[0])
    return replace(causal, network=replace(causal.network, lone=4)) if "filled" in request.param else causal


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Causal:
    causal = made(tmp_path_factory.mktemp("exact"), exact="on")
    assert causal.rows is not None
    return causal


@pytest.fixture
def prompt_BT() -> Tensor:
    return prompts()


def speculative(model: Causal, drafter, warp=None, depth: int = 3, width: int = 1) -> Speculative:
    return Speculative(model, drafter, Coupled(), Fixed(depth, width, 9), warp or greedy(), Unconstrained())


DRAFTERS = [
    lambda exits: EarlyExit(exits, 1),
    lambda exits: EarlyExit(exits, 3),  # all is accepted, so that rows of trees move
    lambda exits: SortedExits(exits, rungs="1-2-3", tau=0.05),
]


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
def test_the_target_keeps_its_bits_and_its_cache(exact, prompt_BT, drafter, width: int, warp) -> None:
    """T1 and T5, in exact mode: logits, text and cache of plain decoding, to the last bit, below and above the exit."""
    loop = speculative(exact, drafter(EarlyExits.of(exact, "")), warp, width=width)
    plain = Autoregressive(exact, warp, Unconstrained())
    with torch.inference_mode():
        state, other = (one.start(prompt_BT, Noise.of([1, 2, 3])) for one in (loop, plain))
        for _ in range(8):
            state, _ = loop.step(state)
        while min(other.context.lengths) < max(state.context.lengths):
            other, _ = plain.step(other)
        for request, (length, cached) in enumerate(zip(state.context.lengths, state.context.cached, strict=True)):
            assert torch.equal(state.context.tokens_BT[request, :length], other.context.tokens_BT[request, :length])
            mine, theirs = (one.context.cache.lanes[request].rows_L2KSW[..., :cached, :] for one in (state, other))
            assert torch.equal(mine, theirs)
            fresh, _ = exact.start(state.context.tokens_BT[request : request + 1, : cached + 1])
            torch.testing.assert_close(mine, fresh.cache.lanes[0].rows_L2KSW[..., :cached, :], **CLOSE)
        assert state.context.lengths[2] >= 9, "eight steps"


def test_what_an_exit_wrote_is_never_read(exact, prompt_BT) -> None:
    draft = nodes(*PARENTS)
    context, _ = exact.start(prompt_BT)
    with torch.inference_mode():
        want = exact.score(context, draft).logits_BMV
        EarlyExits.of(exact, "").guess(context, (2,), anyhow)(draft)
        for lane, cached in zip(context.cache.lanes, context.cached, strict=True):
            lane.rows_L2KSW[:, :, :, cached:] = 50.0
        assert torch.equal(exact.score(context, draft).logits_BMV, want)
        context.cache.lanes[0].rows_L2KSW[:, :, :, :5] = 50.0
        context.memory[0] = None
        assert not torch.equal(exact.score(context, draft).logits_BMV, want), "what is committed is read"


@pytest.mark.parametrize("forgetful", [True, False])
def test_a_draft_scored_before_an_exit_wrote_is_scored_again(model, prompt_BT, forgetful: bool) -> None:
    """Else a commit would keep the rows of the exit's tree."""
    tokens_BN = nodes(*PARENTS).tokens_BN
    context, _ = model.start(prompt_BT)
    with torch.inference_mode():
        model.score(context, Draft(tokens_BN))
        known = context.memory[0]
        EarlyExits.of(model, "").guess(context, (2,), anyhow)(Draft(tokens_BN.flip(1)))
        if not forgetful:
            context.memory[0] = known  # the bug
        model.score(context, Draft(tokens_BN))
        last_B = torch.tensor([5, 6, 7])
        after = model.commit(context, Verdict.of_chain(tokens_BN, torch.tensor([4, 4, 4]), last_B))
        fresh, _ = model.start(after.tokens_BT)
        mine, want = (one.cache.lanes[0].rows_L2KSW[..., : after.cached[0], :] for one in (after, fresh))
    assert torch.allclose(mine, want, **CLOSE) == forgetful


def test_a_request_that_has_left_is_not_overwritten(model, prompt_BT) -> None:
    context, _ = model.start(prompt_BT)
    draft, exits = nodes(*PARENTS), EarlyExits.of(model, "")
    with torch.inference_mode():
        want = exits.guess(context, (2,), anyhow)(draft)
        left = select_rows(context, torch.tensor([1]))
        guess = exits.guess(left, (2,), anyhow)
        guess(Draft(draft.tokens_BN[1:2, :2], draft.parents_BN[1:2, :2]))
        exits.guess(context, (2,), anyhow)(nodes(*PARENTS, seed=9))
        said = guess(Draft(draft.tokens_BN[1:2], draft.parents_BN[1:2]))
    torch.testing.assert_close(said, want[1:2], **CLOSE)


@pytest.mark.parametrize(
    "shape", [DraftShape(3), DraftShape(2, width=2), DraftShape(3, exit=3), DraftShape(0)], ids=repr
)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_the_law_of_drafters_over_a_real_cache(model, drafter, shape: DraftShape) -> None:
    check_drafter(drafter(EarlyExits.of(model, "")), model, temperature(0.7), shape, draws=4)


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("width", [1, 2])
def test_the_last_exit_is_the_target(model, prompt_BT, width: int, warp, monkeypatch) -> None:
    monkeypatch.setattr("decant.drafting.growth.LIKELY", model.vocab)  # nothing is likely to an untrained model
    loop = speculative(model, EarlyExit(EarlyExits.of(model, ""), 3), warp, width=width)
    state = loop.start(prompt_BT, Noise.of([1, 2, 3]))
    for _ in range(4):
        state, step = loop.step(state)
        assert ((step.tokens_BC != PAD).sum(-1) == 4).all()
