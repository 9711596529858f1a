import json
from dataclasses import replace

import pytest

from decant.apps.catalog import METHODS
from decant.apps.choosing import warp_of
from decant.apps.compose import applicable, compose, default_method, plain
from decant.apps.sampling import Sampling
from decant.decoders.autoregressive import Autoregressive
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.errors import BadInput, IncompatibleParts
from decant.policies.additive import Additive
from decant.policies.confidence import Confidence
from decant.policies.fixed import Fixed
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection

GREEDY = warp_of(Sampling(temperature=0.0))
DRAWN = warp_of(Sampling(temperature=1.0))


@pytest.fixture
def chains_only(target):
    """The target, as if its architecture did not obey tree masks."""
    return replace(target, model=replace(target.model, trees=False))


def test_plain_is_plain_under_either_name(target):
    assert isinstance(plain(target, GREEDY).decoder, Autoregressive)
    assert isinstance(compose("plain", target, None, GREEDY).decoder, Autoregressive)
    with pytest.raises(BadInput, match="plain has no knobs, but 'depth' was set"):
        compose("plain:depth=3", target, None, GREEDY)


def test_knobs_reach_the_drafter_and_its_policy(target):
    method = compose("prompt-lookup:ngram=5:min-ngram=2:depth=7", target, None, GREEDY)
    assert method.name == "prompt-lookup:ngram=5:min-ngram=2:depth=7"
    assert method.decoder.drafter == PromptLookup(5, 2)
    assert method.decoder.policy == Fixed(7)
    assert method.decoder.verifier == Coupled()


@pytest.mark.parametrize(
    ("policy", "made"), [("additive:initial=3:up=1", Additive(3, 1)), ("confidence:threshold=0.2", Confidence(10, 0.2))]
)
def test_a_policy_may_be_named(target, draft, policy, made):
    assert compose("draft-model", target, draft, GREEDY, policy=policy).decoder.policy == made


def test_a_policy_that_prices_rounds_is_told_what_rides(target):
    made = compose("lookahead:window=3", target, None, GREEDY, policy="cost-aware").decoder
    assert made.policy.riding(2, 1) == made.drafter.probes == 8
    assert compose("prompt-lookup", target, None, GREEDY, policy="cost-aware").decoder.policy.riding is None


def test_a_methods_knob_wins_over_the_policys(target):
    method = compose("prompt-lookup:depth=2", target, None, GREEDY, policy="confidence:depth=9:threshold=0.1")
    assert method.decoder.policy == Confidence(2, 0.1)


def test_how_a_draft_model_draws_follows_from_the_verifier(target, draft):
    coupled = compose("draft-model", target, draft, DRAWN)
    rejection = compose("draft-model", target, draft, DRAWN, verifier="rejection")
    for method in (coupled, rejection):
        assert isinstance(method.decoder.drafter, DraftModel)
        assert method.decoder.drafter.model.network is draft.model.network
    assert (coupled.decoder.drafter.coupled, rejection.decoder.drafter.coupled) == (True, False)
    assert rejection.decoder.verifier == Rejection()
    with pytest.raises(BadInput, match="draft-model has no knob 'coupled'; did you mean"):
        compose("draft-model:coupled=off", target, draft, DRAWN)


@pytest.mark.parametrize(
    ("sampling", "verifier", "promise"),
    [
        (Sampling(temperature=0.0), "coupled", "tokens"),
        (Sampling(temperature=0.0), "rejection", "tokens"),
        (Sampling(temperature=1.0), "coupled", "tokens"),
        (Sampling(temperature=1.0), "rejection", "distribution"),
        (Sampling(temperature=1.0, top_k=2), "rejection", "distribution"),
    ],
)
def test_what_is_promised(target, sampling, verifier, promise):
    method = compose("prompt-lookup", target, None, warp_of(sampling), verifier=verifier)
    assert method.promise == promise
    assert method.exact


