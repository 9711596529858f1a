"""Sequence correcting and re-generation (SCRG): the student's worst token becomes its teacher's, and the student writes
on from there.

Worst is where KL(p || q) is largest. Nothing is written behind an end; a token that the teacher would have said as well
stays, and all that follows it. The structure is from a description of the paper, not from its code.
Source: Liu et al. 2024, arXiv:2407.10068.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.seams import Rollouts, Signal, Speaker, Teacher, by_chunks
from decant.distill.texts import Positions, Text, TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import Writing, answer, side_by_side
from decant.errors import BadInput
from decant.models.current import at_rest
from decant.models.student import States, read
from decant.noise import sample_seed
from decant.numerics import floored
from decant.types import select_rows


@final
@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """prompts: whose prompts. teacher, network: of the laws that are compared; network is the student's.

    ends:   ids that end an answer. rounds: how often an answer is corrected.
    micro:  answers that are read at once.
    """

    prompts: Rollouts[Any]
    teacher: Teacher
    network: Any
    ends: frozenset[int]
    writing: Writing = field(default_factory=Writing)
    rounds: int = 1
    micro: int = 8

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.micro < 1:
            raise BadInput(f"rounds is 0 or more and micro 1 or more, got {self.rounds} and {self.micro}")

    def start(self) -> Any:
        """The prompts'."""
        return self.prompts.start()

    def batch(self, state: Any, step: int, share: Share, student: Speaker) -> tuple[TextBatch, Any]:
        """The student's answers, corrected."""
        given, state = self.prompts.batch(state, step, share, student)
        texts = self.writing.answered(given, step, share, student)
        for number in range(self.rounds):
            seeds = [sample_seed(seed, 1 + number) for seed in self.writing.seeds(step, share, len(texts))]
            texts = self._again(texts, self._worst(texts), seeds, student)
        return side_by_side(texts), state

    def observe(self, state: Any, step: int, steps: int, nats: float) -> Any:
        """The prompts'."""
        return self.prompts.observe(state, step, steps, nats)

    def _worst(self, texts: Sequence[Text]) -> list[tuple[int, int, float]]:
        """Of each text: which id, counted from its beginning; what the teacher says in its place; that one's
        log-probability by the teacher."""
        found = []
        whole = side_by_side(texts)
        with at_rest(self.network):
            for part in torch.arange(len(texts)).split(self.micro):
                batch = select_rows(whole, part)
                at = Positions.of(batch)
                ids_BT = batch.ids_BT.to(self.network.device)
                states = read(self.network, ids_BT, at.row_N, at.at_N)
                nats_N, said_N, logp_N = _compared(self.teacher.signal(batch, at), states, at)
                for row in range(len(part)):
                    mine = (at.row_N == row).nonzero()[:, 0]
                    worst = int(mine[nats_N[mine].argmax()])  # sync: texts are cut on the host
                    found.append((int(at.at_N[worst]) + 1, int(said_N[worst]), float(logp_N[worst])))
        return found

    def _again(
        self, texts: Sequence[Text], worst: Sequence[tuple[int, int, float]], seeds: list[int], student: Speaker
    ) -> list[Text]:
        """With the teacher's token there, and what the student says behind it."""
        found = list(texts)
        asked: list[tuple[int, Text]] = []
        for row, (text, (at, token, logp)) in enumerate(zip(texts, worst, strict=True)):
            if text.ids[at] == token:
                continue
            ids, known = [*text.ids[text.prompt : at], token], [*text.logp[text.prompt : at], logp]
            found[row] = answer(text.ids[: text.prompt], ids, known, text.domain)
            if token not in self.ends and len(ids) < self.writing.limit:
                asked.append((row, found[row]))
        # Each goes on for as long as the one with most room may; what is too long is cut.
        if asked:
            room = self.writing.limit - min(len(text.ids) - text.prompt for _, text in asked)
            said = student.write([text.ids for _, text in asked], [seeds[row] for row, _ in asked], room)
            for (row, text), (ids, logp) in zip(asked, said, strict=True):
                left = self.writing.limit - (len(text.ids) - text.prompt)
                own = [*text.ids[text.prompt :], *ids[:left]]
                whole = answer(text.ids[: text.prompt], own, [*text.logp[text.prompt :], *logp[:left]])
                found[row] = replace(whole, domain=text.domain)
        return found


def _compared(signal: Signal, states: States, at: Positions) -> tuple[Tensor, Tensor, Tensor]:
    """KL(p || q), the teacher's likeliest id and its log-probability, each N."""

    def compared(rows: slice) -> Tensor:
        q_XV = states.logp(rows)
        p, q, _ = signal.law(rows).beside(q_XV, at.label_N[rows].to(q_XV.device))
        best_X, said_X = p.max(-1)
        return torch.stack([(p.exp() * (floored(p) - floored(q))).sum(-1), said_X.to(best_X), best_X], -1)

    nats_N, said_N, logp_N = by_chunks(len(at), states.vocab, compared).cpu().unbind(-1)  # sync: texts are lists
    return nats_N, said_N.long(), logp_N
