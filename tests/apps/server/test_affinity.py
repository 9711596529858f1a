"""Which calls meet in one replica."""

from decant.apps.prompts import chat_prompt, text_prompt
from decant.apps.sampling import Sampling
from decant.apps.server.affinity import BYTES, session_key
from decant.apps.server.asking import Asked
from decant.apps.session import Limits
from decant.models.causal import CHUNK


def key(source, own=None):
    return session_key(Asked((source,), Sampling(), Limits(4), 0), own)


def said(*contents):
    roles = ["system", *("user", "assistant") * len(contents)]
    return chat_prompt(
        [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)], "the conversation"
    )


def text(said):
    return text_prompt(said, "the prompt")


def test_texts_that_begin_alike_meet():
    head = "x" * BYTES
    assert key(text(head + "one")) == key(text(head + "two")) == key(text(head))
    assert key(text(head[:-1] + "y")) != key(text(head))
    assert key(text("Take 1")) != key(text("Take 2")), "short ones spread"


def test_ids_that_begin_alike_meet():
    head = tuple(range(CHUNK))
    assert key((*head, 1)) == key((*head, 2)) != key((*head[:-1], 2))


def test_later_turns_stay_where_the_first_was():
    first = key(said("Be brief.", "Take 1"))
    assert key(said("Be brief.", "Take 1", "One.", "Take 2")) == first
    assert key(said("Be brief.", "Take 2")) != first
    assert key(said("Be long.", "Take 1")) != first


def test_a_client_may_part_them():
    head = text("x" * BYTES)
    assert key(head, "a") == key(head, "a") != key(head, "b")
    assert key(head, "a") != key(head)
