"""What drafters learnt, kept on disk between runs: `--draft-store`. No text ever depends on it.

One file for each drafter, its knobs and the vocabulary whose ids it learnt. A file is replaced whole or not at all, and
one that is not what it should be is left aside and replaced at the next save.
"""

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from decant.apps.knobs import knobs_of
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.protocols import Stored

LOG = logging.getLogger(__name__)
FORMAT: Final = "1"
PARTIAL: Final = ".partial"
HEADER: Final = 4096  # bytes of a file beside its tensors, at most
MEGABYTE: Final = 2**20
ABANDONED: Final = 600.0  # seconds after which nobody is still writing

D = TypeVar("D")


@final
@dataclass(frozen=True, slots=True)
class DraftStore:
    """A folder of what drafters learnt, of at most `megabytes`. Raises BadInput for a size of 0 or a file.

    Two runs at a time do no harm; what the later one writes counts.
    """

    folder: Path
    megabytes: float = 256.0

    def __post_init__(self) -> None:
        if not self.megabytes > 0:
            raise BadInput(f"a draft store has more than 0 MB, got {self.megabytes:g}; leave the option out for none")
        if self.folder.exists() and not self.folder.is_dir():
            raise BadInput(f"the draft store {self.folder} is a file; name a folder")

    def restored(self, drafter: D, target: Loaded) -> D:
        """The drafter, knowing what earlier runs learnt. As it is where it learns nothing or nothing is stored; and,
        with a warning, where what is stored cannot be used."""
        if not isinstance(drafter, Stored):
            return drafter
        asked = fingerprint(drafter, target)
        path = self._path(drafter, asked)
        if not path.exists():
            return drafter
        try:
            return drafter.restored(_read(path, asked))
        except (OSError, SafetensorError, BadInput, ValueError, KeyError) as error:
            LOG.warning(
                "the draft store %s is not used (%s); this run starts with an empty one and replaces it", path, error
            )
            return drafter

    def save(self, drafter: Any, state: Any, target: Loaded) -> None:
        """Keep what the drafter, its own, learnt up to `state`; then let go of the files longest unused until the
        folder fits. Nothing where it learns nothing; a warning where the folder cannot be written."""
        if not isinstance(drafter, Stored):
            return
        asked = fingerprint(drafter, target)
        room = max(0, int(self.megabytes * MEGABYTE) - HEADER)
        tensors = {name: part.contiguous().cpu() for name, part in drafter.stored(state, room).items()}
        said = {"format": FORMAT, "fingerprint": asked, "checksum": checksum(tensors)}
        path = self._path(drafter, asked)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            _write(path, tensors, said)
            self._shrink(path)
        except (OSError, SafetensorError) as error:
            LOG.warning("what was learnt is not kept: %s cannot be written (%s)", path, error)

    def _path(self, drafter: object, asked: str) -> Path:
        return self.folder / f"{type(drafter).__name__.lower()}-{asked[:16]}.safetensors"

    def _sweep(self) -> None:
        """What runs left behind that were killed while they wrote; not what another is writing now."""
        for left in self.folder.glob(f"*{PARTIAL}"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink(missing_ok=True)

    def _shrink(self, newest: Path) -> None:
        """The file just written fits alone; others go, the oldest first."""
        files = sorted(self.folder.glob("*.safetensors"), key=lambda file: (file == newest, file.stat().st_mtime))
        size = sum(file.stat().st_size for file in files)
        for file in files[:-1]:
            if size <= self.megabytes * MEGABYTE:
                return
            size -= file.stat().st_size
            file.unlink()


def fingerprint(drafter: Any, target: Loaded) -> str:
    """Whose ids and which knobs: what a stored file must agree about."""
    knobs = {name: getattr(drafter, name) for name in knobs_of(type(drafter))}
    spelling = None if target.tokenizer is None else sorted(target.tokenizer.get_vocab().items())
    parts = [type(drafter).__name__, knobs, target.model.vocab, spelling]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def checksum(tensors: dict[str, Tensor]) -> str:
    """Of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, part in sorted(tensors.items()):
        digest.update(f"{name} {part.dtype} {tuple(part.shape)};".encode())
        digest.update(part.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, asked: str) -> dict[str, Tensor]:
    """Raises BadInput for a file of somebody else's, or one whose bytes have changed."""
    with safe_open(path, "pt") as file:
        said = file.metadata() or {}
        if (said.get("format"), said.get("fingerprint")) != (FORMAT, asked):
            raise BadInput("it was written for another vocabulary, drafter or version")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    if checksum(tensors) != said.get("checksum"):
        raise BadInput("its checksum is wrong")
    return tensors


def _write(path: Path, tensors: dict[str, Tensor], said: dict[str, str]) -> None:
    """Beside it first, then in its place."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    save_file(tensors, partial, said)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
