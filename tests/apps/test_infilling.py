"""Texts with gaps: how they are spelt, what ends in them mean, and who is refused."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.apps.api import generate, stream
from decant.apps.infilling import Infill, Laid, encode
from decant.apps.prompts import Prompt
from decant.decoders.stopping import Stopping
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded
from tests.apps.conftest import MASK

TEXT = "Take 1,[MASK:5] then add 2.[MASK:3]\n"


@dataclass(frozen=True)
class Script:
    """Says what is written, place by place; the further left, the surer."""

    says: tuple[int, ...]
    mask: int
    vocab: int

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> None:
        return None

    def predict(self, state: None, canvas_BL: Tensor, fresh: Any, wanted_BL: Tensor) -> tuple[None, Tensor]:
        place_N = wanted_BL.nonzero()[:, 1]
        logits_NV = torch.zeros(len(place_N), self.vocab)
        logits_NV[torch.arange(len(place_N)), torch.tensor(self.says)[place_N]] = 30.0 - place_N
        return None, logits_NV.index_fill(-1, torch.tensor([self.mask]), -torch.inf)

    def cache_bytes(self, tokens: Any) -> int:
        return 0


@pytest.fixture
def scripted(filler: Loaded):
    """A model that says these ids, and otherwise is the filler."""

    def saying(says: list[int]) -> Loaded:
        return replace(filler, masked=Script(tuple(says), filler.masked.mask, filler.masked.vocab))

    return saying


def test_gaps_are_filled_in_and_everything_given_stays(filler) -> None:
    said = generate(filler, Infill(TEXT), temperature=0)
    front, back = TEXT.split("[MASK:5]")[0], "\n"
    assert said.text.startswith(front)
    assert " then add 2." in said.text[len(front) :]
    assert said.text.endswith(back)
    assert said.steps == 8, "one place a step"
    assert said.filled is not None
    assert said.filled <= 8 < len(said.tokens)


def test_each_piece_is_spelt_alone(filler) -> None:
    """Together "ad" and "d" would be one token."""
    (ids,) = encode([Infill("Take 1, ad[MASK:2]d 2")], filler)
    mask = filler.masked.mask
    assert ids == [*filler.encode("Take 1, ad"), mask, mask, *filler.encode("d 2")]
    (ids,) = encode([Infill("[MASK:1][MASK:2]")], filler)
    assert ids == [mask] * 3


@pytest.mark.parametrize("said", [MASK, "<|endoftext|>", "<|end|>"])
def test_text_spells_no_special_token(filler, said: str) -> None:
    special = set(filler.tokenizer.all_special_ids) | {filler.masked.mask}
    assert filler.tokenizer.convert_tokens_to_ids(said) in special
    (ids,) = encode([Infill(f"a {said} b[MASK:2] c {said}[MASK:1]{said}")], filler)
    assert {token for token in ids if token in special} == {filler.masked.mask}
    assert ids.count(filler.masked.mask) == 3
    (ids,) = encode([Prompt("the prompt", f"a {said} b")], filler)
    assert not special & {*ids}
    (chat,) = encode([Prompt("the prompt", messages=({"role": "user", "content": f"a {said} b"},))], filler)
    (usual,) = encode([Prompt("the prompt", messages=({"role": "user", "content": "a b"},))], filler)
    assert [token for token in chat if token in special] == [token for token in usual if token in special]
    assert said in generate(filler, Infill(f"{said}[MASK:1] {said}"), temperature=0).text


def test_a_gap_in_an_ordinary_prompt_stays_text(filler) -> None:
    (ids,) = encode([Prompt("the prompt", "a[MASK:3]b")], filler)
    assert filler.masked.mask not in ids
    assert filler.decode(ids) == "a[MASK:3]b"


def test_a_mask_that_text_can_spell_is_refused(filler) -> None:
    """A tokenizer may not know that its mask is a special token."""
    (plain,) = filler.encode("x")
    careless = replace(filler, masked=Script((0,), plain, filler.masked.vocab))
    with pytest.raises(BadInput, match=r"^the prompt spells the mask of .*; leave it out, or write \[MASK:n\]"):
        generate(careless, "x")
    for asked in (Prompt("the prompt", "x"), Infill("x[MASK:1]"), Infill("1[MASK:1]x")):
        with pytest.raises(BadInput, match="spells the mask"):
            encode([asked], careless)


def test_an_end_in_a_gap_says_that_no_more_comes_there(scripted, filler) -> None:
    (end,), (a,), (b,) = filler.ends, filler.encode("1"), filler.encode("2")
    (ids,) = encode([Infill("Take[MASK:3]add[MASK:4]")], filler)
    given = len(filler.encode("add"))
    says = [a, end, end, *[0] * given, b, end, end, end]
    said = generate(scripted(says), Infill("Take[MASK:3]add[MASK:4]"), temperature=0)
    assert said.text == "Take1add2"
    assert (said.reason, said.filled) == ("stop", 4), "of each gap one word and one end"
    assert said.tokens == [a, end, end, *filler.encode("add"), b, end]
    assert len(ids) == len(filler.encode("Take")) + 7 + given

    empty = generate(scripted([end] * 3 + [0] * given), Infill("Take[MASK:3]add"), temperature=0)
    assert (empty.text, empty.filled, empty.reason) == ("Takeadd", 1, "length")


def test_an_end_in_front_of_what_is_given_ends_nothing() -> None:
    stopping = Stopping(6, frozenset({9}), ends_from=3)
    assert stopping.cut([9, 1, 9]) == ([9, 1, 9], None)
    assert stopping.cut([9, 1, 9, 9, 5], seen=3) == ([9, 1, 9, 9], "stop")


def test_places_and_ends_are_counted_by_gap() -> None:
    laid = Laid([], 8, str, True, True, frozenset({2, 5}))
    assert laid.ends_from == 6
    assert laid.filled([1, 9, 9, 9, 9, 9, 7, 9], frozenset({9})) == 2 + 1 + 2
    assert laid.filled([9, 9, 1, 9, 1], frozenset({9})) == 1 + 2, "what comes behind an end still counts"
    assert Laid([], 8, str, True).filled([1, 9], frozenset({9})) is None


def test_requests_in_company_say_what_they_say_alone(filler) -> None:
    """Templates and prompts of unequal lengths, three at a time."""
    asked = [
        "Take 1, then",
        Infill(TEXT),
        "Take 30, then add 4. The answer is",
        Infill("[MASK:2] 3"),
        Infill("1[MASK:7]"),
    ]
    drawn = {"temperature": 1.0, "max_tokens": 9, "seed": 3}
    together = generate(filler, asked, method="threshold:tau=0.3", batch=3, **drawn)
    alone = [generate(filler, one, method="threshold:tau=0.3", **drawn) for one in asked]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.text for one in together] == [one.text for one in alone]
    assert [one.steps for one in together] == [one.steps for one in alone]


@pytest.mark.parametrize("method", ["plain", "threshold:schedule=full:cache=dual", "freedave", "remdm", "prophet"])
def test_every_way_to_settle_keeps_what_is_given(filler, method: str) -> None:
    text = generate(filler, Infill(TEXT), method=method, temperature=0).text
    assert text.startswith("Take 1,")
    assert " then add 2." in text
    assert text.endswith("\n")


def test_a_template_streams(filler) -> None:
    pieces = stream(filler, Infill(TEXT), temperature=0)
    text = "".join(pieces)
    assert text == pieces.completion.text == generate(filler, Infill(TEXT), temperature=0).text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no gap", r"^the template has no gap to fill in; write \[MASK:n\]"),
        ("a [MASK] b", r"^the template has no gap to fill in; write \[MASK:n\]"),
        ("a[MASK:0]", r"^the template: \[MASK:0\] has no number of places; write \[MASK:n\], n 1 or more$"),
        ("a[MASK:2] b [MASK:-1]", r"\[MASK:-1\] has no number of places"),
        ("a[MASK:]", r"\[MASK:\] has no number of places"),
        ("a[MASK:9999999999]", r"\[MASK:9999999999\] has no number of places"),
    ],
)
def test_templates_without_places_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Infill(text)


def test_who_cannot_fill_in_is_told_why(filler, target) -> None:
    with pytest.raises(IncompatibleParts, match="speaks from left to right and cannot fill in gaps; take a model that"):
        generate(target, Infill(TEXT))
    with pytest.raises(BadInput, match=r"^the template has 3 tokens and 999,999,999 places .* holds 160; open fewer"):
        generate(filler, Infill("1, 2[MASK:999999999]" if len(filler.encode("1, 2")) == 3 else "123[MASK:999999999]"))
    with pytest.raises(BadInput, match="stop 'x' would cut a template, of which the whole text is given back"):
        generate(filler, Infill(TEXT), stop="x")
    with pytest.raises(IncompatibleParts, match="end-of-text drops what lies behind an end token"):
        generate(filler, Infill(TEXT), method="end-of-text")
    assert generate(filler, Infill("Take 1[MASK:4]"), method="end-of-text", temperature=0).text.startswith("Take 1")


def test_a_template_may_fill_the_context_to_its_end(filler) -> None:
    front = filler.encode("Take")
    said = generate(filler, Infill(f"Take[MASK:{160 - len(front)}]"), method="threshold:tau=0.01", temperature=0)
    assert said.reason is not None
    with pytest.raises(BadInput, match="open fewer places"):
        generate(filler, Infill(f"Take[MASK:{161 - len(front)}]"))


def test_places_of_a_canvas_are_counted_once(filler) -> None:
    needed = filler.masked.cache_bytes([len(filler.encode("Take 1,")) + 8]) / 2**20
    assert generate(filler, "Take 1,", max_tokens=8, cache_mb=1.01 * needed).steps == 8
    with pytest.raises(BadInput, match="of cache, and there are"):
        generate(filler, "Take 1,", max_tokens=8, cache_mb=0.99 * needed)
