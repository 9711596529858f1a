"""Files are whole or not there, and a disk that refuses is told in a sentence, whoever writes."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from decant.disk import append, replacing, write_text, writing
from decant.errors import BadInput
from tests.filling import full

AFTER = 5000  # bytes: some are on the disk before it refuses


def _torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(torch.zeros(AFTER), file)


def _half(path: Path, end: type[BaseException] | BaseException) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise end


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("a" * 2 * AFTER),
    "torch": _torch,
    "safetensors": lambda path: save_file({"a": np.zeros(AFTER)}, path),
    "tokenizers": lambda path: Tokenizer(WordLevel({str(at): at for at in range(AFTER)}, "0")).save(str(path)),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("before", [None, "before"])
def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path, writer, before) -> None:
    path = tmp_path / "one"
    if before:
        path.write_text(before)
    kept = "the one of before is whole" if before else "nothing was there before"
    with (
        pytest.raises(BadInput, match=rf"{path} could not be written: File too large; {kept}. Make room, then start"),
        full(AFTER),
        replacing(path) as part,
    ):
        writer(part)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_what_is_no_failure_of_the_disk_is_not_called_one(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        _half(tmp_path / "one", RuntimeError("no memory"))
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_what_was_there(tmp_path) -> None:
    write_text(tmp_path / "one", "before")
    with pytest.raises(KeyboardInterrupt):
        _half(tmp_path / "one", KeyboardInterrupt)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_what_room_does_not_mend_is_not_said_to_need_room(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"could not be written: .*See to it that it can be written, then start the"):
        write_text(tmp_path / "file" / "one", "text")


def test_a_system_error_in_a_sentence_of_rust_is_read(tmp_path) -> None:
    said = os.strerror(errno.ENOSPC)
    with (
        pytest.raises(BadInput, match=rf"{tmp_path} could not be written: {said}; all is well. Make room"),
        writing(tmp_path, "all is well"),
    ):
        raise ValueError(f"Error while serializing: I/O error: {said} (os error {errno.ENOSPC})")


def test_lines_are_added(tmp_path) -> None:
    path = tmp_path / "new" / "lines"
    append(path, "one", "")
    append(path, "two", "")
    with (
        pytest.raises(BadInput, match=r"lines could not be written: File too large; two are kept"),
        full(9),
    ):
        append(path, "three", "two are kept")
    assert path.read_text().splitlines()[:2] == ["one", "two"]
