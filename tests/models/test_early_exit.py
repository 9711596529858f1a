"""Early exits say what the lower layers alone would say."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decant.drafters.sorted_exits import SortedExits
from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.early_exit import EarlyExits
from decant.models.fast.lean import Lean
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.types import PAD, Draft, DraftShape, Taps, Verdict
from tests.models.exits import CLOSE, PARENTS, anyhow, beginning, made, nodes, prompts
from tests.models.families import VOCAB


@pytest.fixture(scope="module", params=["llama", "mistral-sliding", "llama, filled up"])
def model(request, tmp_path_factory) -> Causal:
    causal = made(tmp_path_factory.mktemp("exits"), request.param.partition(",")[0])
    return replace(causal, network=replace(causal.network, lone=4)) if "filled" in request.param else causal


@pytest.fixture
def prompt_BT() -> Tensor:
    return prompts()


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


def test_only_what_is_unsure_climbs(model) -> None:
    """Siblings: the first leaves at 1, whatever would be thought of it at 2; the second goes on to 3."""
    ids_BT, draft = torch.tensor([[5, 6, 7]]), Draft(torch.tensor([[8, 9]]), torch.tensor([[-1, -1]]))
    answers = [[True], [True, False], [False, False]]
    guess = EarlyExits.of(model, "").guess(model.start(ids_BT)[0], (1, 2, 3), lambda _: torch.tensor(answers.pop(0)))
    with torch.inference_mode():
        guess(beginning(draft, 0))
        said_BMV = guess(draft)
        for row, exit in enumerate((1, 1, 3)):
            torch.testing.assert_close(said_BMV[:, row], alone(model, exit, ids_BT, draft)[:, row], **CLOSE)


def test_pending_tokens_are_read_but_not_asked(model, prompt_BT, monkeypatch) -> None:
    """Committed and never scored, they lie between the cache and the root."""
    passed, stretch = [], Lean.stretch
    monkeypatch.setattr(Lean, "stretch", lambda *given: passed.append(given[3:]) or stretch(*given))
    more_BC = torch.tensor([[8, 9, 10], [11, PAD, PAD], [12, 13, PAD]])
    context = model.commit(model.start(prompt_BT)[0], Verdict(more_BC, torch.full_like(more_BC, PAD)))
    draft = nodes(*PARENTS)
    counts = [4, 2, 3]  # rows of each request: its pending tokens and its root, which alone is sure
    sure_R = torch.cat([torch.arange(count) == count - 1 for count in counts])
    with torch.inference_mode():
        guess = EarlyExits.of(model, "").guess(
            context, (1, 2), lambda rows: sure_R if len(rows) == 9 else ~anyhow(rows)
        )
        guess(beginning(draft, 0))
        assert passed == [(0, 1)]
        said_BMV = guess(draft)
    assert passed == [(0, 1), (0, 1), (1, 2)]
    for row, exit in ((0, 1), (1, 2), (4, 2), (6, 2)):
        want_BMV = alone(model, exit, context.tokens_BT, draft)
        torch.testing.assert_close(said_BMV[:, row], want_BMV[:, row], **CLOSE)


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
