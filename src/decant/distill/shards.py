"""Rows of a teacher's laws on disk: what a cache says of itself, and its shards.

A row is what follows one position of a text: the best ids, their log-probabilities and that of all others together. A
shard is a safetensors file of some texts' rows, written whole or not at all, mapped into memory, and held against its
checksum when it is first read.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, final

import numpy as np
from safetensors.numpy import save_file

from decant.disk import replacing, write_text
from decant.errors import BadInput

FORMAT: Final = 1
FACTS: Final = "cache.json"
ROWS: Final = "row r follows id r: it predicts id r + 1"
NARROW: Final = 2**16  # ids, and places, below this take two bytes
KINDS: Final = {"U8": np.uint8, "U16": np.uint16, "I32": np.int32, "F16": np.float16}
HEADER: Final = 620  # bytes of a shard beside its rows, about
SAID: Final = 330  # bytes of cache.json, about

Parts = dict[str, np.ndarray]
"""What a shard holds of S texts with R rows of K ids.

number_S: which text. stop_S: behind its last row. at_R: the position in its text. check_R: of the ids up to there.
low_RK, and high_RK above 65536 ids: the ids, best first. logp_RK, rest_R: float16 nats.
"""


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """What a cache says of itself.

    teacher, fingerprint: who thought so. tokenizer: the hash of whose ids these are. temperature: of the laws.
    k: ids of a row. vocab: how many there are. longest: ids of a text. texts, rows: how many. per_shard: texts.
    digest: of all texts.
    """

    teacher: str
    fingerprint: str
    tokenizer: str
    temperature: float
    k: int
    vocab: int
    longest: int
    texts: int
    rows: int
    per_shard: int
    digest: str
    format: int = FORMAT
    convention: str = ROWS

    @property
    def shards(self) -> int:
        """How many, once it is finished."""
        return -(-self.texts // self.per_shard)

    @property
    def row_bytes(self) -> int:
        """Ids and nats, the rest, the check, the place."""
        each = 4 if self.vocab <= NARROW else 5
        return each * self.k + 2 + 2 + (2 if self.longest <= NARROW else 4)

    @property
    def bytes(self) -> int:
        """Of the whole folder, about."""
        return self.rows * self.row_bytes + 8 * self.texts + self.shards * HEADER + SAID

    def write(self, folder: Path) -> None:
        """Whole or not at all. Raises BadInput."""
        write_text(folder / FACTS, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """Raises BadInput for a folder that is no cache, or one of another version."""
        try:
            said = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            known = said.get("format")
            if known == FORMAT:
                return cls(**said)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{folder} is no cache of a teacher's laws ({FACTS}: {error}); write one first, or name another folder"
            ) from error
        raise BadInput(f"{folder} has the format {known}, and this version reads {FORMAT}; write the cache anew")


def checks(ids: Sequence[int]) -> np.ndarray:
    """check_T, uint16: of the ids up to each; two different beginnings share one once in 65536 times."""
    sums, running = [], 0
    for token in ids:
        running = zlib.crc32(int(token).to_bytes(4, "little"), running)
        sums.append(running & 0xFFFF)
    return np.array(sums, dtype=np.uint16)


def place(folder: Path, shard: int) -> Path:
    """The file of a shard."""
    return folder / f"{shard:06d}.safetensors"


def put(path: Path, parts: Parts) -> None:
    """Write a shard, whole or not at all; the same parts make the same bytes. Raises BadInput."""
    with replacing(path) as part:
        save_file(parts, part, {"checksum": checksum(parts)})  # one entry: several have no order


def checksum(parts: Mapping[str, np.ndarray]) -> str:
    """Of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part.dtype} {part.shape};".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


@final
@dataclass(frozen=True, eq=False)
class Shard:
    """A file. `mapped` reads what it says of itself; `sound` all of it, once. Both raise BadInput."""

    path: Path

    @cached_property
    def mapped(self) -> Parts:
        """Views of the file; nothing is in memory until it is touched."""
        return self._read[0]

    @cached_property
    def sound(self) -> Parts:
        """The same, held against the checksum."""
        parts, said = self._read
        if checksum(parts) != said:
            raise self._broken("its checksum is wrong")
        return parts

    @cached_property
    def _read(self) -> tuple[Parts, str]:
        try:
            raw = np.memmap(self.path, dtype=np.uint8, mode="r")
            start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
            header = json.loads(raw[8:start].tobytes())
            said = header.pop("__metadata__")["checksum"]
            parts = {name: _view(raw[start:], entry) for name, entry in header.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error
        return parts, said

    def _broken(self, why: str) -> BadInput:
        return BadInput(f"{self.path} is damaged ({why}); delete that file and write the cache again: it alone is made")


def _view(raw: np.ndarray, entry: dict) -> np.ndarray:
    first, stop = entry["data_offsets"]
    return raw[first:stop].view(KINDS[entry["dtype"]]).reshape(entry["shape"])
