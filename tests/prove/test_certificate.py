"""Certificates hold for what is right, and for nothing else."""

import json
from dataclasses import dataclass
from typing import final

import pytest
import torch

from decant import prove
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.policies.fixed import Fixed
from decant.protocols import Warp
from decant.prove.faults import OneTooMany, ResidualFromTarget
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import Draft, Scores, Taps, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=19, seed=0)
HOT = temperature(1.0)
WORK = Workload([[1, 2, 3], [4], [5, 6, 5, 6], [9, 9]], max_tokens=16, batch=3, seed=3)
CHECK = {"name", "holds", "prompts", "statistic", "p_value", "power", "planted_fault_caught", "first_divergence"}


class Named:
    def facts(self) -> dict:
        return {"name": "a chain", "exact": True}


def method(
    drafter: object,
    verifier: object,
    promise: str | None = "tokens",
    warp: Warp = HOT,
    target: object = LM,
    width: int = 1,
) -> Method:
    return Method("it", Speculative(target, drafter, verifier, Fixed(3, width, 6), warp, Unconstrained()), promise)


def certify(*methods: Method, warp: Warp = HOT, target: object = LM, work: Workload = WORK, **more: object) -> dict:
    plain = Method("plain", Autoregressive(target, warp, Unconstrained()), "tokens")
    found = prove.run(Named(), plain, list(methods), work, samples=1500, **more)
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.mark.parametrize("warp", [greedy(), HOT], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    "drafter", [DraftModel(LM.blurred(1)), PromptLookup(), TokenRecycling()], ids=["model", "lookup", "recycling"]
)
def test_coupled_drafters_give_the_same_tokens(drafter: object, warp: Warp) -> None:
    found = certify(method(drafter, Coupled(), warp=warp), warp=warp)
    [check] = found["checks"]
    assert found["holds"]
    assert set(check) >= CHECK
    assert (check["holds"], check["prompts"], check["identical"]) == (True, 4, 4)
    assert check["planted_fault_caught"]
    assert check["first_divergence"] is None
    assert check["tokens"] == 4 * 16


def test_a_wrong_verifier_does_not_hold() -> None:
    [check] = certify(method(DraftModel(LM.blurred(1)), OneTooMany(Coupled())))["checks"]
    assert not check["holds"]
    first = check["first_divergence"]
    assert first["cause"] == "unexplained"
    assert first["prompt"] == 0
    assert first["plain"] != first["method"]
    assert check["unexplained"] == 4


@pytest.mark.parametrize("drafter", [DraftModel(LM), PromptLookup(ngram=2, min_ngram=2)], ids=["perfect", "silent"])
def test_a_drafter_that_hides_the_fault_is_replaced(drafter: object) -> None:
    work = Workload([[1, 2, 3]], max_tokens=4)
    [check] = certify(method(drafter, Coupled()), work=work)["checks"]
    assert check["planted_fault_caught"]
    assert check["planted_fault"]["drafter"] == "one that guesses at random"
    assert check["holds"]


def test_a_method_that_cannot_be_at_fault_says_so() -> None:
    [check] = certify(Method("plain", Autoregressive(LM, HOT, Unconstrained()), "tokens"))["checks"]
    assert check["planted_fault_caught"] is None
    assert check["holds"]
    assert "no verifier" in check["planted_fault"]["what"]


@final
@dataclass(frozen=True)
class Rounded:
    """Tokens 0 and 1 score alike up to `error`, whose sign depends on whether a draft is scored: kernels do that."""

    inner: MarkovLM
    error: float
    vocab: int = 19
    trees: bool = True

    def start(self, prompt_BT: torch.Tensor, taps: Taps = Taps()) -> tuple[object, Scores]:  # noqa: B008
        return self.inner.start(prompt_BT, taps)

    def score(self, context: object, draft: Draft) -> Scores:
        logits_BMV = self.inner.score(context, draft).logits_BMV.clone()
        best_BM = logits_BMV.amax(-1)
        logits_BMV[..., 0] = best_BM + 1
        logits_BMV[..., 1] = best_BM + 1 + self.error * (1 if draft.tokens_BN.shape[1] else -1)
        return Scores(logits_BMV)

    def commit(self, context: object, verdict: Verdict) -> object:
        return self.inner.commit(context, verdict)

    def tokens(self, context: object) -> torch.Tensor:
        return self.inner.tokens(context)


