"""What drafters learnt, kept on disk between runs: `--draft-store`. No text ever depends on it.

One file for each drafter, its knobs and the vocabulary whose ids it learnt. A file is replaced whole or not at all, and
one that is not what it should be is left aside and replaced at the next save.
"""

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from decant.apps.catalog import DRAFTERS, METHODS
from decant.apps.knobs import knobs_of
from decant.decoders.continuous import Continuous
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
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

    def recalling(self, method: Method, target: Loaded) -> Method:
        """The method, whose drafter knows what earlier runs learnt; with a warning, as it is, where it has none that
        stores anything."""
        decoder = method.decoder
        if not isinstance(decoder, Speculative) or not isinstance(decoder.drafter, Stored):
            LOG.warning(
                "%s learns nothing that a draft store could keep, and --draft-store does nothing; %s do",
                method.name, ", ".join(storing()),
            )  # fmt: skip
            return method
        return replace(method, decoder=replace(decoder, drafter=self.restored(decoder.drafter, target)))

    def restored(self, drafter: D, target: Loaded) -> D:
        """The drafter, knowing what earlier runs learnt. As it is where it learns nothing or nothing is stored; and,
        with a warning, where what is stored cannot be used."""
        if not isinstance(drafter, Stored):
            return drafter
        asked = fingerprint(drafter, target)
        path = self._path(drafter, asked)
        try:
            if not path.exists():
                return drafter
            return drafter.restored(_read(path, asked))
        except (OSError, SafetensorError, BadInput, ValueError, KeyError) as error:
            LOG.warning(
                "the draft store %s is not used (%s); this run starts with an empty one and replaces it", path, error
            )
            return drafter

    def save(self, drafter: Any, state: Any, target: Loaded) -> bool:
        """Keep what the drafter, its own, learnt up to `state`; then let go of the files longest unused until the
        folder fits. Whether it is kept: not where it learns nothing; nor, with a warning, where the folder cannot be
        written."""
        if not isinstance(drafter, Stored):
            return False
        asked = fingerprint(drafter, target)
        room = max(0, int(self.megabytes * MEGABYTE) - HEADER)
        tensors = {name: part.contiguous().cpu() for name, part in drafter.stored(state, room).items()}
        if not tensors:  # it keeps what a part of it learns, and this one learns nothing
            return False
        said = {"format": FORMAT, "fingerprint": asked, "checksum": checksum(tensors)}
        path = self._path(drafter, asked)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            _write(path, tensors, said)
            self._shrink(path)
        except (OSError, SafetensorError) as error:
            LOG.warning("what was learnt is not kept: %s cannot be written (%s)", path, error)
            return False
        return True

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


def learnt_by(crank: Continuous[Any]) -> tuple[Stored, Any] | None:
    """The drafter, and the state up to which requests that have left taught it; None where nothing can be stored."""
    decoder = crank.decoder
    if crank.taught is None or not isinstance(decoder, Speculative) or not isinstance(decoder.drafter, Stored):
        return None
    return decoder.drafter, crank.taught.drafting


def storing() -> list[str]:
    """Methods whose drafters can be stored."""
    named = [(name, recipe.drafter) for name, recipe in METHODS.items() if recipe.drafter is not None]
    return [name for name, drafter in named if issubclass(DRAFTERS[drafter].get(), Stored)]


def fingerprint(drafter: Any, target: Loaded) -> str:
    """Whose ids and which knobs: what a stored file must agree about."""
    knobs = _knobs(drafter)
    spelt = None if target.tokenizer is None else _spelt(target.tokenizer)
    parts = [type(drafter).__name__, knobs, target.model.vocab, spelt]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@lru_cache(maxsize=1)
def _spelt(tokenizer: Any) -> str:
    """Of its vocabulary. Once: that of 152,000 ids takes 0.4 s."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def _knobs(drafter: Any) -> dict[str, Any]:
    """And those of the parts in it that are stored under its name."""
    inner = {field.name: getattr(drafter, field.name) for field in fields(drafter)}
    stored = {name: [type(part).__name__, _knobs(part)] for name, part in inner.items() if isinstance(part, Stored)}
    return {name: getattr(drafter, name) for name in knobs_of(type(drafter))} | stored


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
