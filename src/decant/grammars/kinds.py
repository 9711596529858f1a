"""The tokens of a vocabulary as a language sees them: tokens that it reads alike, everywhere, are one kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.grammars.language import Language
from decant.grammars.lexer import DEAD, Lexer

NEVER, END = 0, 1
"""Kinds of what stands in no text, and of what ends one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """A place that holds any one of some tokens, as far as each stays inside one lexeme.

    inside: of each state, the states (bit by bit) behind it. first: the same at a lexeme's begin, behind each stop.
    """

    inside: tuple[int, ...]
    first: tuple[int, ...]

    @classmethod
    def of(cls, language: Language, texts: Iterable[bytes]) -> "Open":
        """texts: what the tokens write."""
        lexer, texts = language.lexer, list(texts)
        inside = [_behind(lexer, state, texts) for state in range(len(lexer.moves))]
        first = [_behind(lexer, 0, [one for one in texts if not stop >> one[0] & 1]) for stop in language.stops]
        return cls(tuple(inside), tuple(first))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """kind_V: of each token. texts: what the first token of each kind writes; nothing, of the first two kinds."""

    kind_V: Tensor
    texts: tuple[bytes, ...]

    @classmethod
    def of(cls, lexer: Lexer, pieces: Sequence[bytes | None], vocab: int, ends: frozenset[int]) -> "Kinds":
        """pieces: what each id writes; ids behind them, and those that write nothing, stand in no text."""
        kind_V = torch.full((vocab,), NEVER)
        kind_V[[end for end in ends if end < vocab]] = END
        writing = [token for token, piece in enumerate(pieces[:vocab]) if piece and token not in ends]
        readings_WX = _readings(lexer, [pieces[token] or b"" for token in writing])
        kind_W = readings_WX.unique(dim=0, return_inverse=True)[1]
        kind_V[writing] = kind_W + END + 1
        texts = [b""] * (int(kind_V.max()) + 1)
        for token in reversed(writing):
            texts[int(kind_V[token])] = pieces[token] or b""
        return cls(kind_V, tuple(texts))


def _behind(lexer: Lexer, state: int, texts: Sequence[bytes]) -> int:
    states = {lexer.read(state, text) for text in texts} - {DEAD}
    return sum(1 << state for state in states)


def _readings(lexer: Lexer, texts: Sequence[bytes]) -> Tensor:
    """Of each text, row by row: from each state, the state behind it and a number for the lexemes that ended."""
    moves_SB, label_S = torch.tensor(lexer.moves), torch.tensor(lexer.label)
    fresh_SB = moves_SB[0].expand_as(moves_SB).where((moves_SB == DEAD) & (label_S[:, None] != DEAD), DEAD)
    state_WS = torch.arange(len(moves_SB)).repeat(len(texts), 1)
    ended_WS = torch.zeros_like(state_WS)
    numbers: dict[int, int] = {}  # a sequence's number and a terminal behind it -> the longer one's
    for at in range(max(map(len, texts), default=0)):
        on_W = torch.tensor([at < len(text) for text in texts])
        byte_W1 = torch.tensor([text[at] for text in texts if at < len(text)])[:, None]
        old_WS = state_WS[on_W]
        here_WS = old_WS.clamp_min(0)  # dead ones are masked below
        further_WS, fresh_WS = moves_SB[here_WS, byte_W1], fresh_SB[here_WS, byte_W1]
        ending_WS = (fresh_WS != DEAD) & (old_WS != DEAD)
        state_WS[on_W] = further_WS.where(~ending_WS, fresh_WS).masked_fill(old_WS == DEAD, DEAD)
        before_WS = ended_WS[on_W]
        codes = before_WS[ending_WS] * len(lexer.label) + label_S[here_WS[ending_WS]]
        coded, which = codes.unique(return_inverse=True)
        longer = [numbers.setdefault(code, len(numbers) + 1) for code in coded.tolist()]
        before_WS[ending_WS] = torch.tensor(longer, dtype=torch.int64)[which]
        ended_WS[on_W] = before_WS
    return torch.cat([state_WS, ended_WS.masked_fill(state_WS == DEAD, DEAD)], 1)
