"""Exits reach their drafters and the policy; the text stays plain decoding's."""

import pytest

from decant.apps.choosing import warp_of
from decant.apps.compose import compose, plain
from decant.apps.sampling import Sampling
from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.drafters.early_exit import EarlyExit
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded, load
from decant.noise import Noise
from decant.policies.dynamic_exit import FLAT, DynamicExit

SPECS = ["early-exit", "early-exit:exit=2:depth=3:width=2:budget=9", "sorted-exits:rungs=1-2:tau=0.05", "del"]
GREEDY = warp_of(Sampling(temperature=0.0))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("spec", SPECS)
def test_the_text_is_plain_decodings(target: Loaded, spec: str, temperature: float) -> None:
    warp = warp_of(Sampling(temperature=temperature))
    prompts = [target.encode("Take 3, then add 4. The"), target.encode("Naïve"), target.encode("add")]
    texts = []
    for method in (plain(target, warp), compose(spec, target, None, warp)):
        noise, stopping = Noise.of([1, 2, 3]), [Stopping(24) for _ in prompts]
        texts.append([one.tokens for one in generate(method.decoder, right_pad(prompts), noise, stopping).outputs])
    assert texts[0] == texts[1]


def test_del_is_an_early_exit_at_measured_costs(target: Loaded) -> None:
    method = compose("del:most=5:stride=1", target, None, GREEDY)
    assert method.promise == "tokens"
    policy = method.decoder.policy
    assert isinstance(policy, DynamicExit)
    assert isinstance(method.decoder.drafter, EarlyExit)
    assert (policy.most, policy.rungs) == (5, (1,))
    assert policy.target_costs is not FLAT


def test_guesses_are_drawn_as_the_verifier_likes_them(target: Loaded) -> None:
    assert compose("early-exit", target, None, GREEDY).decoder.drafter.coupled
    assert not compose("early-exit", target, None, GREEDY, verifier="rejection").decoder.drafter.coupled


def test_a_model_without_layers_of_ours_is_refused(folder) -> None:
    theirs = load(str(folder), dtype="float32", exact="off", lean=False)
    for spec in SPECS:
        with pytest.raises(IncompatibleParts, match="runs through transformers; take draft-model or prompt-lookup"):
            compose(spec, theirs, None, GREEDY)


def test_an_exit_beyond_the_target_is_refused(target: Loaded) -> None:
    with pytest.raises(BadInput, match="early-exit leaves after 1 to 2 layers of this target, not 3"):
        compose("early-exit:exit=3", target, None, GREEDY)
