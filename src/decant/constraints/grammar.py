"""Structured output: JSON schemas, regular expressions, Lark grammars and choices, on every node of a tree at once.

llguidance decides what may follow. Where one text alone can follow, it allows that text's usual spelling alone, so that
guesses of forced tokens are always kept. Prompts are not read: a grammar is about the output. Masked sampling is not
the model's own law given the grammar: each token is drawn as if any could be finished equally well.
Source: Moskal et al. 2024, github.com/guidance-ai/llguidance; Willard & Louf 2023, arXiv:2307.09702 (masks).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from decant.errors import BadInput, IncompatibleParts
from decant.numerics import chain_parents
from decant.types import PAD, Draft, Scores, Verdict
from decant.vocab.matching import Reader, Tokens, library

ENDLESS = 10_000  # bytes that must come: a rule without a way out forces as many as llguidance cares to look at


@final
@dataclass(frozen=True, slots=True)
class Json:
    """JSON that a schema allows: an object, true, false, or either as text.

    compact: no white space between tokens; else any, as llguidance documents. Properties come in the schema's order.
    Raises BadInput for text that is no JSON.
    """

    schema: Mapping[str, Any] | bool | str
    compact: bool = False
    remedy: ClassVar[str] = "leave out what llguidance does not know, or what cannot be met"

    def __post_init__(self) -> None:
        try:
            schema = json.loads(self.text)
        except (ValueError, TypeError) as error:
            raise BadInput(f"the schema is no JSON ({error}); give a JSON object") from error
        if not isinstance(schema, dict | bool):
            raise BadInput(f"a JSON schema is an object, true or false, got {self.text[:40]}; give a JSON object")

    def __str__(self) -> str:
        return f"the JSON schema{' without white space' * self.compact}"

    @property
    def text(self) -> str:
        """The schema as JSON."""
        return self.schema if isinstance(self.schema, str) else json.dumps(self.schema)

    def source(self, matcher: Any) -> str:
        """As llguidance reads it; matcher: its class of that name."""
        anything = {} if json.loads(self.text) is True else self.text  # options belong to an object
        options = {"whitespace_flexible": False} if self.compact and anything != "false" else None
        return matcher.grammar_from_json_schema(anything, overrides=options)


@final
@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches as a whole, in the syntax of Rust's crate regex."""

    pattern: str
    remedy: ClassVar[str] = "the syntax is that of Rust's crate regex, without look-around and back-references"

    def __str__(self) -> str:
        return f"the regular expression {self.pattern!r}"

    def source(self, matcher: Any) -> str:
        """As llguidance reads it."""
        return matcher.grammar_from_regex(self.pattern)


@final
@dataclass(frozen=True, slots=True)
class Lark:
    """Text that follows from `start` of a grammar in llguidance's dialect of Lark."""

    text: str
    remedy: ClassVar[str] = "the syntax is llguidance's dialect of Lark, whose first rule is called start"

    def __str__(self) -> str:
        return "the Lark grammar"

    def source(self, matcher: Any) -> str:
        """As llguidance reads it."""
        return matcher.grammar_from_lark(self.text)


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """One of several strings. Raises BadInput for none, and for what is no string."""

    strings: Sequence[str]
    remedy: ClassVar[str] = "give the strings to choose from"

    def __post_init__(self) -> None:
        if isinstance(self.strings, str) or not self.strings or not all(isinstance(one, str) for one in self.strings):
            raise BadInput(f"a choice needs a list of strings, at least one, got {self.strings!r}; {self.remedy}")

    def __str__(self) -> str:
        return f"the choice between {len(self.strings)} strings"

    def source(self, matcher: Any) -> str:
        """As llguidance reads it."""
        return matcher.grammar_from_lark(f"start: {' | '.join(map(json.dumps, self.strings))}")


Description = Json | Regex | Lark | Choice


