"""Writing what a teacher says of a data set: its size and its error told beforehand, shard by shard, going on where it
ended.

A shard is made of the same texts in the same batches whenever it is made, so a run that was killed ends, on the same
machine, with the bytes of one that was not. `teachers/cached.py` reads the folder.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from decant.distill.seams import Signal, Teacher, whole
from decant.distill.shards import FACTS, NARROW, Facts, Parts, checks, place, put
from decant.distill.texts import Positions, Text, padded
from decant.errors import BadInput, IncompatibleParts
from decant.numerics import floored

ROWS_AT_ONCE: Final = 64  # laws as wide as the vocabulary in memory
LOOKED_AT: Final = 8  # texts that the error is measured on
SMALL: Final = 2**16  # bytes of a folder whose headers nobody counts


@final
@dataclass(frozen=True, slots=True)
class Storing:
    """k: ids of a row; None: as many as `budget` bytes a row hold, the folder's other bytes included.

    temperature: of the laws, and of the training. length: ids of a text, at most. batch: texts read at once.
    per_shard: texts of a file; a killed run makes at most one of them again.
    """

    k: int | None = None
    budget: float = 100.0
    temperature: float = 1.0
    length: int = 4096
    batch: int = 8
    per_shard: int = 256

    def __post_init__(self) -> None:
        if (
            self.temperature <= 0
            or min(self.length - 1, self.batch, self.per_shard, 1 if self.k is None else self.k) < 1
        ):
            raise BadInput(
                f"a cache needs a temperature above 0, a length above 1, k, batch and per_shard >= 1: {self}"
            )


@final
@dataclass(frozen=True, slots=True)
class Author:
    """teacher: gives dense laws. name, fingerprint: what the cache says of it. tokenizer: hash of the one it reads."""

    teacher: Teacher
    name: str
    fingerprint: str
    tokenizer: str


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """What a cache will be.

    k: ids of a row. rows: positions that count. bytes: of the folder. bytes_per_token: of a row.
    nats: mean KL, on a few texts, from the teacher to what can be read back if the rest is spread evenly.
    rest: mean mass of the rest.
    """

    k: int
    rows: int
    bytes: int
    bytes_per_token: float
    nats: float
    rest: float


def plan(teacher: Teacher, texts: Sequence[Text], storing: Storing | None = None) -> Estimate:
    """What `write` would write; a few texts are read. Raises BadInput and IncompatibleParts as `write` does."""
    storing = storing or Storing()
    kept = _teaching(texts, storing)
    some = [kept[at] for at in np.linspace(0, len(kept) - 1, min(LOOKED_AT, len(kept))).round().astype(int)]
    facts = _facts(Author(teacher, "", "", ""), kept, storing)
    nats, rests = [], []
    for text in some:
        for logp_XV in _laws(teacher, [text], storing):
            ids_XK, logp_XK, rest_X = best(logp_XV, facts.k)
            nats.append(_lost(logp_XV, ids_XK, logp_XK.half().float(), rest_X.half().float()))
            rests.append(rest_X.exp())
    size = facts.bytes
    mean, rest = float(torch.cat(nats).mean()), float(torch.cat(rests).mean())
    return Estimate(facts.k, facts.rows, size, size / facts.rows, mean, rest)


def write(
    author: Author,
    texts: Sequence[Text],
    folder: Path,
    storing: Storing | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Facts:
    """Every shard that is not there yet; `told` hears of texts after each shard.

    One process a folder. Raises BadInput for a folder that was begun with other texts, knobs or a
    teacher, and for texts without numbers of their own; IncompatibleParts for a teacher without dense laws.
    """
    storing = storing or Storing()
    kept = _teaching(texts, storing)
    facts = _facts(author, kept, storing)
    if (folder / FACTS).exists():
        _same(Facts.read(folder), facts, folder)
    else:
        facts.write(folder)
    for shard in range(facts.shards):
        path, mine = place(folder, shard), kept[shard * storing.per_shard :][: storing.per_shard]
        if not path.exists():
            put(path, _shard(author.teacher, mine, facts, storing))
        told(shard * storing.per_shard + len(mine), len(kept))
    return facts


def best(logp_XV: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """ids_XK and logp_XK, best first, and rest_X, the log of all other mass; -inf where there is no other id."""
    logp_XK, ids_XK = logp_XV.topk(k)
    return ids_XK, logp_XK, logp_XV.scatter(-1, ids_XK, -torch.inf).logsumexp(-1)


def tokenizer_hash(vocab: Mapping[str, int]) -> str:
    """Of a tokenizer's `get_vocab()`: whose ids a text is made of."""
    return hashlib.sha256(json.dumps(sorted(vocab.items())).encode()).hexdigest()[:16]