@pytest.mark.parametrize(("error", "holds"), [(1e-6, True), (1e-2, False)])
def test_near_ties_are_listed_and_hold(error: float, holds: bool) -> None:
    target = Rounded(LM, error)
    found = certify(
        method(DraftModel(LM.blurred(1)), Coupled(), warp=greedy(), target=target), warp=greedy(), target=target
    )
    [check] = found["checks"]
    assert found["holds"] is check["holds"] is holds
    assert check["near_ties"] == (4 if holds else 0)
    assert check["unexplained"] == (0 if holds else 4)
    assert check["first_divergence"]["cause"] == ("near-tie" if holds else "unexplained")
    assert check["first_divergence"]["margin"] == pytest.approx(error, rel=0.5)
    assert len(check["divergences"]) == 4


LAWFUL = {
    "rejection": (DraftModel(LM.blurred(1), coupled=False), Rejection(), 1),
    "tree": (DraftModel(LM.blurred(1), coupled=False), TreeRejection(), 2),
    "lookup": (PromptLookup(), Rejection(), 1),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_sampling_verifiers_keep_the_law(name: str) -> None:
    drafter, verifier, width = LAWFUL[name]
    found = certify(method(drafter, verifier, "distribution", width=width))
    [check] = found["checks"]
    assert found["holds"]
    assert set(check) >= CHECK
    assert check["planted_fault_caught"] is True
    assert check["power"] > 0.99
    assert check["p_value"] > 1e-3
    assert check["statistic"] > 0
    assert 0.01 < check["planted_fault"]["total_variation"] < 0.6
    assert len(check["sites"]) == 4


def test_a_verifier_that_bends_the_law_does_not_hold() -> None:
    drafter = DraftModel(LM.blurred(1), coupled=False)
    [check] = certify(method(drafter, ResidualFromTarget(Rejection()), "distribution"))["checks"]
    assert not check["holds"]
    assert check["p_value"] < 1e-3


def test_a_law_model_that_is_never_refused_gets_a_fixed_guess() -> None:
    [check] = certify(method(DraftModel(LM, coupled=False), Rejection(), "distribution"))["checks"]
    assert check["planted_fault"]["drafter"].startswith("one fixed guess")
    assert check["planted_fault_caught"]
    assert check["holds"]


def test_where_nothing_is_left_to_chance_there_is_no_law_to_test() -> None:
    [check] = certify(method(PromptLookup(), Rejection(), "distribution", warp=greedy()), warp=greedy())["checks"]
    assert check["holds"]
    assert check["planted_fault_caught"] is None
    assert "certain" in check["note"]


def test_what_was_not_covered_is_said() -> None:
    drafter = DraftModel(LM.blurred(1))
    found = certify(
        method(drafter, Coupled()),
        method(DraftModel(LM.blurred(1), coupled=False), Rejection(), "distribution"),
        skipped=[("tree", "no masks")],
        settings={"temperature": 1.0},
        machine={"name": "here"},
    )
    assert set(found) == {"holds", "machine", "model", "settings", "checks", "not_covered"}
    assert found["settings"] == {
        "temperature": 1.0, "prompts": 4, "max_tokens": 16, "batch": 3, "seed": 3, "ends": [], "samples": 1500,
    }  # fmt: skip
    text = " ".join(found["not_covered"])
    for words in (
        "Batches other than 3",
        "beyond 16 new tokens",
        "first two tokens",
        "tree, which was left out: no masks",
    ):
        assert words in text


def test_progress_and_partial_certificates() -> None:
    seen, kept = [], []
    certify(
        method(PromptLookup(), Coupled()),
        method(PromptLookup(), Coupled()),
        progress=lambda done, total, text: seen.append((done, total)),
        partial=kept.append,
    )
    assert [len(one["checks"]) for one in kept] == [1, 2]
    assert all(done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] == 3 * 4 * 16


def test_a_method_that_promises_nothing_cannot_be_proved() -> None:
    with pytest.raises(BadInput, match="it promises neither tokens nor a law, so there is nothing to prove"):
        certify(method(PromptLookup(), Coupled(), None))
    with pytest.raises(BadInput, match="methods are compared with plain decoding, and it is not"):
        prove.run(Named(), method(PromptLookup(), Coupled()), [], WORK)
