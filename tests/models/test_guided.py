"""Guidance is two contexts and one law: the laws of models, its own invariants, and agreement with transformers."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor

from decant import house as shipped
from decant.apps.guidance import guided as guided_target
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.models.causal import Causal
from decant.models.guided import guidance, guided
from decant.models.load import load
from decant.models.other_prompts import InFront, Instead, Last, Listed, Same
from decant.models.paired import Paired
from decant.models.prefixes import Prefixes
from decant.models.sides import Apart, Together, Twins
from decant.protocols import LanguageModel
from decant.testing.laws import check_model
from decant.testing.markov import MarkovLM
from decant.types import Draft, Taps, Verdict, select_rows
from tests.models.exits import made
from tests.models.pairs import SMALL, TEXT, TOY, Begun, Lawful, blends_ignore_constants, check_speculation, house, row

OTHERS = [Last(), Last(2), Instead((3, 1, 4, 1, 5, 2, 6, 5)), InFront((3, 1)), Same()]


@pytest.fixture(scope="module")
def random_llama(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    return made(tmp_path_factory.mktemp("guided"))


@pytest.fixture(scope="module")
def grid_llama(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    return made(tmp_path_factory.mktemp("guided-grid"), lean=False)


@pytest.mark.parametrize("other", OTHERS, ids=repr)
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
def test_the_law_of_models(other: Any, apart: bool) -> None:
    sides: Any = Apart(TOY, TOY) if apart else Together(TOY)
    check_model(Lawful(Paired(sides, guidance(1.7, alpha=0.02), Begun(other))))


@pytest.mark.parametrize("other", OTHERS[1:3], ids=repr)
def test_the_law_of_models_with_a_long_memory(random_llama: Causal, other: Any) -> None:
    """A Markov chain forgets the prompt, so that both its sides soon say the same; a transformer does not."""
    model = guided(random_llama, 2.0, Begun(other))
    assert isinstance(model.sides, Together)
    check_model(Lawful(model), atol=1e-3)


def test_a_model_whose_requests_share_a_grid_reads_its_sides_apart(grid_llama: Causal) -> None:
    model = guided(grid_llama, 2.0, Last(2))
    assert isinstance(model.sides, Apart)
    check_against_two_contexts(model, grid_llama)


@pytest.mark.slow
def test_the_law_of_models_on_a_grid(grid_llama: Causal) -> None:
    check_model(Lawful(guided(grid_llama, 2.0, Begun(Instead((3, 1, 4))))), atol=1e-3)


@pytest.mark.slow
def test_the_law_of_models_on_a_shipped_model() -> None:
    draft = house("draft")
    check_model(Lawful(guided(draft.model, 1.5, Begun(Instead(tuple(draft.encode("A sad story")))))), atol=2e-3)


@dataclass(frozen=True, eq=False)
class Faulty:
    """`Together`, wrong in one way."""

    inner: Together
    mistake: str

    @property
    def model(self) -> LanguageModel:
        return self.inner.model

    @property
    def other(self) -> LanguageModel:
        return self.inner.model

    def start(self, prompt_BT, other_BT, taps):
        return self.inner.start(prompt_BT, other_BT, taps)

    def score(self, state, draft):
        if self.mistake == "requests leave in the other order":
            both_R = torch.arange(state.requests).repeat_interleave(2)
            scores = self.inner.model.score(state.context, select_rows(draft, both_R))
            return replace(scores, logits_BMV=scores.logits_BMV[::2]), scores.logits_BMV[1::2]
        scores, other_BMV = self.inner.score(state, draft)
        if self.mistake == "the other side is a row late":
            other_BMV = other_BMV.roll(1, 1)
        if self.mistake == "only one side":
            scores = replace(scores, logits_BMV=other_BMV)
        return scores, other_BMV

    def commit(self, state, verdict):
        if self.mistake != "the other side forgets":
            return self.inner.commit(state, verdict)
        both = self.inner.commit(state, verdict).context
        keeps, forgets = torch.arange(state.requests), torch.arange(state.requests, 2 * state.requests)
        stale = select_rows(state.context, forgets)
        stale = self.inner.model.commit(stale, Verdict(verdict.tokens_BC[:, -1:] * 0, verdict.nodes_BC[:, -1:] * 0 - 1))
        return Twins(type(both).join(select_rows(both, keeps), stale), state.requests, state.device)

    def tokens(self, state):
        return self.inner.tokens(state)


@pytest.mark.parametrize(
    "mistake",
    ["requests leave in the other order", "the other side is a row late", "only one side", "the other side forgets"],
)
def test_a_planted_bug_is_caught(random_llama: Causal, mistake: str) -> None:
    faulty: Any = Faulty(Together(random_llama), mistake)
    with pytest.raises(AssertionError):
        check_against_two_contexts(Paired(faulty, guidance(2.0), Last(2)), random_llama)


def test_it_is_the_product_of_two_contexts(random_llama: Causal) -> None:
    check_against_two_contexts(guided(random_llama, 2.0, Last(2)), random_llama)


@torch.inference_mode()
def check_against_two_contexts(model: Paired, raw: Causal) -> None:
    """The raw model behind both prompts by itself, for ragged requests, before and after a commit."""
    prompts = [[5, 6, 7, 8, 9], [11, 12, 13]]
    context, _ = model.start(torch.tensor([[5, 6, 7, 8, 9], [11, 12, 13, -1, -1]]))
    draft = Draft(torch.tensor([[20, 21, 22], [23, 24, 25]]))
    said: list[list[int]] = [[], []]
    for verdict in (Verdict(torch.tensor([[20, 30], [23, 24]]), torch.tensor([[0, -1], [0, -1]])), None):
        scores = model.score(context, draft)
        for request, prompt in enumerate(prompts):
            guesses = draft.tokens_BN[request].tolist()
            for depth in range(4):
                more = [*said[request], *guesses[:depth]]
                one_V, two_V = (row(raw, [*start, *more]).log_softmax(-1) for start in (prompt, prompt[-2:]))
                want_V = (two_V + 2.0 * (one_V - two_V)).log_softmax(-1)
                have_V = scores.logits_BMV[request, depth].log_softmax(-1)
                torch.testing.assert_close(have_V, want_V, rtol=0, atol=1e-3)
        if verdict is not None:
            context = model.commit(context, verdict)
            said = [row_C.tolist() for row_C in verdict.tokens_BC]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_weight_one_is_the_prompt_and_zero_the_other(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    own_XV, other_XV = torch.randn(2, 4, 9, generator=generator)
    other_XV[0, 3] = own_XV[1, 2] = -torch.inf
    assert torch.equal(guidance(weight)(own_XV, other_XV), (own_XV if weight else other_XV).log_softmax(-1))


def test_a_model_guided_by_weight_one_obeys_the_whole_law() -> None:
    """What is tapped of prompts included, with nothing in between."""
    check_model(guided(MarkovLM(TOY.logits_UVV.log_softmax(-1)), 1.0))


def test_constants_do_not_matter() -> None:
    blends_ignore_constants(guidance(2.5, alpha=0.01))


def test_plausible_tokens_are_those_of_the_prompt() -> None:
    own_XV = torch.tensor([[0.6, 0.3, 0.0599, 0.0401]]).log()
    other_XV = torch.tensor([[0.97, 0.01, 0.01, 0.01]]).log()
    said_XV = guidance(3.0, alpha=0.1)(own_XV, other_XV)
    assert said_XV.isfinite().tolist() == [[True, True, False, False]]
    assert guidance(3.0, alpha=1.0)(own_XV, other_XV).isfinite().tolist() == [[True, False, False, False]]


def test_what_one_side_forbids() -> None:
    own_XV, other_XV = torch.tensor([[0.0, -torch.inf, 1.0]]), torch.tensor([[0.0, 0.0, -torch.inf]])
    said_XV = guidance(2.0)(own_XV, other_XV)
    assert said_XV[0, 1] == -torch.inf, "the prompt's law forbids it"
    assert said_XV[0, 2].isfinite(), "what the other law forbids counts as its least, not as infinitely better"


@pytest.mark.parametrize(
    "drafter", [PromptLookup(), TokenRecycling(top=3, nodes=9), DraftModel(SMALL)], ids=["lookup", "recycling", "model"]
)
def test_speculation_says_what_plain_decoding_says_on_a_toy(drafter: Any) -> None:
    """Chains, trees, and what is tapped of prompts."""
    model = guided(MarkovLM(2 * TOY.logits_UVV), 1.5, Instead((3, 1)), alpha=0.05)
    check_speculation(model, tokens=12, drafter=drafter)


def test_speculation_says_what_plain_decoding_says_on_a_shipped_model() -> None:
    draft = house("draft", exact="on")
    model = guided_target(draft, 1.5, "A sad story", alpha=0.01).model
    assert model.rows is not None
    check_speculation(model, [draft.encode(TEXT), draft.encode("Once")], tokens=8)


@torch.inference_mode()
def test_it_agrees_with_transformers() -> None:
    theirs = AutoModelForCausalLM.from_pretrained(shipped.folder("draft"), local_files_only=True).eval()
    loaded = house("draft")
    prompt, negative = loaded.encode(TEXT), loaded.encode("A sad story")
    for ids in (None, negative):
        other: Any = None if ids is None else torch.tensor([ids])
        processor = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.8, theirs, unconditional_ids=other)
        model = guided(loaded.model, 1.8, Last() if ids is None else Instead(tuple(ids)))
        context, _ = model.start(torch.tensor([prompt]))
        text = list(prompt)
        for _ in range(3):
            have_V = model.score(context, Draft.nothing(1)).logits_BMV[0, 0]
            text_BT: Any = torch.tensor([text])
            want_V = processor(text_BT, theirs(text_BT).logits[:, -1])[0]
            torch.testing.assert_close(have_V.log_softmax(-1), want_V.log_softmax(-1), rtol=0, atol=2e-3)
            text.append(int(have_V.argmax()))
            context = model.commit(context, Verdict(torch.tensor([text[-1:]]), torch.tensor([[-1]])))


@torch.inference_mode()
def test_both_contexts_count(random_llama: Causal) -> None:
    for other, more in ((Last(), 0), (Instead((5,) * 33), 32)):
        model = guided(random_llama, 2.0, other)
        assert model.context == random_llama.context - more
        assert model.cache_bytes([20, 40]) == random_llama.cache_bytes([20, 40, 20 + more, 40 + more])
    network: Any = random_llama.network
    kept = replace(random_llama, prefixes=Prefixes(64), network=replace(network, positions=1024))
    model = guided(kept, 2.0, Instead(tuple(range(3, 90)) * 4))
    prompt_1T = torch.arange(3, 90).repeat(4)[None].flip(1)
    turns = [model.prepare(prompt_1T) for _ in range(4)]
    assert turns == [False, False, True, True], "two chunks of each; the second call reads one of each"
    assert kept.prefixes is not None
    found = kept.prefixes.hits
    model.start(prompt_1T)
    assert kept.prefixes.hits == found + 4
    assert model.prefixes is kept.prefixes


@torch.inference_mode()
def test_taps_are_those_of_the_prompt_itself(random_llama: Causal) -> None:
    prompt_BT, taps = torch.tensor([[5, 6, 7, 8], [9, 10, -1, -1]]), Taps(layers=(1, -1), top=3, logits=True)
    draft = Draft(torch.tensor([[20, 21], [22, 23]]))
    for other in (Last(), Instead((3, 1, 4, 1, 5, 9))):
        model = guided(random_llama, 2.0, other)
        (context, have), (plain, want) = model.start(prompt_BT, taps), random_llama.start(prompt_BT, taps)
        for name in ("logits_BMV", "hidden_BMD", "top_BMK"):
            torch.testing.assert_close(getattr(have, name)[0], getattr(want, name)[0], rtol=0, atol=2e-5)
            torch.testing.assert_close(getattr(have, name)[1, :1], getattr(want, name)[1, :1], rtol=0, atol=2e-5)
        have, want = model.score(context, draft), random_llama.score(plain, draft)
        torch.testing.assert_close(have.hidden((1,)), want.hidden((1,)), rtol=0, atol=2e-5)


def test_a_prompt_of_its_own_for_each_request() -> None:
    listed = Listed({(1, 2, 3): (4, 5), (6,): (7, 8, 1)})
    model = guided(TOY, 2.0, listed)
    context, _ = model.start(torch.tensor([[1, 2, 3], [6, -1, -1]]))
    have_BV = model.score(context, Draft.nothing(2)).logits_BMV[:, 0]
    for have_V, own, other in zip(have_BV, ([1, 2, 3], [6]), ([4, 5], [7, 8, 1]), strict=True):
        torch.testing.assert_close(have_V, guidance(2.0)(row(TOY, own), row(TOY, other)))
    assert listed.longer == 2
    with pytest.raises(BadInput, match=r"no other prompt is listed for a prompt of 2 tokens that begins with \[1, 2\]"):
        model.start(torch.tensor([[1, 2]]))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BadInput, match="weight of guidance must be finite, got nan"):
        guidance(float("nan"))
    with pytest.raises(BadInput, match=r"alpha must lie in \[0, 1\], got 1.5"):
        guidance(2.0, alpha=1.5)
    with pytest.raises(BadInput, match="at least the last token of the prompt, got a count of 0"):
        Last(0)
    with pytest.raises(BadInput, match="at least one token id"):
        Instead(())
    with pytest.raises(BadInput, match="an other prompt is empty"):
        Listed({(1,): ()})

    @dataclass(frozen=True)
    class Liar:
        longer: int = 0

        def __call__(self, prompt):
            return [*prompt, 1]

    with pytest.raises(BadInput, match="has 3 tokens beside a prompt of 2, but its rule promises at most 0 more"):
        guided(TOY, 2.0, Liar()).start(torch.tensor([[1, 2]]))


def test_a_loaded_target_is_guided() -> None:
    draft = load("house:draft", exact="off")
    model: Any = guided_target(draft, 1.5).model
    assert model.context == draft.model.context
    assert model.network is draft.model.network
    assert guided_target(draft, 1.5).facts()["context"] == draft.model.context
    with pytest.raises(
        BadInput, match=r"the negative prompt has \d,\d{3} tokens, but the context of house:draft holds"
    ):
        guided_target(draft, 1.5, "sad " * 1100)
