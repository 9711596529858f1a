"""What the tests of guided and contrasted models share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad, stream
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.prompt_lookup import PromptLookup
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.other_prompts import OtherPrompt
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, Scores, Taps, Verdict
from decant.verifiers.coupled import Coupled

TOY = MarkovLM.random(vocab=9, seed=0)
SMALL = TOY.blurred(seed=1, by=2.0)
FORBIDDEN = -1e4
LOOKUP = PromptLookup()
FOUR: Any = Fixed(4)
TEXT = "The cat sat on the mat. The dog sat on the mat. The cat"


def house(name: str, exact: Any = "off") -> Loaded:
    return load(f"house:{name}", exact=exact, dtype="float32")


@torch.inference_mode()
def row(model: Any, text: list[int]) -> Tensor:
    """logits_V after a text that the model sees for the first time."""
    return model.score(model.start(torch.tensor([text]))[0], Draft.nothing(1)).logits_BMV[0, 0].float()


class Begun:
    """A rule as `check_model` wants it: the law starts afresh behind what was said, where a rule would see a longer
    prompt. The answer for one of the three prompts that came first, then what a text says behind that prompt."""

    def __init__(self, rule: OtherPrompt) -> None:
        self.rule = rule
        self.known: list[tuple[int, ...]] = [()]

    @property
    def longer(self) -> int:
        return self.rule.longer

    def __call__(self, prompt: Sequence[int]) -> Sequence[int]:
        if len(self.known) <= 3:
            self.known.append(tuple(prompt))
        begin = max((one for one in self.known if tuple(prompt[: len(one)]) == one), key=len) or prompt
        return [*self.rule(begin), *prompt[len(begin) :]]


@dataclass(frozen=True, eq=False)
class Lawful:
    """A blended model as `check_model` wants it: forbidden logits are finite, so that rows can be subtracted; and what
    is tapped of a prompt's logits is the blend's, where the wrapper gives its own model's (see `Paired`)."""

    model: Any

    @property
    def vocab(self) -> int:
        return self.model.vocab

    @property
    def trees(self) -> bool:
        return self.model.trees

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[Any, Scores]:  # noqa: B008
        context, prefill = self.model.start(prompt_BT, taps)
        if not taps.logits:
            return context, prefill
        logits_BTV = torch.zeros(len(prompt_BT), prompt_BT.shape[1] - 1, self.vocab)
        top_BTK = torch.full((*logits_BTV.shape[:2], taps.top), PAD)
        for request, row_T in enumerate(prompt_BT):
            text = row_T[row_T != PAD].tolist()
            for slot in range(len(text) - 1):
                logits_BTV[request, slot] = row(self, text[: slot + 1])
                top_BTK[request, slot] = logits_BTV[request, slot].topk(taps.top).indices
        return context, Scores(logits_BTV, prefill.hidden_BMD, top_BTK, prefill.layers)

    def score(self, context: Any, draft: Draft) -> Scores:
        scores = self.model.score(context, draft)
        return Scores(scores.logits_BMV.clamp_min(FORBIDDEN), scores.hidden_BMD, layers=scores.layers)

    def commit(self, context: Any, verdict: Verdict) -> Any:
        return self.model.commit(context, verdict)

    def tokens(self, context: Any) -> Tensor:
        return self.model.tokens(context)

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008
        return self.model.prepare(prompt_1T, taps)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        return self.model.cache_bytes(tokens)


def check_speculation(
    model: Any, prompts: list[list[int]] | None = None, tokens: int = 24, drafter: Any = LOOKUP
) -> None:
    """A coupled drafter says what plain decoding says under the same seeds, and some guesses are accepted."""
    plain = Autoregressive(model, temperature(0.8), Unconstrained())
    fast: Any = Speculative(model, drafter, Coupled(), FOUR, temperature(0.8), Unconstrained())
    check_decoder(fast, plain, prompts=prompts, max_tokens=tokens)
    several = prompts or [[0, 1, 2, 0, 1], [3, 1], [2]]
    turns = stream(fast, right_pad(several), Noise.of([5] * len(several)), [Stopping(60)] * len(several))
    accepted = (any(output.drafted) for turn in turns for output in turn.outputs)
    assert any(accepted), "no guess was ever accepted: nothing was tested"


def blends_ignore_constants(blend: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The law is the same when a constant is added to a row of either side."""
    generator = torch.Generator().manual_seed(3)
    one_XV, two_XV = 3 * torch.randn(2, 5, 17, generator=generator)
    shift_X1 = 50 * torch.randn(5, 1, generator=generator)
    want_XV = blend(one_XV, two_XV).softmax(-1)
    torch.testing.assert_close(blend(one_XV + shift_X1, two_XV).softmax(-1), want_XV, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(blend(one_XV, two_XV - shift_X1).softmax(-1), want_XV, rtol=1e-3, atol=1e-5)