def fingerprint(network: nn.Module) -> str:
    """Of names, shapes and some numbers of each weight: another network has another, in all likelihood."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // 64)].float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)};".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def _teaching(texts: Sequence[Text], storing: Storing) -> list[Text]:
    """Those in which something counts; each is found by its number."""
    kept = [text for text in texts if text.teaches(storing.length)]
    if not kept:
        raise BadInput(f"none of {len(texts)} texts has an answer within {storing.length} tokens; raise the length")
    numbers = {text.number for text in kept}
    if len(numbers) < len(kept) or min(numbers) < 0:
        raise BadInput(
            f"{len(kept)} texts have {len(numbers)} different numbers, the lowest {min(numbers)}; texts are found by "
            f"their numbers: count them from 0"
        )
    return kept


def _facts(author: Author, texts: list[Text], storing: Storing) -> Facts:
    """Raises BadInput where not even one id a row is within the budget."""
    if "dense" not in author.teacher.gives:
        raise IncompatibleParts(
            f"a cache is made of laws over the whole vocabulary, and {type(author.teacher).__name__} gives "
            f"{', '.join(sorted(author.teacher.gives))}; take a live teacher (a remote one keeps its own answers)"
        )
    vocab = next(iter(_laws(author.teacher, texts[:1], storing))).shape[-1]
    rows = sum(sum(weight > 0 for weight in text.weights[1 : storing.length]) for text in texts)
    longest = max(min(len(text.ids), storing.length) for text in texts)
    facts = Facts(
        teacher=author.name,
        fingerprint=author.fingerprint,
        tokenizer=author.tokenizer,
        temperature=storing.temperature,
        k=min(storing.k or 0, vocab),
        vocab=vocab,
        longest=longest,
        texts=len(texts),
        rows=rows,
        per_shard=storing.per_shard,
        digest=_digest(texts, storing.length),
    )
    if storing.k is not None:
        return facts
    return replace(facts, k=min(_within(facts, storing.budget), vocab))


def _within(facts: Facts, budget: float) -> int:
    """How many ids a row may have; a small folder may be larger by what it says of itself."""
    each = replace(facts, k=1).row_bytes - facts.row_bytes
    k = int((budget - facts.row_bytes) // each)
    if replace(facts, k=k).bytes > SMALL:
        k = int((budget * facts.rows - facts.bytes) // (each * facts.rows))
    if k < 1:
        least = facts.bytes / facts.rows + each
        raise BadInput(f"{budget:g} bytes a token hold no id; {least:.0f} would: raise the budget")
    return k


def _digest(texts: Iterable[Text], length: int) -> str:
    digest = hashlib.sha256()
    for text in texts:
        counts = [weight > 0 for weight in text.weights[:length]]
        digest.update(json.dumps([text.number, text.ids[:length], counts]).encode())
    return digest.hexdigest()[:16]


def _same(begun: Facts, asked: Facts, folder: Path) -> None:
    now = asdict(asked)
    for name, value in asdict(begun).items():
        if now[name] != value:
            raise BadInput(
                f"{folder} was begun with {name} {value!r}, and now it is {now[name]!r}; give a new folder, or what "
                f"it was begun with"
            )


@torch.no_grad()
def _laws(teacher: Teacher, texts: Sequence[Text], storing: Storing) -> Iterable[Tensor]:
    """logp_XV of the positions that count, softened, some at a time."""
    batch = padded(texts, storing.length)
    at = Positions.of(batch)
    signal: Signal = teacher.signal(batch, at)
    for first in range(0, len(at), ROWS_AT_ONCE):
        law = signal.law(slice(first, min(first + ROWS_AT_ONCE, len(at)))).softened(storing.temperature)
        yield whole(law).float()


def _shard(teacher: Teacher, texts: list[Text], facts: Facts, storing: Storing) -> Parts:
    """Texts of like length are read together."""
    order = sorted(texts, key=lambda text: (len(text.ids), text.number))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, len(order), storing.batch):
        for logp_XV in _laws(teacher, order[first : first + storing.batch], storing):
            found.append(tuple(part.cpu() for part in best(logp_XV, facts.k)))  # type: ignore[arg-type]
    ids_RK, logp_RK, rest_R = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    places = [_places(text, storing.length) for text in order]
    sums = [checks(text.ids[: storing.length])[at_R] for text, at_R in zip(order, places, strict=True)]
    parts = {
        "number_S": np.array([text.number for text in order], dtype=np.int32),
        "stop_S": np.cumsum([len(at_R) for at_R in places], dtype=np.int32),
        "at_R": np.concatenate(places).astype(np.uint16 if facts.longest <= NARROW else np.int32),
        "check_R": np.concatenate(sums),
        "low_RK": (ids_RK % NARROW).astype(np.uint16),
        "logp_RK": logp_RK.astype(np.float16),
        "rest_R": rest_R.astype(np.float16),
    }
    return parts if facts.vocab <= NARROW else {**parts, "high_RK": (ids_RK // NARROW).astype(np.uint8)}


def _places(text: Text, length: int) -> np.ndarray:
    """Positions that count: those whose next id has a weight."""
    return np.nonzero(np.array(text.weights[1:length]) > 0)[0]


def _lost(logp_XV: Tensor, ids_XK: Tensor, logp_XK: Tensor, rest_X: Tensor) -> Tensor:
    """KL of the law from what is read back, nats_X."""
    known = torch.cat([logp_XK, rest_X[:, None]], -1).log_softmax(-1)
    others = max(1, logp_XV.shape[-1] - ids_XK.shape[-1])
    back_XV = (known[:, -1:] - math.log(others)).expand_as(logp_XV).scatter(-1, ids_XK, known[:, :-1])
    return (logp_XV.exp() * (floored(logp_XV) - floored(back_XV))).sum(-1)
