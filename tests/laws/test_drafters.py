"""Every drafter obeys the law of drafters, and the law sees the traps of card 0.8."""

from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory

import pytest
import torch

from decant.drafters.aded import Aded
from decant.drafters.draft_model import DraftModel
from decant.drafters.eagle import Eagle
from decant.drafters.early_exit import EarlyExit
from decant.drafters.fused import Fused
from decant.drafters.jacobi import Jacobi
from decant.drafters.lookahead import Lookahead
from decant.drafters.medusa import Medusa
from decant.drafters.omnidraft import OmniDraft
from decant.drafters.online import Online
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.retrieval import Datastore, Retrieval
from decant.drafters.shared_vocabulary import SharedVocabulary
from decant.drafters.sorted_exits import SortedExits
from decant.drafters.speculative_jacobi import SpeculativeJacobi
from decant.drafters.suffix import Suffix
from decant.drafters.token_recycling import TokenRecycling
from decant.numerics import take
from decant.policies.dyspec import Slots
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.exits import MarkovExits
from decant.testing.laws import check_drafter
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Taps
from decant.vocab.bridge import Bridge
from decant.vocab.vocabulary import Vocabulary
from tests.drafters.heads import toy

TARGET_LM = MarkovLM.random(vocab=5, seed=0)
SMALL_LM = TARGET_LM.blurred(seed=1)
FOREIGN_LM = MarkovLM.random(vocab=6, seed=2)
EXITS = MarkovExits.beneath(TARGET_LM, layers=4)
BRIDGE = Bridge.between(
    Vocabulary([b"a", b"b", b"c", b"ab", b"ca"]), Vocabulary([b"d", b"c", b"a", b"b", b"bc", b"aa"]), (5, 6)
)


@dataclass(frozen=True)
class Deaf:
    """A tutor that learns nothing."""

    model: MarkovLM = SMALL_LM

    def taught(self, tokens_BT, at_BP, ids_BPK, probs_BPK, seconds):
        return self


DATASTORE = TemporaryDirectory()
Datastore.of([[1, 2, 3, 4, 1, 2, 0], [0, 3, 0, 3, 1, 2, 3, 3], [2, 2, 1]]).write(DATASTORE.name)

DRAFTERS = [
    Online(Deaf()),
    Online(Deaf(), coupled=False, top=2, lessons=2),
    PromptLookup(),
    PromptLookup(ngram=2, min_ngram=2),
    DraftModel(SMALL_LM),
    DraftModel(SMALL_LM, coupled=False),
    SharedVocabulary(FOREIGN_LM, BRIDGE),
    SharedVocabulary(FOREIGN_LM, BRIDGE, coupled=False),
    OmniDraft(FOREIGN_LM, BRIDGE),
    OmniDraft(FOREIGN_LM, BRIDGE, coupled=False),
    OmniDraft(FOREIGN_LM, BRIDGE, coupled=False, starters=1),
    Medusa(toy("medusa")),
    Medusa(toy("medusa"), coupled=False),
    Eagle(toy("eagle")),
    Eagle(toy("eagle"), coupled=False),
    Eagle(toy("eagle3", ids=(0, 2, 3))),
    Eagle(toy("eagle3", ids=(0, 2, 3)), coupled=False),
    Eagle(toy("glide", ids=(0, 2, 3))),
    Eagle(toy("glide", ids=(0, 2, 3)), coupled=False),
    Eagle(toy("fspad")),
    Eagle(toy("falcon")),
    Eagle(toy("falcon"), coupled=False),
    Eagle(toy("chimera")),
    Eagle(toy("chimera"), coupled=False),
    EarlyExit(EXITS),
    EarlyExit(EXITS, 2, coupled=False),
    SortedExits(EXITS, "1-2-4", tau=0.6),
    SortedExits(EXITS, "1-3", tau=0.6, coupled=False),
    TokenRecycling(),
    TokenRecycling(top=3, nodes=9),
    Jacobi(),
    SpeculativeJacobi(),
    SpeculativeJacobi(coupled=True),
    Lookahead(),
    Lookahead(window=1, ngram=3, guesses=2),
    Aded(iterations=20),
    Suffix(),
    Suffix(longest=4, nodes=5, room=9),
    Retrieval(DATASTORE.name),
    Retrieval(DATASTORE.name, shortest=1, nodes=40),
    Fused(Suffix(), DraftModel(SMALL_LM)),
    Fused(Retrieval(DATASTORE.name, shortest=1), DraftModel(SMALL_LM, coupled=False), top=2),
    Fused(Retrieval(DATASTORE.name, shortest=1), Lookahead(window=2, ngram=3)),
    Fused(PromptLookup(), Jacobi()),
]
SHAPES = [
    DraftShape(3),
    DraftShape(4, budget=2),
    DraftShape(2, width=3, budget=8),
    DraftShape(3, width=2, stop_below=0.5),
    DraftShape(4, stop_below=0.5),
    DraftShape(3, template=((0,), (1,), (0, 0), (1, 0), (0, 1), (0, 0, 0))),
    DraftShape(3, growth=Slots(6, 0.0)),
    DraftShape(0),
]
WARPS = {"greedy": greedy(), "sampled": temperature(0.7), "two tokens": top_k(2)}


