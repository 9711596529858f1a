"""Chimera's network: an encoder of the last three tokens' embeddings, and one layer that looks from what it says at the
target's own states of everything before, give the state of the newest token; both that state and the last one that the
target computed are read for the next token.

Where the target has not been yet, a guessed state stands for its own. A state is seen by later rows alone; in its own
row the three tokens stand for it. The published code lets a row see earlier rows' tokens while it is taught and not
when it drafts; here it never does.
Source: Zeng et al. 2024, arXiv:2402.15758.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from decant.models.fast.lean import Angles
from decant.models.heads.block import Layer, ResBlock, normed
from decant.models.heads.borrower import Borrower
from decant.models.heads.recurrent import mixed_own
from decant.models.heads.spec import HeadSpec

GRAM: Final = 3


@final
class ChimeraNet(Borrower):
    """Knobs: `gram`, the width that an embedding is brought to before three are joined, 0: its own; `shared`, whether
    both states are read with the target's own output matrix, after a matrix of theirs: 2 V D weights less."""

    architecture: ClassVar[str] = "ChimeraDrafter"

    def __init__(self, spec: HeadSpec, ids_V: Tensor | None = None) -> None:
        super().__init__(spec, ids_V)
        width, gram = spec.hidden, int(spec.knobs.get("gram", 0))
        self.shared = bool(spec.knobs.get("shared", True))
        self.narrow = nn.Linear(width, gram, bias=False) if gram else nn.Identity()
        joined = GRAM * (gram or width)
        self.trigram = nn.Sequential(ResBlock(joined), nn.Linear(joined, width, bias=False))
        self.layers = nn.ModuleList([Layer(spec, width, ("input_layernorm",))])
        if self.shared:
            self.change = nn.Linear(2 * width, width, bias=False)
            nn.init.zeros_(self.change.weight)
        else:
            self.lm_head = nn.Linear(2 * width, spec.draft_vocab or spec.vocab, bias=False)

    @torch.no_grad()
    def begin(self) -> None:
        """Start the output matrix at the teacher's, twice."""
        if not self.shared:
            weight = self.lm_head.weight
            said_VD = self.say(torch.eye(self.spec.hidden, device=weight.device, dtype=weight.dtype)).T
            weight.copy_(torch.cat([said_VD, said_VD], -1))

    @property
    def layer(self) -> Layer:
        """The only one."""
        layer = self.layers[0]
        assert isinstance(layer, Layer)
        return layer

    def grams(self, ids_XG: Tensor) -> Tensor:
        """state_XD out of the last three ids."""
        return self.trigram(self.narrow(self.embedded(ids_XG)).flatten(-2))

    def attended(self, state_XD: Tensor) -> Tensor:
        """What attention reads."""
        return normed(state_XD, self.layer.get_parameter("input_layernorm.weight"), self.spec.eps)

    def logits(self, true_XD: Tensor, state_XD: Tensor) -> Tensor:
        """true_XD: the last state that the target computed; state_XD: the guessed one of the newest token."""
        both_XE = torch.cat([true_XD.to(state_XD.dtype), state_XD], -1)
        return self.say(true_XD + state_XD + self.change(both_XE)) if self.shared else self.lm_head(both_XE)


def unrolled(net: ChimeraNet, ids_BT: Tensor, hidden_BTF: Tensor, angles: Angles) -> Iterator[Tensor]:
    """state_BTD of steps 0, 1, 2 ...: column t of step i guesses the state of token t + 1 + i, given the tokens up to
    it, the teacher's states up to t and, between, its own.

    hidden_BTF: the teacher's. The last columns, whose tokens lie behind the text, hold garbage.
    """
    block, length = net.layer.block(), ids_BT.shape[1]
    where_T = torch.arange(length, device=ids_BT.device)
    text = block.look(net.attended(hidden_BTF), angles.at(where_T[None], length))[1:]
    first_B2 = ids_BT[:, :1].expand(-1, GRAM - 1)
    gram_BTD = net.grams(torch.cat([first_B2, ids_BT], 1).unfold(1, GRAM, 1))
    own: list[tuple[Tensor, Tensor]] = []
    sees_TT = where_T <= where_T[:, None]
    for step in range(1, length):
        gram_BTD = pad(gram_BTD[:, 1:], (0, 0, 0, 1))
        at = angles.at(where_T[None] + step, length + step)
        query, key, value = block.look(net.attended(gram_BTD), at)
        state_BTD = block.finish(mixed_own(query, [text, *own, (key, value)], sees_TT), gram_BTD)
        yield state_BTD
        own.append(block.look(net.attended(state_BTD), at)[1:])