@final
@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """How far a request, or a node, has come. said: its output tokens; ended: an end token was said behind them."""

    reader: Reader
    said: tuple[int, ...] = ()
    ended: bool = False

    @property
    def matcher(self) -> Any:
        """Here."""
        return self.reader.behind(self.said)

    def after(self, token: int, ends: frozenset[int]) -> "Place | None":
        """One token further; None where it is forbidden. Behind the end nothing is."""
        if self.ended:
            return self
        if token in ends and self.matcher.is_accepting():
            return replace(self, ended=True)
        said = (*self.said, token)
        return None if self.reader.behind(said) is None else replace(self, said=said)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """One of each request."""

    of: tuple[Place, ...]

    def select(self, rows_R: Tensor) -> "Places":
        """The requests `rows_R`; those that repeat part ways, so that each gets a reader of its own."""
        rows = rows_R.tolist()
        first = {row: at for at, row in reversed(list(enumerate(rows)))}
        alone = (self.of[row] if first[row] == at else _apart(self.of[row]) for at, row in enumerate(rows))
        return Places(tuple(alone))

    def join(self, other: "Places") -> "Places":
        """These requests, then the other's."""
        return Places(self.of + other.of)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """Forbids what no text of the description goes on with; once the text is whole, all but end tokens.

    Rows behind a guess that is forbidden, behind absent ones and behind probes are left as they are: nobody is there.
    Raises BadInput for a description that cannot be compiled or satisfied, or whose texts begin with no token or never
    end; where that shows later, `observe` does, or a text ends at its length and is not `whole`.
    """

    description: Description
    tokens: Tokens
    blank: Any = field(init=False, repr=False)
    ends_W: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bits = np.zeros((self.tokens.vocab + 31) // 32 * 32, np.uint8)
        bits[sorted(self.tokens.ends)] = 1
        object.__setattr__(self, "ends_W", np.packbits(bits, bitorder="little").view(np.int32))
        object.__setattr__(self, "blank", _compiled(self.description, self.tokens))

    def start(self, prompt_BT: Tensor) -> Places:
        """Nothing was said."""
        return Places(tuple(self._begin() for _ in prompt_BT))

    def adjust(self, state: Places, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """-inf where a token may not follow the row's own path."""
        batch, rows, vocab = logits_BMV.shape
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        each = zip(draft.guesses.tokens_BN.tolist(), parents_BN.tolist(), strict=True)  # sync: matchers are on the host
        allowed_BMW = np.full((batch, rows, len(self.ends_W)), -1, np.int32)
        for root, (tokens, parents), allowed_MW in zip(state.of, each, allowed_BMW, strict=True):
            self._fill(root, tokens, parents, allowed_MW)
        forbidden = np.unpackbits(~allowed_BMW.view(np.uint8), axis=-1, count=vocab, bitorder="little").view(np.bool_)
        return logits_BMV.masked_fill(torch.from_numpy(forbidden).to(logits_BMV.device), -torch.inf)

    def observe(self, state: Places, verdict: Verdict, scores: Scores) -> Places:
        """Read what was committed, up to the end of the text.

        Raises BadInput where no token spells what must come, IncompatibleParts for a token that is forbidden.
        """
        each = zip(state.of, verdict.tokens_BC.tolist(), strict=True)  # sync: matchers are on the host
        return Places(tuple(self._told(place, [token for token in row if token != PAD]) for place, row in each))

    def forced(self, state: Places, depth: int) -> Tensor:
        """tokens_BN behind the root, as far as nothing else may come, at most `depth`; PAD behind them; on the host."""
        rows = [[] if one.ended else one.matcher.compute_ff_tokens()[:depth] for one in state.of]
        width = max(map(len, rows), default=0)
        padded = [[*row, *[PAD] * (width - len(row))] for row in rows]
        return torch.tensor(padded, dtype=torch.int64).view(len(rows), width)

    def whole(self, tokens: Sequence[int]) -> bool:
        """Whether these output tokens, an end token behind them or not, are a whole text of the description."""
        place = self._begin()
        for token in tokens:
            after = place.after(token, self.tokens.ends)
            if after is None:
                return False
            place = after
        return place.ended or place.matcher.is_accepting()

    def _begin(self) -> Place:
        return Place(Reader(self.blank, self.blank.deep_copy()))

    def _fill(self, root: Place, tokens: list[int], parents: list[int], allowed_MW: Any) -> None:
        places = list[Place | None]([root])
        self._allow(root, allowed_MW, 0)
        for node, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
            above = places[parent + 1]
            here = None if above is None or token == PAD else above.after(token, self.tokens.ends)
            places.append(here)
            if here is not None:
                self._allow(here, allowed_MW, node + 1)

    def _allow(self, place: Place, allowed_MW: Any, row: int) -> None:
        if place.ended:
            allowed_MW[row] = self.ends_W
        else:
            library().numpy.fill_next_token_bitmask(place.matcher, allowed_MW, row)

    def _told(self, place: Place, tokens: list[int]) -> Place:
        for token in tokens:
            after = place.after(token, self.tokens.ends)
            if after is None and (fault := place.reader.fault):
                raise BadInput(
                    f"{self.description} cannot be followed to its end: {_reason(fault)}; take a simpler one"
                )
            if after is None and token in self.tokens.ends:  # all that a dead end allows
                raise BadInput(
                    f"no token of this model goes on where {self.description} must go on; take a model whose tokenizer "
                    f"spells what it wants, or a simpler one"
                )
            if after is None:
                raise IncompatibleParts(
                    f"token {token} was kept, which {self.description} forbids; take a lossless method"
                )
            place = after
        return place


def _apart(place: Place) -> Place:
    return replace(place, reader=place.reader.copy())


def _compiled(description: Description, tokens: Tokens) -> Any:
    """llguidance's matcher of a description, nothing read. Raises BadInput."""
    made = library().LLMatcher
    matcher = made(tokens.known, description.source(made), log_level=0)
    if matcher.is_error():
        reason = _reason(matcher.get_error())
        raise BadInput(f"{description} cannot be compiled: {reason}; {description.remedy}")
    if matcher.is_stopped() and not matcher.is_accepting():
        raise BadInput(f"no text satisfies {description}; {description.remedy}")
    forced = matcher.compute_ff_bytes()
    if len(forced) > ENDLESS:
        raise BadInput(f"{description} never ends: only {forced[:20].decode()!r}... can begin it; give it a way out")
    if not tokens.spells(forced):
        raise BadInput(
            f"this model's tokenizer cannot spell {forced[:40].decode(errors='replace')!r}, with which {description} "
            f"begins; use characters that it knows"
        )
    first = matcher.deep_copy()
    first.compute_bitmask()
    if first.is_error():
        raise BadInput(
            f"no token of this model begins a text of {description}: nothing satisfies it, or only what the tokenizer "
            f"cannot spell; {description.remedy}"
        )
    return matcher


def _reason(error: str) -> str:
    """The line of a compiler's message that says what is wrong."""
    lines = error.splitlines() or [""]
    return next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