def name_of(part: object) -> str:
    fields = ("ngram", "min_ngram", "coupled", "top", "nodes", "starters")
    return type(part).__name__ + "".join(f" {f}={getattr(part, f)}" for f in fields if hasattr(part, f))


# Every shape once with a law that is spread out; where a warp leaves fewer tokens than a shape asks for, a chain and a
# tree. What is left of the product is slow.
KEPT = {"sampled": SHAPES, "greedy": [SHAPES[2], SHAPES[4]], "two tokens": [SHAPES[2], SHAPES[4]]}
ASKED = [
    pytest.param(shape, warp, id=f"{shape!r}-{warp}", marks=() if shape in KEPT[warp] else pytest.mark.slow)
    for shape in SHAPES
    for warp in WARPS
]


@pytest.mark.parametrize(("shape", "warp"), ASKED)
@pytest.mark.parametrize("drafter", DRAFTERS, ids=name_of)
def test_drafter(drafter, shape: DraftShape, warp: str) -> None:
    drawn = not getattr(drafter, "coupled", True)
    shared = isinstance(getattr(drafter, "retriever", drafter), TokenRecycling | Aded | Suffix)
    check_drafter(drafter, TARGET_LM, WARPS[warp], shape, shared=shared, draws=20_000 if drawn else 4)


@dataclass(frozen=True)
class Biased:
    """A drafter of draws whose drafts are then spoilt in one way."""

    mistake: str
    inner: DraftModel = field(default_factory=lambda: DraftModel(SMALL_LM, coupled=False))
    calls: list[int] = field(default_factory=list)

    taps = Taps()

    def start(self, prompt_BT, prefill):
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state, shape, warp, noise, context):
        draft = self.inner.draft(state, shape, warp, noise, context)
        self.calls.append(1)
        tokens_BN = draft.tokens_BN.clone()
        if self.mistake == "drops unlikely draws":
            q_BN = take(draft.laws_BMV[:, : tokens_BN.shape[1]], tokens_BN)
            return replace(draft, tokens_BN=tokens_BN.where((q_BN > 0.1).cumprod(1).bool(), PAD))
        if self.mistake == "drops the unlikely second draw":
            q_BN = take(draft.laws_BMV[:, : tokens_BN.shape[1]], tokens_BN)
            unlikely_BN = (q_BN < 0.1) & (torch.arange(tokens_BN.shape[1]) > 0)
            return replace(draft, tokens_BN=tokens_BN.where(~unlikely_BN.cummax(1).values, PAD))
        if self.mistake == "hands over the untempered law":
            cooled = draft.laws_BMV**0.5
            return replace(draft, laws_BMV=cooled / cooled.sum(-1, keepdim=True))
        if self.mistake == "noise reused across positions":
            tokens_BN[:, 1] = noise.draw(draft.laws_BMV[:, 1], torch.zeros(len(tokens_BN)).long(), "draft")
            return replace(draft, tokens_BN=tokens_BN)
        if self.mistake == "counts its calls":
            return Draft((tokens_BN + len(self.calls)) % 5)
        if self.mistake == "looks at its neighbour":
            return Draft(tokens_BN.roll(1, 0))
        if self.mistake == "guesses behind an absent guess":
            tokens_BN[:, 0] = PAD
            return Draft(tokens_BN)
        if self.mistake == "forgets the law":
            return replace(draft, laws_BMV=None)
        if self.mistake == "uses the global generator":
            return Draft(torch.randint(5, tokens_BN.shape))
        return draft

    def observe(self, state, draft, verdict, scores):
        return self.inner.observe(state, draft, verdict, scores)


MISTAKES = [
    "drops unlikely draws",
    "drops the unlikely second draw",
    "hands over the untempered law",
    "noise reused across positions",
    "counts its calls",
    "looks at its neighbour",
    "guesses behind an absent guess",
    "forgets the law",
]


