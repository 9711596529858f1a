"""Contrastive search: of the likeliest next tokens, one that is likely and whose state resembles no earlier one's.

The states are the target's last, behind each candidate, so a step looks one token ahead: at all candidates in one call,
whose rows then serve the next step. One more call opens a text. Lossy: no draws.

Source: Su et al. 2022, arXiv:2202.06417; Su and Collier 2022, arXiv:2210.14140.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from decant.decoders.forks import Fork
from decant.decoders.speakers import said
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import PAD, Draft, Scores, Step, Taps

C = TypeVar("C")  # the target's context

TAPS: Final = Taps(layers=(-1,))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The states of a text, of length 1 each. states_BTD: of its first `count` tokens; what lies behind is garbage."""

    states_BTD: Tensor
    count_B: Tensor

    def likeness(self, states_BKD: Tensor) -> Tensor:
        """cosine_BK: of each state to the one of the text that it resembles most."""
        cosine_BKT = normalize(states_BKD, dim=-1) @ self.states_BTD.transpose(1, 2)
        slots_T = torch.arange(cosine_BKT.shape[-1], device=cosine_BKT.device)
        return cosine_BKT.masked_fill((slots_T >= self.count_B[:, None])[:, None], -torch.inf).amax(-1)

    def followed(self, state_BD: Tensor) -> "Seen":
        """With one more."""
        room = int(self.count_B.max()) + 1 - self.states_BTD.shape[1]  # sync: texts of a batch are not equally long
        states_BTD = pad(self.states_BTD, (0, 0, 0, max(0, room)))
        at_B11 = self.count_B[:, None, None].expand(-1, 1, states_BTD.shape[-1])
        return Seen(states_BTD.scatter(1, at_B11, normalize(state_BD, dim=-1)[:, None]), self.count_B + 1)

    def select(self, rows_R: Tensor) -> "Seen":
        """The requests `rows_R`."""
        return Seen(self.states_BTD[rows_R], self.count_B[rows_R])

    def join(self, other: "Seen") -> "Seen":
        """These requests, then the other's."""
        parts = self.states_BTD, other.states_BTD
        most = max(part.shape[1] for part in parts)
        joined_BTD = torch.cat([pad(part, (0, 0, 0, most - part.shape[1])) for part in parts])
        return Seen(joined_BTD, torch.cat([self.count_B, other.count_B]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class ContrastiveState(Generic[C]):
    """What is remembered between steps. logits_BV: the target's own, which follow the text."""

    context: C
    constraint: Any
    noise: Noise
    logits_BV: Tensor
    seen: Seen


@final
@dataclass(frozen=True, slots=True)
class ContrastiveSearch(Generic[C]):
    """The next token has the largest (1 - alpha) p - alpha * cosine, of the `top_k` likeliest; the cosine is that of
    its state to the most alike of the text, prompt included. With alpha 0, or top_k 1, this is greedy decoding.

    No warp: p is the target's own law, of what the constraint allows. Where all states of a model point one way (small
    GPT-2 models), cosines say nothing.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    alpha: float = 0.6
    top_k: int = 5

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.top_k < 1:
            raise BadInput(
                f"contrastive search needs an alpha in [0, 1] and a top_k of at least 1, got alpha {self.alpha}, "
                f"top_k {self.top_k}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> ContrastiveState[C]:
        """Read the prompt and what follows it."""
        context, prefill = self.target.start(prompt_BT, TAPS)
        root = self.target.score(context, Draft.nothing(len(prompt_BT), prompt_BT.device))
        root_BD = root.hidden(TAPS.layers)[:, 0].float()
        read_BTD = prefill.hidden(TAPS.layers).float()
        if not read_BTD.shape[1]:
            read_BTD = root_BD.new_zeros(len(root_BD), 0, root_BD.shape[1])
        length_B = (prompt_BT != PAD).sum(-1)
        return ContrastiveState(
            context=context,
            constraint=self.constraint.start(prompt_BT),
            noise=noise,
            logits_BV=root.logits_BMV[:, 0],
            seen=Seen(normalize(read_BTD, dim=-1), length_B - 1).followed(root_BD),
        )

    def step(self, state: ContrastiveState[C]) -> tuple[ContrastiveState[C], Step]:
        """One token of every request, by one target call."""
        batch, device = len(state.logits_BV), state.logits_BV.device
        own_B1V = state.logits_BV[:, None]
        nothing = Draft.nothing(batch, device)
        law_BV = self.constraint.adjust(state.constraint, nothing, own_B1V.float())[:, 0].softmax(-1)
        law_BK, ids_BK = law_BV.topk(min(self.top_k, law_BV.shape[-1]), -1)
        fork = Fork.of(self.target, self.constraint, state.context, state.constraint, ids_BK)
        scores = fork.score()
        states_BKD = fork.newest(scores.hidden(TAPS.layers)).float()
        liked_BK = (1 - self.alpha) * law_BK - self.alpha * state.seen.likeness(states_BKD)
        best_B = liked_BK.masked_fill(law_BK == 0, -torch.inf).argmax(-1)  # what is forbidden resembles little
        rows_B = torch.arange(batch, device=device)
        tokens_B1 = ids_BK.gather(1, best_B[:, None])
        return ContrastiveState(
            context=fork.taken(best_B),
            constraint=self.constraint.observe(state.constraint, said(tokens_B1), Scores(own_B1V)),
            noise=state.noise.advance(torch.ones_like(best_B)),
            logits_BV=fork.newest(scores.logits_BMV)[rows_B, best_B],
            seen=state.seen.followed(states_BKD[rows_B, best_B]),
        ), Step(tokens_B1, state.noise.root_B[:, None], torch.zeros_like(tokens_B1, dtype=torch.bool))

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T, TAPS)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's, once more for every candidate where it takes no trees; a vector a token is not counted."""
        rows = 1 if self.target.trees else 1 + self.top_k
        return self.target.cache_bytes([count for count in tokens for _ in range(rows)])
