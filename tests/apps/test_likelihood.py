"""Likelihoods of given texts are those of transformers, however they are cut into passes."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from decant.apps.likelihood import BLOCK, likelihoods
from decant.errors import IncompatibleParts
from decant.models.load import load

PROMPT = "Take 1, then add 2."
TEXTS = ["The answer is 3.", " naïve", "Take 4, then add 4. The answer is 8. " * 12]


@pytest.fixture(scope="module")
def reference(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def expected(reference, prompt: list[int], text: list[int]) -> tuple[float, bool]:
    with torch.inference_mode():
        logp_TV = reference(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    said_T = torch.tensor(text)
    return float(logp_TV[torch.arange(len(text)), said_T].sum()), bool((logp_TV.argmax(-1) == said_T).all())


@pytest.mark.parametrize("lean", [True, False])
def test_they_are_sums_of_log_softmax(folder, reference, lean):
    target = load(str(folder), dtype="float32", exact="off", lean=lean)
    prompt = target.encode(PROMPT)
    texts = [target.encode(text) for text in TEXTS]
    assert len(texts[-1]) > 2 * BLOCK
    for found, text in zip(likelihoods(target, prompt, texts), texts, strict=True):
        logp, greedy = expected(reference, prompt, text)
        assert found.logp == pytest.approx(logp, rel=1e-5)
        assert found.greedy == greedy


def test_a_prompt_that_others_share_is_left_as_it_was(target):
    prompt, texts = target.encode(PROMPT), [target.encode(text) for text in TEXTS]
    alone = [likelihoods(target, prompt, [text])[0].logp for text in texts]
    together = likelihoods(target, prompt, [texts[2], texts[0], texts[1], texts[2]])
    assert [one.logp for one in together] == pytest.approx([alone[2], alone[0], alone[1], alone[2]], rel=1e-6)


def test_the_likeliest_text_is_known_as_such(target, reference):
    prompt = target.encode(PROMPT)
    said = list(prompt)
    with torch.inference_mode():
        for _ in range(BLOCK + 2):
            said.append(int(reference(torch.tensor([said])).logits[0, -1].argmax()))
    text = said[len(prompt) :]
    other = [*text[:-1], (text[-1] + 1) % target.model.vocab]
    assert [one.greedy for one in likelihoods(target, prompt, [text, other])] == [True, False]


def test_a_text_may_fill_the_context(target, reference):
    prompt, room = target.encode(PROMPT), target.model.context + 1
    text = (target.encode(TEXTS[2]) * 9)[: room - len(prompt)]
    assert len(prompt) + len(text) == room
    assert likelihoods(target, prompt, [text])[0].logp == pytest.approx(expected(reference, prompt, text)[0], rel=1e-5)


def test_a_model_that_fills_in_masks_has_none(filler):
    with pytest.raises(IncompatibleParts, match=r"fills in masks: it bounds the likelihood .*generate_until"):
        likelihoods(filler, [1], [[2]])