def test_the_wrapper_itself_is_right() -> None:
    check_drafter(Biased(""), TARGET_LM, temperature(0.7), DraftShape(3))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_drafter(Biased(mistake), TARGET_LM, temperature(0.7), DraftShape(3))


@dataclass(frozen=True)
class Probes:
    """A drafter whose first guesses are probes, and with `mistake` only the very first."""

    mistake: bool
    inner: DraftModel = field(default_factory=lambda: DraftModel(SMALL_LM))

    taps = Taps()
    start = Biased.start
    observe = Biased.observe

    def draft(self, state, shape, warp, noise, context):
        draft = self.inner.draft(state, shape, warp, noise, context)
        probe_N = torch.arange(draft.tokens_BN.shape[1]) < (1 if self.mistake else 9)
        return replace(draft, probe_BN=probe_N.expand_as(draft.tokens_BN))


def test_a_guess_behind_a_probe_is_caught() -> None:
    check_drafter(Probes(False), TARGET_LM, temperature(0.7), DraftShape(3), draws=4)
    with pytest.raises(AssertionError, match="what hangs from a probe is a probe"):
        check_drafter(Probes(True), TARGET_LM, temperature(0.7), DraftShape(3), draws=4)


def test_a_drafter_that_uses_the_global_generator_is_caught() -> None:
    with torch.random.fork_rng(), pytest.raises(AssertionError):
        check_drafter(Biased("uses the global generator"), TARGET_LM, temperature(0.7), DraftShape(3))


@dataclass(frozen=True)
class Branches:
    """A tree of two levels from DraftModel, spoilt in one way."""

    mistake: str
    inner: DraftModel = field(default_factory=lambda: DraftModel(SMALL_LM, coupled=False))

    taps = Taps()

    def start(self, prompt_BT, prefill):
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state, shape, warp, noise, context):
        draft = self.inner.draft(state, shape, warp, noise, context)
        tokens_BN, parents_BN = draft.tokens_BN.clone(), draft.parents_BN.clone()
        if self.mistake == "top-k children labelled as draws":
            tokens_BN[:, :2] = draft.laws_BMV[:, 0].topk(2, -1).indices
            scores = SMALL_LM.score(state, Draft(tokens_BN[:, :2], parents_BN[:, :2]))
            laws_BMV = torch.cat([warp(scores.logits_BMV).softmax(-1), draft.laws_BMV[:, 3:]], 1)
            tokens_BN[:, 2:] = laws_BMV[:, 1:3].topk(2, -1).indices.flatten(1)
            return Draft(tokens_BN, parents_BN, laws_BMV, "without_replacement")
        if self.mistake == "siblings sorted by q":
            return replace(draft, tokens_BN=self.sorted_pair(draft))
        if self.mistake == "children before parents":
            return replace(draft, parents_BN=torch.full_like(parents_BN, tokens_BN.shape[1] - 1))
        if self.mistake == "the same child twice":
            tokens_BN[:, 1] = tokens_BN[:, 0]
            return replace(draft, tokens_BN=tokens_BN)
        if self.mistake == "more nodes than asked for":
            more_BN = torch.cat([tokens_BN, tokens_BN[:, -1:]], 1)
            return Draft(more_BN, torch.cat([parents_BN, parents_BN[:, -1:]], 1))
        return draft

    def sorted_pair(self, draft):
        """The children of node 0 in the order of their law."""
        pair_B2 = draft.tokens_BN[:, 2:4]
        order_B2 = draft.laws_BMV[:, 1].gather(1, pair_B2).argsort(-1, descending=True)
        return torch.cat([draft.tokens_BN[:, :2], pair_B2.gather(1, order_B2), draft.tokens_BN[:, 4:]], 1)

    def observe(self, state, draft, verdict, scores):
        return self.inner.observe(state, draft, verdict, scores)


BRANCH_MISTAKES = [
    "top-k children labelled as draws",
    "siblings sorted by q",
    "children before parents",
    "the same child twice",
    "more nodes than asked for",
]


def test_the_branches_themselves_are_right() -> None:
    check_drafter(Branches(""), TARGET_LM, temperature(1.0), DraftShape(2, width=2, budget=6))


@pytest.mark.parametrize("mistake", BRANCH_MISTAKES)
def test_a_planted_bug_in_a_tree_is_caught(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_drafter(Branches(mistake), TARGET_LM, temperature(1.0), DraftShape(2, width=2, budget=6))
