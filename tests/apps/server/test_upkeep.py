"""What a server's drafter learns: kept while it serves and when it stops, and shared between cranks."""

import asyncio
import logging
from pathlib import Path

import pytest
from safetensors.torch import load_file

from decant.apps import keeping
from decant.apps.opening import Opening
from decant.apps.prompts import text_prompt
from decant.apps.sampling import Sampling
from decant.apps.server.asking import Asked
from decant.apps.server.sample import Tally
from decant.apps.session import Limits, open_session
from decant.apps.store import DraftStore
from tests.apps.server.conftest import until


@pytest.fixture
def started(serving, target, tmp_path: Path):
    """A server of a method, over one store."""

    def start(method: str = "token-recycling"):
        session = open_session(target, None, Sampling(), Opening(), method=method, store=DraftStore(tmp_path / "kept"))
        return serving(session=session).engine

    return start


def said(engine, prompt: str = "Take 1, then add 2.", temperature: float = 0.0) -> tuple[str, Tally]:
    """A text, and how it came about."""
    call = Asked((text_prompt(prompt, "the prompt"),), Sampling(temperature=temperature), Limits(24), seed=0)

    async def one() -> tuple[str, Tally]:
        ticket = engine.submit(call)
        await ticket.accepted()
        pieces = [piece async for piece in ticket.pieces()]
        return "".join(piece.text for piece in pieces), pieces[-1].tally

    return asyncio.run(one())


def known(folder: Path) -> set[int]:
    """Tokens of which something was learnt."""
    (file,) = folder.glob("*.safetensors")
    return set(load_file(file)["tokens"].tolist())


@pytest.mark.parametrize("method", ["token-recycling", "suffix", "aded"])
def test_the_next_server_drafts_with_what_this_one_learnt(started, method):
    first = started(method)
    text, fresh = said(first)
    first.stop()
    again, warm = said(started(method))
    assert again == text
    assert warm.steps < fresh.steps


def test_it_is_kept_while_it_serves(started, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    said(started())
    assert until(lambda: bool(list((tmp_path / "kept").glob("*.safetensors"))))


def test_a_crank_that_was_idle_goes_on_with_what_another_learnt(started, target, tmp_path: Path):
    engine = started()
    said(engine, "Take 1", 1.0)
    said(engine, "Naïve café, 日本語.", 0.0)
    said(engine, "Take 1", 1.0)
    engine.stop()
    assert set(target.encode("Naïve café, 日本語.")[1:]) <= known(tmp_path / "kept")


def test_a_store_that_cannot_be_written_stops_nothing(started, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    engine = started()
    (tmp_path / "kept").write_text("a file since")
    with caplog.at_level(logging.WARNING, logger="decant"):
        text, _ = said(engine)
        assert until(lambda: "what was learnt is not kept" in caplog.text)
        assert said(engine)[0] == text
        engine.stop()
