"""PEARL loses nothing, whoever verifies and however it runs; and its two halves do overlap."""

import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders import pearl as module
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.pearl import EXECUTORS, PEARL, sequential, threads
from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.laws import check_continuous, check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from tests.decoders.checks import PROMPTS, Forbids, like_fresh, run, texts

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
FREE = Unconstrained()
COUPLED = Coupled()
WARPS = {"greedy": greedy(), "T=1": temperature(1.0), "T=0.7, top 3": chain(temperature(0.7), top_k(3))}


def pearl(verifier: Any = COUPLED, warp=WARPS["T=1"], block: int = 3, executor: Any = "sequential", **changes) -> PEARL:
    made = PEARL(LM, SMALL, verifier, warp, FREE, block, executor)
    return replace(made, **changes)


# What is said does not depend on the executor but by a fault of its own, which any length of block shows.
ASKED = [
    pytest.param(block, executor, marks=() if executor == "sequential" or block == 2 else pytest.mark.slow)
    for block in (1, 2, 5)
    for executor in EXECUTORS
]


@pytest.mark.parametrize(("block", "executor"), ASKED)
@pytest.mark.parametrize("warp", WARPS)
def test_the_same_seed_gives_plain_decodings_text(warp: str, block: int, executor: str) -> None:
    check_decoder(pearl(Coupled(), WARPS[warp], block, executor), Autoregressive(LM, WARPS[warp], FREE))


@pytest.mark.parametrize("small", [LM, MarkovLM(-LM.logits_UVV)], ids=["the target itself", "a perverse one"])
@pytest.mark.parametrize("verifier", [Coupled(), Rejection()], ids=repr)
def test_greedy_decoding_loses_nothing(verifier, small) -> None:
    check_decoder(pearl(verifier, greedy(), small=small), Autoregressive(LM, greedy(), FREE))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(("block", "warp"), [(2, "T=1"), (3, "T=0.7, top 3"), (1, "T=1")])
def test_the_rejection_rule_keeps_the_law(block: int, warp: str, executor: str) -> None:
    check_law(pearl(Rejection(), WARPS[warp], block, executor), LM, WARPS[warp])


@pytest.mark.parametrize("verifier", [Coupled(), Rejection()], ids=repr)
def test_a_perfect_draft_is_always_accepted_and_has_no_bonus(verifier) -> None:
    _, _, guessed = run(pearl(verifier, block=4, small=LM), PROMPTS, 5)
    assert [[sum(row) for row in step] for step in guessed] == [[1] * 3] + [[4] * 3] * 4


def test_each_situation_follows_the_one_before() -> None:
    """A refusal is followed by one check, an acceptance by as many as the block holds, of which the last is new."""
    decoder = pearl(block=3)
    state = decoder.start(torch.tensor([[0, 1]]), Noise.of([5]))
    seen = set()
    for _ in range(60):
        waiting = int((state.pending_BP != PAD).sum())
        state, step = decoder.step(state)
        drafted, said = int(step.drafted_BC.sum()), int((step.tokens_BC != PAD).sum())
        stands = drafted == waiting + 1
        assert said == (drafted if stands else drafted + 1)
        assert (state.pending_BP != PAD).sum() == (2 if stands else 0)
        seen.add((waiting, stands))
    assert seen == {(0, False), (0, True), (2, False), (2, True)}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("verifier", [Coupled(), Rejection()], ids=repr)
def test_both_caches_are_those_of_a_fresh_start(pair, verifier, executor: str) -> None:
    target, small = pair
    decoder = PEARL(target, small, verifier, temperature(0.7), FREE, 3, executor)
    refused_late = 0
    for steps in range(1, 12):
        before, _, _ = run(decoder, PROMPTS, steps - 1)
        state, held, guessed = run(decoder, PROMPTS, steps)
        waited = (before.pending_BP != PAD).any(-1)
        refused_late += int((waited & ~torch.tensor(guessed[-1]).all(-1)).sum())
        like_fresh(target, state.large, held)
        like_fresh(small, state.small, held)
    assert refused_late, "some refusal came after an acceptance"


