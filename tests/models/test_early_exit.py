"""Early exits say what the lower layers alone would say, and the target never notices that they share its cache."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.early_exit import EarlyExit
from decant.drafters.sorted_exits import SortedExits
from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.early_exit import EarlyExits
from decant.models.fast.lean import Lean
from decant.models.load import load
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_drafter
from decant.types import PAD, Draft, DraftShape, Taps, Verdict, select_rows
from decant.verifiers.coupled import Coupled
from tests.models.families import VOCAB, build

CLOSE = {"rtol": 0, "atol": 2e-5}
PARENTS = [-1, -1, 0, 0, 2, 1]


def made(folder, family: str = "llama", exact: str = "off", lean: bool = True) -> Causal:
    network = build(family)
    network.model.norm.weight.data.mul_(8)  # laws far from flat, so that nothing is nearly tied
    network.save_pretrained(folder)
    return load(str(folder), exact=exact, dtype="float32", lean=lean).model


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
    prompt_BT = torch.randint(3, VOCAB, (3, 20), generator=torch.Generator().manual_seed(1))
    prompt_BT[1, 14:] = PAD
    prompt_BT[2, 1:] = PAD
    return prompt_BT


def nodes(*parents: int, seed: int = 2) -> Draft:
    tokens_BN = torch.randint(3, VOCAB, (3, len(parents)), generator=torch.Generator().manual_seed(seed))
    return Draft(tokens_BN, torch.tensor([parents] * 3))


def beginning(draft: Draft, count: int) -> Draft:
    return Draft(draft.tokens_BN[:, :count], None if draft.parents_BN is None else draft.parents_BN[:, :count])


def anyhow(logits_RV: Tensor) -> Tensor:
    return torch.ones(len(logits_RV), dtype=torch.bool)


def alone(model: Causal, exit: int, prompt_BT: Tensor, draft: Draft) -> Tensor:
    """logits_BMV of the lower layers as a model of its own, with a cache of its own."""
    lower = replace(model, network=model.network.upto(exit))
    return lower.score(lower.start(prompt_BT)[0], draft).logits_BMV


@pytest.mark.parametrize("exit", [1, 2, 3])
@pytest.mark.parametrize("chain", [False, True], ids=["tree", "chain"])
def test_an_exit_says_what_its_layers_say_alone(model, prompt_BT, exit: int, chain: bool) -> None:
    draft = Draft(nodes(*PARENTS).tokens_BN) if chain else nodes(*PARENTS)
    with torch.inference_mode():
        guess = EarlyExits.of(model, "").guess(model.start(prompt_BT, Taps(layers=(1, 2)))[0], (exit,), anyhow)
        for count in (0, 2, 4, 6):  # level by level, as drafters ask
            said_BMV = guess(beginning(draft, count))
        torch.testing.assert_close(said_BMV, alone(model, exit, prompt_BT, draft), **CLOSE)


def test_an_exit_does_not_depend_on_the_layers_above(model, prompt_BT) -> None:
    upside_down = replace(model.network, layers=[*model.network.layers[:2], model.network.layers[0]])
    other = replace(model, network=upside_down)
    said = []
    with torch.inference_mode():
        for one in (model, other):
            guess = EarlyExits.of(one, "").guess(one.start(prompt_BT)[0], (1, 2), lambda logits: ~anyhow(logits))
            guess(beginning(nodes(*PARENTS), 0))
            said.append(guess(nodes(*PARENTS)))
        assert torch.equal(*said)
        assert not torch.equal(
            *(one.score(one.start(prompt_BT)[0], nodes(*PARENTS)).logits_BMV for one in (model, other))
        )


class Turns:
    """Sure or not by turns, whatever it sees: (level, rung) -> whether every row is sure."""

    def __init__(self, *turns: bool) -> None:
        self.turns = list(turns)

    def __call__(self, logits_RV: Tensor) -> Tensor:
        return torch.full((len(logits_RV),), self.turns.pop(0))


# By level: leaves at 1, climbs to 2, leaves at 1, climbs to 3, climbs to 2, leaves at 1.
CLIMBS = (True, *(False, True), True, *(False, False), *(False, True), True)
LEFT = (1, 2, 1, 3, 2, 1)


@pytest.mark.parametrize("chain", [False, True], ids=["tree", "chain"])
def test_rows_that_climb_say_what_deeper_layers_say(model, prompt_BT, chain: bool) -> None:
    """Rows that left below are brought up first: without them, a deeper row would read layers that nobody wrote."""
    draft = Draft(nodes(*PARENTS[:5]).tokens_BN) if chain else nodes(*PARENTS[:5])
    context = model.start(prompt_BT)[0]
    with torch.inference_mode():
        guess = EarlyExits.of(model, "").guess(context, (1, 2, 3), Turns(*CLIMBS))
        for count in range(6):
            said_BMV = guess(beginning(draft, count))
        for row, exit in enumerate(LEFT):
            torch.testing.assert_close(said_BMV[:, row], alone(model, exit, prompt_BT, draft)[:, row], **CLOSE)
        context = model.start(prompt_BT)[0]
        guess = EarlyExits.of(model, "").guess(context, (1, 2, 3), Turns(*CLIMBS))
        for count in range(6):
            guess.__self__.waiting.clear()  # the bug: what left early stays below
            said_BMV = guess(beginning(draft, count))
    if chain:
        assert not torch.allclose(said_BMV[:, 3], alone(model, 3, prompt_BT, draft)[:, 3], **CLOSE)


def test_every_row_passes_a_layer_once_at_most(model, monkeypatch) -> None:
    prompt_BT = torch.randint(3, VOCAB, (1, 9), generator=torch.Generator().manual_seed(4))
    passed, stretch = [], Lean.stretch

    def counted(self, cache, spans, lowest, highest):
        passed.append((lowest, highest, sum(span.count for span in spans)))
        return stretch(self, cache, spans, lowest, highest)

    monkeypatch.setattr(Lean, "stretch", counted)
    chain = Draft(nodes(*PARENTS).tokens_BN[:1])
    guess = EarlyExits.of(model, "").guess(model.start(prompt_BT)[0], (1, 2, 3), Turns(*CLIMBS))
    for count in range(6):
        guess(beginning(chain, count))
    # Level 1 brings the root up to 2; level 3 its two successors, and all four to 3; level 4 comes alone.
    assert passed == [
        (0, 1, 1),
        (0, 1, 1),
        (1, 2, 2),
        (0, 1, 1),
        (0, 1, 1),
        (1, 2, 2),
        (2, 3, 4),
        (0, 1, 1),
        (1, 2, 1),
        (0, 1, 1),
    ]
    passed.clear()
    drafter = SortedExits(EarlyExits.of(model, ""), rungs="1-2-3", tau=0.0)
    drafter.draft(None, DraftShape(3), greedy(), Noise.of([1]), model.start(prompt_BT)[0])
    assert passed == [(0, 1, 1)] * 3, "tau 0 always leaves at the lowest rung"


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
        guess(Draft(draft.tokens_BN[1:2, :0], draft.parents_BN[1:2, :0]))
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
def test_the_last_exit_is_the_target(model, prompt_BT, width: int, warp) -> None:
    loop = speculative(model, EarlyExit(EarlyExits.of(model, ""), 3), warp, width=width)
    state = loop.start(prompt_BT, Noise.of([1, 2, 3]))
    for _ in range(4):
        state, step = loop.step(state)
        assert ((step.tokens_BC != PAD).sum(-1) == 4).all()


def test_shadows_are_what_exits_would_have_said(model, prompt_BT) -> None:
    exits, draft = EarlyExits.of(model, ""), nodes(*PARENTS)
    with torch.inference_mode():
        scores = model.score(model.start(prompt_BT, Taps(layers=(1, 2, 3)))[0], draft)
        ids_BME, sure_BME = exits.shadow(scores.hidden((1, 2, 3)), (1, 2, 3))
        for exit in (1, 2, 3):
            law_BMV = alone(model, exit, prompt_BT, draft).softmax(-1)
            assert torch.equal(ids_BME[..., exit - 1], law_BMV.argmax(-1))
            torch.testing.assert_close(sure_BME[..., exit - 1], law_BMV.amax(-1), rtol=0, atol=1e-4)
        assert torch.equal(ids_BME[..., 2], scores.logits_BMV.argmax(-1)), (
            "the last layer's shadow is the target's token"
        )


def test_shares_count_the_head(model) -> None:
    exits = EarlyExits.of(model, "")
    shares = [exits.share(exit) for exit in (1, 2, 3)]
    assert 1 / 3 < shares[0] < shares[1] < shares[2] == 1.0


def test_what_cannot_be_left_early_is_refused(tmp_path) -> None:
    with pytest.raises(IncompatibleParts, match=r"but mine \(LlamaForCausalLM\) runs through transformers; take draft"):
        EarlyExits.of(made(tmp_path, lean=False), "mine")


@pytest.mark.parametrize("rungs", [(), (0, 1), (2, 2), (3, 1), (4,)])
def test_exits_ascend_within_the_layers(model, prompt_BT, rungs) -> None:
    with pytest.raises(BadInput, match="exits ascend from 1 to at most the 3 layers"):
        EarlyExits.of(model, "").guess(model.start(prompt_BT)[0], rungs, anyhow)
