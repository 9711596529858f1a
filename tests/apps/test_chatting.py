"""Conversations: what was read is not read again, and the text is that of the same messages asked at once."""

import json
from dataclasses import replace

import pytest

from decant.apps.api import generate
from decant.apps.chatting import Talk, remembering
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.session import Limits, open_session
from decant.apps.transcripts import refuse_overwriting, resumed, saved
from decant.errors import BadInput
from decant.models.causal import CHUNK
from decant.models.fast.lean import Lean

LONG = "Take 1, then add 2. " * 30
WARM = Sampling(temperature=1.0)


def talk(target, draft=None, sampling=WARM, max_tokens=12, **more) -> Talk:
    """With a draft model where one is given, else plainly."""
    method = "draft-model" if draft else "plain" if target.masked is None else None
    target, draft = remembering(Opening(), target, draft, method)
    return Talk(open_session(target, draft, sampling, Opening(), method=method), Limits(max_tokens), **more)


def said(talk: Talk, text: str):
    answer = talk.ask(text)
    assert "".join(answer) == answer.turn.said.text
    return talk.keep(answer)


@pytest.fixture
def rows(monkeypatch):
    """Rows that targets and drafts read of prompts, counted where they are computed."""
    counted: list[int] = []
    own = Lean.prefill
    monkeypatch.setattr(
        Lean, "prefill",
        lambda self, cache, spans, *rest: counted.append(sum(one.count for one in spans))
        or own(self, cache, spans, *rest),
    )  # fmt: skip
    return counted


def test_every_answer_is_that_of_the_same_messages_asked_at_once(target, draft):
    one = talk(target, draft, seed=3, system="Be short.")
    messages = [{"role": "system", "content": "Be short."}]
    for question in (LONG, "And 4?", "Naïve?"):
        messages += [{"role": "user", "content": question}]
        whole = generate(target, messages, draft=draft, temperature=1.0, seed=3, max_tokens=12)
        assert said(one, question).said.tokens == whole.tokens
        messages += [{"role": "assistant", "content": whole.text}]
    assert one.messages == messages[1:]


def test_a_turn_reads_only_what_is_new(target, rows):
    one = talk(target, max_tokens=150)
    first = said(one, LONG)
    assert sum(rows) == first.prompt - 1 > 2 * CHUNK
    assert first.read == first.prompt
    while not one.ahead():
        pass
    rows.clear()
    second = said(one, "And 4?")
    before = one.messages[:2]
    asked = [target.encode_chat([*before, {"role": "user", "content": text}]) for text in ("And 4?", "Zebra")]
    new = second.prompt - next(at for at, pair in enumerate(zip(*asked, strict=False)) if pair[0] != pair[1])
    assert second.prompt - new > first.prompt + CHUNK, "there is an answer of several chunks in between"
    assert sum(rows) == second.read - 1 < CHUNK + new, "more than what lies behind the last whole chunk was read"


def test_what_is_not_kept_is_read_again(target, rows):
    """The planted fault: a session that keeps nothing, which the counts above must tell from one that does."""
    session = open_session(target, None, WARM, Opening(), method="plain")
    one = Talk(session, Limits(12))
    said(one, LONG)
    assert one.ahead(), "there is nothing to read ahead"
    rows.clear()
    second = said(one, "And 4?")
    assert sum(rows) == second.prompt - 1
    assert second.read == second.prompt


def test_a_draft_keeps_what_it_read_too(target, draft, rows):
    one = talk(target, draft)
    said(one, LONG)
    while not one.ahead():
        pass
    rows.clear()
    second = said(one, "And 4?")
    assert sum(rows) < 2 * CHUNK + 2 * 40
    assert sum(rows) < second.prompt


def test_reading_ahead_changes_no_text(target, draft):
    texts = []
    for eager in (False, True):
        one = talk(target, draft, max_tokens=14)
        said(one, LONG + "Take 1. " * 9)
        while eager and not one.ahead():
            pass
        texts.append(said(one, "And 4?").said.tokens)
    assert texts[0] == texts[1]


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(target):
    one = talk(target, max_tokens=20)
    whole = talk(target, max_tokens=20)
    full = said(whole, "Take 1").said
    answer = one.ask("Take 1")
    for new in answer:
        if new:
            answer.stop()
    turn = one.keep(answer)
    assert turn.stopped
    assert turn.report()["reason"] == "stopped"
    assert 0 < len(turn.said.tokens) < len(full.tokens)
    assert full.tokens[: len(turn.said.tokens)] == turn.said.tokens
    assert one.messages[-1]["content"] == turn.said.text
    assert said(one, "Take 2").said.reason == "length", "the next answer runs"


def test_an_answer_that_is_stopped_at_once_leaves_no_trace(target):
    one = talk(target)
    answer = one.ask(LONG)
    answer.stop()
    assert list(answer) == [""]
    turn = one.keep(answer)
    assert (turn.said.steps, turn.ttft, one.messages) == (0, None, [])


def test_an_answer_that_is_broken_off_is_out_of_the_way(target):
    one, alone = talk(target), talk(target)
    for _ in one.ask("Take 1"):
        break
    assert said(one, "Take 2").said.tokens == said(alone, "Take 2").said.tokens