def test_the_twin_says_the_same_of_real_models(pair) -> None:
    target, small = pair
    for verifier in (Coupled(), Rejection()):
        one, two = (PEARL(target, small, verifier, temperature(0.7), FREE, 3, executor) for executor in EXECUTORS)
        assert texts(one, most=24) == texts(two, most=24)


def test_threads_overlap_and_their_twin_does_not() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def arrive() -> bool:
        meeting.wait()
        return torch.is_inference_mode_enabled()

    with torch.inference_mode():
        assert threads(arrive, arrive) == (True, True), "both are there at once, in the mode of the caller"
    assert threads(arrive, arrive) == (False, False)
    meeting = threading.Barrier(2, timeout=0.01)
    with pytest.raises(threading.BrokenBarrierError):
        sequential(arrive, arrive)


def test_a_failure_waits_for_the_other_half() -> None:
    ended = threading.Event()

    def fails() -> None:
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        threads(lambda: ended.wait(0.05) or ended.set(), fails)
    assert ended.is_set()
    with pytest.raises(ValueError, match="here"):
        threads(fails, lambda: None)
    assert threads(lambda: 1, lambda: 2) == (1, 2), "the thread lives on"


def test_what_is_forbidden_is_never_said() -> None:
    constrained = pearl(warp=WARPS["T=1"], constraint=Forbids(2))
    check_decoder(constrained, Autoregressive(LM, WARPS["T=1"], Forbids(2)))


def test_impossible_parts_are_refused() -> None:
    with pytest.raises(BadInput, match="blocks of at least 1 token, got block 0"):
        pearl(block=0)

    @dataclass(frozen=True)
    class Picky(type(Rejection())):
        accepts = frozenset({"fixed"})

    with pytest.raises(IncompatibleParts, match="Picky cannot judge independent draws, which pearl drafts; it accepts"):
        pearl(Picky())


def keeps_the_bonus(self, written, checks_B, target_BMV, noise):
    """Behind an accepted block there is no row: what is drawn there belongs to another position."""
    rows = target_BMV.shape[1]
    tokens_BN = written.tokens_BW[:, :rows].where(torch.arange(rows) < checks_B[:, None], PAD)
    target_BMV = torch.cat([target_BMV, target_BMV[:, -1:]], 1)
    laws = None if self.verifier.seeded else written.laws_BWV[:, :rows]
    verdict = self.verifier.verify(module.Draft(tokens_BN, None, laws, self._siblings), target_BMV, noise)
    return Verdict(verdict.tokens_BC, verdict.nodes_BC)


def forgets_whose_law(self, written, checks_B, stands_B):
    """Pending tokens keep the laws of the block's start."""
    pending_BP, laws_BPV = LEFT(self, written, checks_B, stands_B)
    return pending_BP, written.laws_BWV[:, : laws_BPV.shape[1]]


def keeps_pending(self, written, checks_B, stands_B):
    """The rest of the block outlives a refusal."""
    return LEFT(self, written, checks_B, torch.ones_like(stands_B))


LEFT = PEARL._left


def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PEARL, "_verify", keeps_the_bonus)
        with pytest.raises(AssertionError, match="differs from plain decoding"):
            check_decoder(pearl(), Autoregressive(LM, WARPS["T=1"], FREE))
    with monkeypatch.context() as patch:
        patch.setattr(PEARL, "_left", forgets_whose_law)
        with pytest.raises(AssertionError, match="not the law that was promised"):
            check_law(pearl(Rejection()), LM, WARPS["T=1"])


def test_what_outlives_a_refusal_costs_acceptance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale guess is one more guess: exactness does not rest on dropping it."""
    monkeypatch.setattr(PEARL, "_left", keeps_pending)
    check_decoder(pearl(), Autoregressive(LM, WARPS["T=1"], FREE))


@pytest.mark.parametrize("verifier", [Coupled(), Rejection()], ids=repr)
def test_requests_come_and_go(pair, verifier) -> None:
    check_continuous(PEARL(*pair, verifier, temperature(0.7), FREE, 3))
