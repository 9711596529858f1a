"""A student and its teacher, tiny, with a real tokenizer, and what a recipe composes with."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from decant.distill.composition import Composition
from decant.distill.settings import Settings
from decant.distill.speaking import Speaking
from decant.distill.texts import Text
from decant.distill.trainer import run
from decant.house import tokenizer as words
from decant.models.build import LlamaSpec, untrained
from decant.models.speller import Speller
from decant.models.teacher import Teacher
from decant.recipes.kit import Kit
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature

SUMS = [(f"Take {a}, then add {b}. ", f"The answer is {a + b}.", b % 2) for a in range(8) for b in range(4)]
EXACT = {"warmup": 0, "decay": 0.0, "weight_decay": 0.0, "report_every": 1, "quiet": True}


def spelled(texts: list[str], vocab: int) -> PreTrainedTokenizerFast:
    made = words.train(texts, vocab)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=words.END, pad_token=words.PAD)


def model(tokenizer: PreTrainedTokenizerFast, hidden: int, seed: int) -> Any:
    spec = LlamaSpec(len(tokenizer), hidden, 2, 2, 1, 2 * hidden, head_dim=8, eos=(tokenizer.eos_token_id,))
    network = untrained(spec, seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


@dataclass(frozen=True)
class Pair:
    """strange: a teacher with another tokenizer."""

    student: Any
    teacher: Teacher
    strange: Teacher
    spellers: tuple[Speller, Speller]

    @classmethod
    def made(cls) -> "Pair":
        lines = [question + answer for question, answer, _ in SUMS]
        mine, other = spelled(lines, 290), spelled(["Take zebra quagga add. " * 9], 275)
        teacher, strange = (
            Teacher(name, model(tokenizer, 32, seed).eval().requires_grad_(False))
            for name, tokenizer, seed in (("teacher", mine, 1), ("strange", other, 2))
        )
        return cls(model(mine, 16, 0), teacher, strange, (Speller("mine", mine), Speller("other", other)))

    def texts(self) -> list[Text]:
        """Questions with answers, of two domains."""
        spell, found = self.spellers[0], []
        for number, (question, answer, domain) in enumerate(SUMS):
            asked, said = spell.encode(question), [*spell.inner(answer), *self.ends]
            found.append(Text.answer([*asked, *said], len(asked), number, domain))
        return found

    @property
    def ends(self) -> frozenset[int]:
        return frozenset([self.spellers[0].tokenizer.eos_token_id])

    def kit(self, folder: Path, steps: int = 4, bridges: bool = False, **settings: Any) -> Kit:
        """A student of its own. bridges: the strange teacher."""
        mine, other = self.spellers
        texts = self.texts()
        prompts = [text.ids[: text.prompt] for text in texts]
        return Kit(
            student=copy.deepcopy(self.student),
            teacher=self.strange if bridges else self.teacher,
            texts=texts,
            prompts=prompts,
            domains=["even", "odd"],
            spellers=(mine, other if bridges else mine),
            ends=self.ends,
            settings=Settings(steps, **{"peak": 5e-3, "save_every": 2} | EXACT | settings),
            folder=folder,
            rows=4,
            micro=4,
            length=64,
            answers=12,
            write=lambda heat: self.answers(prompts, heat),
        )

    def answers(self, prompts: list[list[int]], heat: float) -> list[Text]:
        """The teacher's."""
        said = Speaking(self.teacher.network, self.ends, temperature(heat) if heat else greedy())
        written = said.write(prompts, list(range(len(prompts))), 12)
        return [Text.answer([*prompt, *ids], len(prompt)) for prompt, (ids, _) in zip(prompts, written, strict=True)]


class Watched:
    """A training whose nats are kept, and which may be killed in the middle."""

    def __init__(self, inner: Composition, killed_at: int | None = None) -> None:
        self.inner, self.killed_at, self.curve = inner, killed_at, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def batches(self, state, step, share):
        if step == self.killed_at:
            raise KeyboardInterrupt
        return self.inner.batches(state, step, share)

    def observe(self, state, step, nats):
        self.curve.append(nats)
        return self.inner.observe(state, step, nats)


def trained(recipe: Any, kit: Kit, killed_at: int | None = None) -> Watched:
    """The composition, after its run."""
    watched = Watched(recipe.compose(kit), killed_at)
    run(watched.inner.learner, watched, kit.settings, kit.folder)
    return watched


def empty(kit: Kit, **parts: Any) -> Kit:
    return replace(kit, texts=[], domains=[""], **parts)