@pytest.mark.parametrize(
    ("spec", "verifier", "knobs"),
    [
        ("prompt-lookup", "lenience", {"lenience": 0.7}),
        ("prompt-lookup", "typical-acceptance:delta=inf", {"epsilon": 0.09, "delta": "inf"}),
        ("pearl", "threshold", {"surprise": 3.0}),
        ("bild:most=4", None, {"fallback": 0.6, "rollback": 5.0, "most": 4}),
        ("ead", None, {"threshold": 1.0, "window": 5, "dwell": 10}),
        ("prompt-lookup", None, {}),
    ],
)
def test_what_is_lossy_tells_its_knobs(target, draft, spec, verifier, knobs):
    method = compose(spec, target, draft, DRAWN, verifier=verifier)
    assert method.knobs == json.loads(json.dumps(knobs, allow_nan=False))
    assert method.exact == (not knobs)


@pytest.mark.parametrize(
    ("spec", "warp", "verifier", "coupled"),
    [
        ("draft-model", DRAWN, "lenience", False),
        ("draft-model", GREEDY, "lenience", True),
        ("draft-model", DRAWN, "rejection", False),
        ("draft-model", DRAWN, None, True),
        ("pearl", DRAWN, "threshold", False),
        ("bild", DRAWN, None, True),
    ],
)
def test_whose_texts_can_be_compared_with_plain_decoding_s(target, draft, spec, warp, verifier, coupled):
    assert compose(spec, target, draft, warp, verifier=verifier).coupled is coupled


def test_a_draft_is_required_where_a_method_needs_one(target):
    with pytest.raises(BadInput, match=r"draft-model needs a draft model and .* names none; give one with --draft"):
        compose("draft-model", target, None, GREEDY)


def test_another_tokenizer_is_refused_naming_both(target, stranger):
    message = f"the tokenizers of {target.name} and {stranger.name} differ; take a draft of the same"
    with pytest.raises(IncompatibleParts, match=message):
        compose("draft-model", target, stranger, GREEDY)
    assert compose("prompt-lookup", target, stranger, GREEDY).exact


def test_trees_are_refused_where_the_model_or_the_verifier_takes_chains(target, chains_only):
    with pytest.raises(IncompatibleParts, match=f"token-recycling drafts trees, but {target.name} cannot score one"):
        compose("token-recycling", chains_only, None, GREEDY)
    with pytest.raises(IncompatibleParts, match="token-recycling drafts trees, but rejection verifies chains"):
        compose("token-recycling", target, None, GREEDY, verifier="rejection")
    assert compose("token-recycling", target, None, GREEDY, verifier="tree-rejection").exact


def test_all_skips_what_cannot_run_and_says_why(target, draft, chains_only):
    methods, skipped = applicable("all", target, draft, GREEDY)
    assert {"draft-model", "prompt-lookup", "token-recycling", "draft-tree", "online"} <= {one.name for one in methods}
    assert {one.name for one in methods} | {name for name, _ in skipped} == {
        name for name, recipe in METHODS.items() if not recipe.fills and not recipe.paints
    } - {"plain"}
    methods, skipped = applicable("all", chains_only, None, GREEDY)
    assert "prompt-lookup" in [method.name for method in methods]
    assert "needs a draft model" in dict(skipped)["draft-model"]
    assert "cannot score" in dict(skipped)["token-recycling"]


def test_a_method_that_was_named_is_refused_not_skipped(target):
    with pytest.raises(BadInput, match="needs a draft model"):
        applicable(["plain", "prompt-lookup", "draft-model"], target, None, GREEDY)
    methods, _ = applicable(["plain", "prompt-lookup"], target, None, GREEDY)
    assert [method.name for method in methods] == ["prompt-lookup"]


def test_the_default_method_uses_the_draft_if_there_is_one(target, draft):
    assert (default_method(target, draft), default_method(target, None)) == ("draft-model", "prompt-lookup")
