"""A router for R2R: labels out of two models, training on the one trainer, and a threshold.

A token of the small model is labelled "elsewhere" where it is not the target's own and the target, made to go on from
it up to the end of the sentence, says something else than it would have said. The paper asks a large language model
whether the meaning differs; `strictly`, the judge given here, compares the two sentences letter by letter up to white
space, so it sends more tokens to the target than need be. Any other judge fits.
Source: Fu et al. 2025, arXiv:2505.21600.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.distill.answers import Answer
from decant.distill.trainer import Batch, Settings, train
from decant.errors import BadInput
from decant.models.causal import Causal
from decant.models.router import RouterNet, RouterSpec, best, untrained
from decant.noise import Noise
from decant.protocols import AnyDecoder, LanguageModel
from decant.types import Taps, select_rows

MARKS: Final = ("\n", ". ", "! ", "? ")  # a sentence ends behind the first of them
SENTENCE: Final = 64  # tokens that are waited for its end
TOGETHER: Final = 32  # continuations of one batch
BEST: Final = "best.pt"  # beside the checkpoint: the weights of the best epoch so far

Judge = Callable[[str, str, str], bool]
"""(text before, the target's sentence, the sentence after the small model's token) -> whether they part."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Tokens that the small model proposed along texts of the target.

    hidden_ND, top_NK: what it thought (`models.router`). tokens_N: what it proposed.
    differs_N:   whether the target said something else there.
    elsewhere_N: the label.
    """

    hidden_ND: Tensor
    top_NK: Tensor
    tokens_N: Tensor
    differs_N: Tensor
    elsewhere_N: Tensor

    def __len__(self) -> int:
        return len(self.tokens_N)


@final
@dataclass(frozen=True, slots=True)
class Labelling:
    """How labels are made.

    plain:  plain, greedy decoding with the target.
    decode: ids -> text.
    ends:   ids that end a text.
    device: where both models are.
    told:   is called with (texts done, all texts).
    """

    plain: AnyDecoder
    decode: Callable[[list[int]], str]
    ends: frozenset[int] = frozenset()
    judge: Judge | None = None
    device: torch.device | str = "cpu"
    told: Callable[[int, int], None] | None = None

    def examples(self, small: LanguageModel[Any], answers: Sequence[Answer], top: int = 100) -> Examples:
        """Every position of the answers, which the target must have written greedily."""
        parts: list[Examples] = []
        for done, answer in enumerate(answers, 1):
            if answer.start < len(answer.ids):
                parts.append(self._along(small, answer, top))
            if self.told is not None:
                self.told(done, len(answers))
        if not parts:
            raise BadInput(f"none of {len(answers)} texts has an answer; write some with the target first")
        fields = ("hidden_ND", "top_NK", "tokens_N", "differs_N", "elsewhere_N")
        return Examples(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))

    @torch.inference_mode()
    def _along(self, small: LanguageModel[Any], answer: Answer, top: int) -> Examples:
        """The small model reads the whole text at once: what it would have proposed at each position."""
        ids_1T = torch.tensor([answer.ids], device=self.device)
        _, read = small.start(ids_1T, Taps(layers=(-1,), logits=True))
        rows = slice(answer.start - 1, len(answer.ids) - 1)
        logits_NV, hidden_ND = read.logits_BMV[0, rows].float(), read.hidden((-1,))[0, rows].float()
        tokens_N = logits_NV.argmax(-1)
        differs_N = tokens_N != ids_1T[0, answer.start :]
        elsewhere_N = differs_N.clone()
        places = differs_N.nonzero().squeeze(-1).tolist()  # sync: labels are made on the host
        parted = self._part(answer, places, tokens_N.tolist())
        elsewhere_N[differs_N] = torch.tensor(parted, dtype=torch.bool, device=self.device)
        return Examples(hidden_ND, best(logits_NV, top), tokens_N, differs_N, elsewhere_N)

    def _part(self, answer: Answer, places: list[int], proposed: list[int]) -> list[bool]:
        """Whether the small model's token parts the sentence, for each of these positions of the answer."""
        judge = self.judge or strictly
        found: list[bool] = []
        for first in range(0, len(places), TOGETHER):
            some = places[first : first + TOGETHER]
            begun = [[*answer.ids[: answer.start + place], proposed[place]] for place in some]
            for place, text, more in zip(some, begun, self._gone_on(begun), strict=True):
                at = answer.start + place
                before, after = self.decode(answer.ids[:at]), self.decode(answer.ids)
                theirs = self.decode([*text, *more])
                found.append(judge(before, sentence(after[len(before) :]), sentence(theirs[len(before) :])))
        return found

    def _gone_on(self, begun: list[list[int]]) -> list[list[int]]:
        """What the target says behind these texts, up to a sentence's end; nothing behind an end token."""
        stopping = [
            Stopping(SENTENCE, self.ends, MARKS, lambda ids, text=text: self.decode([text[-1], *ids])) for text in begun
        ]
        turn = generate(self.plain, right_pad(begun, self.device), Noise.of([0] * len(begun), self.device), stopping)
        return [
            [] if text[-1] in self.ends else output.tokens for text, output in zip(begun, turn.outputs, strict=True)
        ]


