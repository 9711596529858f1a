"""Remote: a teacher behind an OpenAI-compatible server, asked what it thinks of given tokens.

Two dialects of /completions: `prompt_logprobs` (vLLM, which answers with ids) and `echo` with `logprobs` (strings, or
"token_id:7", mapped to the student's ids). Ids are sent, not text, and each answer is held against them: strings, or
what vLLM says beside its ids (`decoded_token`), against what the student's tokenizer writes, so that a server with
another is found out. Ids by themselves say nothing of who spelt them. All that is not among the best ids is one outcome
more.
Source: von Werra et al. 2020, github.com/huggingface/trl (a teacher behind a server, best ids and the others).
"""

import hashlib
import json
import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from decant.disk import replacing
from decant.distill.seams import Coarse
from decant.distill.server import Server
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput
from decant.numerics import remaining
from decant.types import PAD
from decant.vocab.vocabulary import Vocabulary

TOKEN_ID: Final = "token_id:"
TOO_MUCH: Final = 1.02  # a law's mass, rounding forgiven
STRANGE: Final = 3  # ids of one answer that write something else: fewer may be a renamed token's


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """ids: sent. at: positions whose laws are wanted. name: of the text, for messages."""

    ids: list[int]
    at: list[int]
    name: str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Remote:
    """model: the server's name for it. vocab: how many ids the student's tokenizer has.

    top:    best ids of a position; vLLM gives 20 unless it was started with --max-logprobs.
    form:   which dialect the server speaks.
    folder: keeps every answer, found by URL, model, form, top, ids and positions; None: nothing is kept.
    spelt:  what the student's ids write; without it no string is understood, and vLLM's are not held against it.
    at_once: questions under way at the same time.
    Raises BadInput for a server that gives no answer, a position without one, and another tokenizer.
    """

    server: Server
    model: str
    vocab: int
    top: int = 20
    form: Literal["prompt_logprobs", "echo"] = "prompt_logprobs"
    folder: Path | None = None
    spelt: Vocabulary | None = None
    at_once: int = 4

    gives: ClassVar[frozenset[str]] = frozenset({"law"})

    def __post_init__(self) -> None:
        if min(self.top, self.vocab, self.at_once) < 1:
            raise BadInput(f"top, vocab and at_once must be at least 1, got {self.top}, {self.vocab}, {self.at_once}")
        if self.form not in ("prompt_logprobs", "echo"):
            raise BadInput(f"form is 'prompt_logprobs' or 'echo', not {self.form!r}")

    def signal(self, batch: TextBatch, at: Positions) -> Coarse:
        """One question a text."""
        numbers, ids_BT = batch.numbers_B.tolist(), batch.ids_BT.tolist()  # sync: they go over the wire
        rows, places = at.row_N.tolist(), at.at_N.tolist()
        wanted: dict[int, list[int]] = {}
        for row, place in zip(rows, places, strict=True):
            wanted.setdefault(row, []).append(place)
        asked = [
            Asked(ids_BT[row][: max(mine) + 2], mine, _name(numbers[row], row)) for row, mine in sorted(wanted.items())
        ]
        with ThreadPoolExecutor(self.at_once) as pool:  # the first failure lets go of what is not yet asked
            found = list(pool.map(self._rows, asked))
        ids_NK, logp_NK = (
            torch.from_numpy(np.concatenate(part)).to(batch.ids_BT.device) for part in zip(*found, strict=True)
        )
        return Coarse(ids_NK.long(), logp_NK, remaining(logp_NK), self.vocab)

    def _rows(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """ids_RK and logp_RK at the positions of one text, from the folder or from the server."""
        same = [self.server.url.rstrip("/"), self.model, self.form, self.top, asked.ids, asked.at]
        key = hashlib.sha256(json.dumps(same).encode()).hexdigest()
        kept = None if self.folder is None else self.folder / key[:2] / f"{key}.safetensors"
        at = np.array(asked.at)
        found = None if kept is None else _recalled(kept)
        if found is None:
            found = self._asked(asked)
            missing = at[found["ids"][at, 0] == PAD]
            if len(missing):
                raise BadInput(
                    f"the teacher at {self.server.url} gave no log-probabilities at position {missing[0]} of "
                    f"{asked.name}, and nothing can be learnt there; mend the server, or ask it with the other form"
                )
            if kept is not None:
                _keep(kept, found)
        return found["ids"][at], found["logp"][at]

    def _asked(self, asked: Asked) -> dict[str, np.ndarray]:
        """Of every position but the last: entry r + 1 of an answer is what follows id r."""
        extra = (
            {"prompt_logprobs": self.top} if self.form == "prompt_logprobs" else {"echo": True, "logprobs": self.top}
        )
        question = {"model": self.model, "prompt": asked.ids, "max_tokens": 1, "temperature": 0.0, **extra}
        answer = self.server.ask("completions", question, asked.name)
        laws = (self._numbered if self.form == "prompt_logprobs" else self._spelt)(answer, asked)
        ids = np.full((len(laws), self.top + 1), PAD, dtype=np.int32)  # the text's own id comes on top
        logp = np.full((len(laws), self.top + 1), -np.inf, dtype=np.float32)
        for row, law in enumerate(laws):
            best = sorted(law.items(), key=lambda one: -one[1])[: self.top + 1]
            mass = sum(math.exp(min(nats, 9.0)) for _, nats in best)
            if best and not (mass <= TOO_MUCH and min(law) >= 0 and max(law) < self.vocab):
                raise BadInput(
                    f"the teacher at {self.server.url} says of position {row} of {asked.name} what is no law: mass "
                    f"{mass:.3g}, ids up to {max(law)} of {self.vocab}; it must give log-probabilities, not logits, "
                    f"in the student's ids"
                )
            ids[row, : len(best)] = [token for token, _ in best]
            logp[row, : len(best)] = [min(nats, 0.0) for _, nats in best]
        return {"ids": ids, "logp": logp}

    def _numbered(self, answer: dict[str, Any], asked: Asked) -> list[dict[int, float]]:
        """vLLM's: a list of {id: {"logprob": ...}}, None in front."""
        try:
            choice = answer["choices"][0]
            entries = (choice.get("prompt_logprobs") or answer["prompt_logprobs"])[1 : len(asked.ids)]
            laws = [
                {int(token): float(one["logprob"] if isinstance(one, Mapping) else one) for token, one in law.items()}
                for law in (entry or {} for entry in entries)
            ]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._strange(asked, "prompt_logprobs of ids", error) from error
        self._aligned([own in law if law else None for own, law in zip(asked.ids[1:], laws, strict=False)], asked)
        self._alike(entries, asked)
        return laws

    def _alike(self, entries: Sequence[Mapping[str, Any] | None], asked: Asked) -> None:
        """Holds what the server's ids write, where it says so, against what the student's do."""
        pieces = [] if self.spelt is None else self.spelt.pieces
        other: dict[int, tuple[str, str]] = {}
        for token, one in (pair for entry in entries for pair in (entry or {}).items()):
            said = str((one.get("decoded_token") if isinstance(one, Mapping) else None) or "")
            own = (pieces[int(token)] if int(token) < len(pieces) else None) or b""
            theirs, mine = _letters(said), _letters(own.decode(errors="ignore"))
            if theirs and mine and theirs != mine and not said.startswith(TOKEN_ID):
                other[int(token)] = said, own.decode(errors="replace")
        if len(other) >= STRANGE:
            shown = ", ".join(
                f"{token} is {said!r} and not {own!r}" for token, (said, own) in [*other.items()][:STRANGE]
            )
            raise BadInput(
                f"the teacher at {self.server.url} has another tokenizer (for {asked.name}: id {shown}); take a "
                f"teacher with the student's tokenizer, or one in memory and the recipe alm_transfer"
            )

    def _spelt(self, answer: dict[str, Any], asked: Asked) -> list[dict[int, float]]:
        """OpenAI's: tokens as strings, dictionaries of strings. One that several ids write belongs to the others."""
        own = asked.ids[1:]
        try:
            said = answer["choices"][0]["logprobs"]
            tokens, chosen, tops = (
                said[name][1 : len(asked.ids)] for name in ("tokens", "token_logprobs", "top_logprobs")
            )
            known = [self._id(token) for token in tokens]
            self._aligned([None if it is None else it == token for it, token in zip(known, own, strict=False)], asked)
            laws: list[dict[int, float]] = []
            for token, nats, top in zip(own, chosen, tops, strict=True):
                law = {self._id(text): float(one) for text, one in (top or {}).items()}
                law |= {} if nats is None else {token: float(nats)}
                laws.append({token: one for token, one in law.items() if token is not None})
        except BadInput:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._strange(asked, "echoed logprobs", error) from error
        return laws

    def _id(self, text: str) -> int | None:
        if text.startswith(TOKEN_ID):
            return int(text.removeprefix(TOKEN_ID))
        if self.spelt is None:
            raise BadInput(
                f"the teacher at {self.server.url} answers with strings ({text!r}); give the student's vocabulary, or "
                f"start the server with --return-tokens-as-token-ids"
            )
        found = self.spelt.controls.get(text)
        return self.spelt.unique.get(text.encode()) if found is None else found

    def _aligned(self, own: Sequence[bool | None], asked: Asked) -> None:
        """own: whether each token sent is the one that was judged; None: nobody knows."""
        if len(own) != len(asked.ids) - 1 or False in own:
            where = f"position {own.index(False) + 1}" if False in own else f"{len(own) + 1} of {len(asked.ids)} tokens"
            raise BadInput(
                f"the teacher at {self.server.url} read other tokens than were sent ({where} of {asked.name}); it has "
                f"another tokenizer, or puts something in front: take a teacher with the student's tokenizer"
            )

    def _strange(self, asked: Asked, what: str, error: Exception) -> BadInput:
        return BadInput(
            f"the teacher at {self.server.url} gave no {what} for {asked.name} ({type(error).__name__}: {error}); "
            f"it must be asked in its own dialect: form='prompt_logprobs' (vLLM) or form='echo'"
        )


def _name(number: int, row: int) -> str:
    return f"text {number}" if number >= 0 else f"row {row} of the batch (written just now)"


def _letters(text: str) -> str:
    """What is the same however a server shows a token: spaces may be cut off or have a sign, bytes another."""
    return "".join(letter for letter in text if letter.isascii() and letter.isalnum())


def _recalled(path: Path) -> dict[str, np.ndarray] | None:
    """None for an answer that is not kept, or not whole: it is asked for again."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _keep(path: Path, found: dict[str, np.ndarray]) -> None:
    """Two threads may ask for the same text."""
    with replacing(path, f"{os.getpid()}.{threading.get_ident()}.part") as part:
        save_file(found, part)