def test_trying_again_takes_another_seed_and_the_place_of_the_answer(target):
    one = talk(target)
    first = said(one, "Take 1")
    turns = [one.keep(answer, again=True) for answer in _ended(one.again() for _ in range(2))]
    assert len({tuple(turn.said.tokens) for turn in (first, *turns)}) == 3
    assert [message["content"] for message in one.messages] == ["Take 1", turns[-1].said.text]
    said(one, "Take 2")
    assert one.turns[-1].seed == 0


def test_plain_decoding_says_the_same_and_is_not_kept(target, draft):
    one = talk(target.exactly(True), draft, max_tokens=20)
    said(one, "Take 1")
    one.keep(*_ended([one.again()]), again=True)
    before = list(one.messages)
    (plain,) = _ended([one.plain()])
    assert plain.turn.said.tokens == one.turns[-1].said.tokens
    assert plain.turn.said.acceptance_length == 1.0 < one.turns[-1].said.acceptance_length
    assert one.messages == before


def test_a_full_context_is_told_of_beforehand(target):
    one = talk(target, max_tokens=40)
    said(one, "Take 1, then add 2. " * 36)
    assert one.filling() is None
    said(one, "Take 1, then add 2. " * 47)
    assert f"1,024 tokens and {one.room:,} are left" in str(one.filling())
    with pytest.raises(BadInput, match=r"have 1,\d+ tokens, but the context .* holds 1,024.*/forget drops"):
        one.ask(LONG)
    before = one.room
    one.forget()
    assert len(one.messages) == 2
    assert one.room > before
    said(one, "Take 1")
    one.clear()
    assert (one.messages, one.room) == ([], target.model.context)
    for nothing in (one.forget, one.again, one.plain):
        with pytest.raises(BadInput, match="nothing was asked yet"):
            nothing()


def test_the_reply_is_that_of_a_server(target, draft):
    turn = said(talk(target, draft), "Take 1")
    assert turn.reply() == {
        "method": "draft-model",
        "promise": "tokens",
        "acceptance_length": 12 / turn.said.steps,
        "target_calls": turn.said.steps,
        "tokens": 12,
        "drafted": sum(turn.said.drafted),
        "ttft_seconds": turn.ttft,
        "tokens_per_second": 12 / turn.seconds,
    }
    assert 0 < turn.ttft < turn.seconds


def test_a_model_that_fills_in_masks_talks_too(filler):
    one = talk(filler, sampling=Sampling(), max_tokens=8)
    for _ in range(2):
        turn = said(one, "Take 1")
        assert turn.read == turn.prompt < filler.model.context
        assert len(turn.said.tokens) <= 8


def test_without_a_chat_template_nobody_talks(target):
    class Bare:
        chat_template = None

    with pytest.raises(BadInput, match=r"has no chat template.*decant generate"):
        talk(replace(target, tokenizer=Bare()))


def test_a_template_that_refuses_a_system_prompt_is_a_sentence(target):
    class Strict:
        chat_template = "there"
        added_tokens_decoder: dict[int, object] = {}  # noqa: RUF012

        def apply_chat_template(self, messages, **more):
            if messages[0]["role"] == "system":
                raise ValueError("System role not supported")
            return "x"

        def __call__(self, *given, **more):
            return target.tokenizer(*given, **more)

    one = talk(replace(target, tokenizer=Strict()))
    with pytest.raises(BadInput, match="refuses these messages: System role not supported"):
        one.system = "Be short."
    assert one.system == ""


def test_a_conversation_goes_on_from_its_file(target, tmp_path):
    one, path = talk(target, system="Be short."), tmp_path / "talk.json"
    said(one, "Take 1")
    saved(one.report(), path)
    assert json.loads(path.read_text())["model"] == target.name
    assert [file.name for file in tmp_path.iterdir()] == ["talk.json"]
    system, messages, model = resumed(path)
    other = talk(target, system=system)
    other.messages = messages
    assert (model, other.messages) == (target.name, one.messages)
    assert said(other, "Take 2").said.tokens == said(one, "Take 2").said.tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "cannot be read: it is not JSON"),
        ('[{"role": "user", "content": "a"}]', "has messages of user; a conversation is user and assistant by turns"),
        ('{"messages": [1]}', "messages is a list of"),
    ],
)
def test_a_file_that_is_no_conversation_is_a_sentence(tmp_path, text, message):
    path = tmp_path / "talk.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=message):
        resumed(path)


def test_a_bare_list_of_messages_will_do(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([{"role": role, "content": role} for role in ("system", "user", "assistant")]))
    assert resumed(path) == ("system", [{"role": role, "content": role} for role in ("user", "assistant")], None)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    path = tmp_path / "talk.json"
    refuse_overwriting(path, None)
    path.write_text("")
    refuse_overwriting(path, path)
    with pytest.raises(BadInput, match=r"is there already; --resume .* goes on"):
        refuse_overwriting(path, None)
    with pytest.raises(BadInput, match=r"cannot be saved as .*No such file"):
        saved({}, tmp_path / "nowhere" / "talk.json")


def test_room_for_nothing_is_refused(target):
    with pytest.raises(BadInput, match="prefix_mb is more than 0, got 0"):
        remembering(Opening(), target, None, None, 0.0)


def _ended(answers):
    for answer in answers:
        for _ in answer:
            pass
        yield answer