@final
@dataclass(frozen=True, slots=True)
class RouterCourse:
    """How a router is trained; the defaults are the authors'.

    held_out: share of the examples that only choose the weights and the threshold.
    recall:   share of the tokens that lead elsewhere which the threshold must catch.
    The authors stop after 10 epochs without a gain; here all are run, and the best epoch's weights are kept.
    """

    epochs: int = 50
    rate: float = 5e-5
    weight_decay: float = 5e-4
    batch: int = 1024
    held_out: float = 0.1
    recall: float = 0.95
    seed: int = 0
    quiet: bool = False


def teach(small: Causal, examples: Examples, course: RouterCourse, folder: Path, **shape: Any) -> RouterNet:
    """Train a router for `small`, or go on from the checkpoint in `folder`; its spec holds the threshold.

    shape: of `RouterSpec`, where it is not to be the small model's own. Raises BadInput without labels of both kinds.
    """
    generator, device = torch.Generator().manual_seed(course.seed), examples.hidden_ND.device
    order_N = torch.randperm(len(examples), generator=generator).to(device)
    aside = max(1, round(course.held_out * len(examples)))
    checked, taught = select_rows(examples, order_N[:aside]), select_rows(examples, order_N[aside:])
    positive = int(taught.elsewhere_N.sum())
    if not 0 < positive < len(taught):
        raise BadInput(
            f"{positive} of {len(taught)} tokens lead elsewhere: a router learns from both kinds; label more texts"
        )
    spec = RouterSpec.beside(small.network, **({"top": examples.top_NK.shape[1]} | shape))
    net = untrained(spec, course.seed).to(device)
    lesson = _Lesson(net, small.network.embedded, taught, (len(taught) - positive) / positive, course)
    each = -(-len(taught) // course.batch)
    settings = Settings(
        steps=course.epochs * each, peak=course.rate, weight_decay=course.weight_decay, save_every=each,
        report_every=each, warmup=0, quiet=course.quiet,
    )  # fmt: skip
    file = folder / BEST

    def look(step: int) -> None:
        nats = lesson.nats(checked)
        if step == each or not file.exists() or nats < torch.load(file, weights_only=True)["nats"]:
            torch.save({"nats": nats, "router": net.state_dict()}, file)

    with torch.random.fork_rng():
        train(net, lesson.loss, lesson.batches, settings, folder, look)
    if file.exists():  # else a kill came between the last checkpoint and the look at it
        net.load_state_dict(torch.load(file, map_location=device, weights_only=True)["router"])
    net.eval()
    net.spec = replace(spec, threshold=threshold(lesson.scores(checked).sigmoid(), checked.elsewhere_N, course.recall))
    return net


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """Batches are numbers of examples. weight: of the rarer label."""

    net: RouterNet
    embedded: Callable[[Tensor], Tensor]
    examples: Examples
    weight: float
    course: RouterCourse

    def batches(self, step: int) -> Batch:
        """Every example once an epoch, in an order that the seed gives."""
        count, size = len(self.examples), self.course.batch
        epoch, at = divmod(step, -(-count // size))
        order_N = torch.randperm(count, generator=torch.Generator().manual_seed(self.course.seed * 1_000_003 + epoch))
        rows_R = order_N[at * size : (at + 1) * size]
        return rows_R[None], torch.ones(1, len(rows_R))

    def loss(self, rows_1R: Tensor, weights_1R: Tensor) -> Tensor:
        """Nats, summed. What dropout leaves out follows from the batch, so that a run that goes on repeats it."""
        torch.manual_seed(self.course.seed + int(rows_1R.sum()))
        some = select_rows(self.examples, rows_1R[0].to(self.examples.hidden_ND.device))
        return self._nats(some).sum()

    @torch.no_grad()
    def nats(self, examples: Examples) -> float:
        """The mean of examples that are not trained on."""
        self.net.eval()
        mean = float(self._nats(examples).mean())
        self.net.train()
        return mean

    @torch.no_grad()
    def scores(self, examples: Examples) -> Tensor:
        """score_N."""
        return self.net(examples.hidden_ND, self.embedded(examples.tokens_N).float(), examples.top_NK)

    def _nats(self, examples: Examples) -> Tensor:
        token_ND = self.embedded(examples.tokens_N).float()
        score_N = self.net(examples.hidden_ND, token_ND, examples.top_NK)
        weight = torch.tensor(self.weight, device=score_N.device)
        label_N = examples.elsewhere_N.float()
        return binary_cross_entropy_with_logits(score_N, label_N, reduction="none", pos_weight=weight)


def threshold(probs_N: Tensor, elsewhere_N: Tensor, recall: float) -> float:
    """The largest probability from which on at least `recall` of what leads elsewhere is caught: no other catches as
    much with fewer false alarms. 0 where nothing leads elsewhere."""
    caught_N = probs_N[elsewhere_N].sort(descending=True).values
    wanted = max(1, math.ceil(recall * len(caught_N)))
    return float(caught_N[wanted - 1]) if len(caught_N) else 0.0


def strictly(before: str, targets: str, others: str) -> bool:
    """Whether two sentences differ by more than white space."""
    return targets.split() != others.split()


def sentence(text: str) -> str:
    """Up to the first mark, itself included."""
    ends = [at + len(mark) for mark in MARKS if (at := text.find(mark)) >= 0]
    return text[: min(ends, default=len(text))]
