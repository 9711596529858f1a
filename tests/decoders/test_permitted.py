"""Filling in under a grammar: every output is a text of it, given places stay, and what it permits is left alone."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.caches.dual import Dual
from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.decoders.permitted import permitted
from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.grammars.shipped import C_TOY, JSON
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.testing.laws import check_filling
from decant.types import PAD
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.threshold import Threshold
from tests.grammars.tongues import BRACKETS, Reader, brackets, gaps, slots

LETTERS = [*(bytes([byte]) for byte in range(32, 127)), b"\n", b'":', b'", "', b"true", b"}]", b"int ", b") {", None]
END = len(LETTERS) - 1
MASK = END + 1
HOUSE = Path(__file__).parents[2] / "src" / "decant" / "house" / "target" / "tokenizer.json"
LOOPS = [
    (LowConfidence(), Full, greedy()),
    (LowConfidence(per_step=5), Full, temperature(1.0)),
    (Threshold(tau=0.3), Full, greedy()),
    (Threshold(tau=0.3), lambda mask: Blocks(mask, 8), temperature(1.0)),
]


def filled(loop: MaskedDiffusion[Any], prompts: list[list[int]], seed: int = 0) -> list[list[int]]:
    mask = loop.masked.mask
    with torch.inference_mode():
        state = loop.start(right_pad(prompts), Noise.of([seed + at for at in range(len(prompts))]))
        for _ in range(state.canvas_BL.numel() + 1):
            if bool((state.canvas_BL == mask).any()):
                state, _ = loop.step(state)
    assert not bool((state.canvas_BL == mask).any())
    return [[token for token in row if token != PAD] for row in state.canvas_BL.tolist()]


def spelt(text: str) -> list[int]:
    """A prompt and its canvas, which begins with an open place; `_` is one."""
    return [0, *(MASK if one == "_" else LETTERS.index(one.encode()) for one in text)]


def written(ids: list[int]) -> str:
    said = ids[: ids.index(END)] if END in ids else ids
    assert {*ids[len(said) :]} <= {END}
    return b"".join(LETTERS[token] or b"" for token in said).decode()


@pytest.mark.parametrize(("unmasker", "schedule", "warp"), LOOPS, ids=range(len(LOOPS)))
def test_every_output_is_json_and_given_regions_stand(unmasker, schedule, warp) -> None:
    permits = gaps(JSON, LETTERS, frozenset({END}))
    loop = MaskedDiffusion(HashLM(MASK + 1), unmasker, schedule(MASK), Dual(), warp, 24, permits)
    prompts = [[1], [2], spelt('___"name": ____, "b": [___]____'), spelt("___{____null____}"), spelt("_" * 12)]
    for prompt, ids in zip(prompts, filled(loop, prompts), strict=True):
        json.loads(written(ids))
        canvas = prompt[1:] or [MASK] * 24
        assert all(token == given for token, given in zip(ids, canvas, strict=True) if given != MASK)


@pytest.mark.parametrize(("unmasker", "schedule", "warp"), LOOPS, ids=range(len(LOOPS)))
def test_every_output_is_a_program_of_the_toy(unmasker, schedule, warp) -> None:
    loop = MaskedDiffusion(
        HashLM(MASK + 1), unmasker, schedule(MASK), NoCache(), warp, 12, gaps(C_TOY, LETTERS, frozenset({END}))
    )
    prompts = [[1], spelt("___while (___) ____else ____"), spelt("___int x = _____f(____;")]
    for prompt, ids in zip(prompts, filled(loop, prompts), strict=True):
        Reader(written(ids)).program()
        assert all(token == given for token, given in zip(ids, prompt[1:], strict=False) if given != MASK)


def test_the_tokens_of_a_real_tokenizer() -> None:
    pieces, ends = house_pieces()
    permits = gaps(JSON, pieces, ends)
    mask = permits.mask
    model = HashLM(mask + 1)
    for unmasker, warp in ((LowConfidence(per_step=3), greedy()), (Threshold(tau=0.02), temperature(1.0))):
        loop = MaskedDiffusion(model, unmasker, Full(mask), NoCache(), warp, 24, permits)
        key = pieces.index(b'"'), pieces.index(b"name"), pieces.index(b'":')
        prompts = [[5], [5, mask, mask, *key, mask, mask, mask, mask]]
        outputs = filled(loop, prompts)
        assert tuple(outputs[1][2:5]) == key
        for ids in outputs:
            first = next((at for at, token in enumerate(ids) if token in ends), len(ids))
            json.loads(b"".join(pieces[token] or b"" for token in ids[:first]).decode())


def house_pieces() -> tuple[list[bytes | None], frozenset[int]]:
    """What the ids of house:target write (a byte is a visible character, as in GPT-2), and those that end a text."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}
    described = json.loads(HOUSE.read_text())
    pieces: list[bytes | None] = [None] * len(described["model"]["vocab"])
    special = {one["id"] for one in described["added_tokens"]}
    for text, token in described["model"]["vocab"].items():
        pieces[token] = None if token in special else bytes(letters[one] for one in text)
    return pieces, frozenset({min(special)})


@pytest.mark.parametrize(("unmasker", "schedule", "warp"), LOOPS, ids=range(len(LOOPS)))
def test_a_grammar_of_everything_changes_nothing(unmasker, schedule, warp) -> None:
    permits = gaps(r"text: [ALL]" + "\nALL: /(.|\\n)+/", LETTERS[:-1])
    loop = MaskedDiffusion(HashLM(END + 1), unmasker, schedule(END), NoCache(), warp, 12)
    prompts = [[1], [2], [3, END, 4, END, END, 5]]
    assert filled(replace(loop, permits=permits), prompts) == filled(loop, prompts)


WORD = 'text: ("a" "b" | "b" | "c" | "d" | "e" | "f")*'


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("unmasker", [LowConfidence(), LowConfidence(per_step=3), Threshold(tau=0.4)], ids=repr)
def test_the_law_of_filling_in(unmasker: Any, warp: Any) -> None:
    permits = replace(slots(WORD, 6), vocab=7, mask=6)
    loop = MaskedDiffusion(HashLM(7), unmasker, Blocks(6, 4), NoCache(), warp, permits=permits)
    check_filling(loop, 6)
    assert all(permits.fits(ids) for ids in filled(loop, [[1] + [6] * 9, [2] + [6] * 7]))


@dataclass(frozen=True)
class SlotsIgnored:
    """The planted bug: a gap is any number of terminals, as in the paper; how many places are left is not looked at."""

    table: Any

    @property
    def kind_V(self) -> Tensor:
        return self.table.kind_V

    def fits(self, canvas_L: Any) -> bool:
        return any(self.table.fits(self._stretched(canvas_L, width)) for width in range(7))

    def implied(self, canvas_L: Any) -> Any:
        return self.table.implied(canvas_L)

    def rescue(self, canvas_L: Any, place: int) -> int:
        return 0

    def _stretched(self, canvas_L: Any, width: int) -> list[int]:
        found = list[int]()
        for at, token in enumerate(canvas_L):
            if token != self.table.mask:
                found.append(token)
            elif canvas_L[at - 1 : at] != [token]:
                found += [token] * width
        return found


@pytest.mark.parametrize("ends", [frozenset(), frozenset({4})])
def test_brackets_never_come_to_a_dead_end_but_do_where_slots_are_ignored(ends: frozenset[int]) -> None:
    table = slots(BRACKETS, 4, ends)
    loop = MaskedDiffusion(HashLM(6), LowConfidence(per_step=2), Full(5), NoCache(), temperature(1.0), 10, table)
    model = replace(loop, masked=OfTerminals(HashLM(6), ends))
    well = {False: 0, True: 0}
    for permits in (table, SlotsIgnored(table)):
        for ids in filled(replace(model, permits=permits), [[at % 4, at // 4] for at in range(12)]):
            said = ids[: next((at for at, token in enumerate(ids) if token in ends), 10)]
            well[permits is table] += brackets("".join("()[]"[token] for token in said if token < 4))
    assert well[True] == 12
    assert well[False] < 12


@dataclass(frozen=True)
class OfTerminals:
    """Never says an end where there is none."""

    model: HashLM
    ends: frozenset[int]
    vocab: ClassVar[int] = 6
    mask: ClassVar[int] = 5

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> Any:
        return self.model.start(prompt_BT, canvas_BL)

    def predict(self, state: Any, canvas_BL: Tensor, fresh: Any, wanted_BL: Tensor) -> Any:
        state, logits_NV = self.model.predict(state, canvas_BL, fresh, wanted_BL)
        logits_NV[:, 4] = -torch.inf if not self.ends else logits_NV[:, 4]
        return state, logits_NV

    def cache_bytes(self, tokens: Any) -> int:
        return 0


def outlook(canvas: list[int], sure: dict[int, tuple[int, float]]) -> Outlook:
    """sure: place -> its guess and the guess's logit."""
    places = [at for at, token in enumerate(canvas) if token == 5]
    logits_NV = torch.zeros(len(places), 6)
    logits_NV[:, 4:] = -torch.inf
    for at, place in enumerate(places):
        token, logit = sure.get(place, (0, 0.5))
        logits_NV[at, token] = logit
    canvas_BL = torch.tensor([canvas])
    return Outlook(canvas_BL, torch.zeros(len(places)).long(), torch.tensor(places), logits_NV, greedy(), Noise.of([0]))


TABLE = slots(BRACKETS, 4)


def told(canvas: list[int], seen: Outlook, settled: list[int], again: list[int] | None = None) -> tuple[Any, Any]:
    at_BL = torch.zeros(1, len(canvas), dtype=torch.bool)
    settled_BL, again_BL = at_BL.clone(), None if again is None else at_BL.clone()
    settled_BL[0, settled] = True
    if again_BL is not None:
        again_BL[0, again] = True
    reveal = permitted(TABLE, Reveal(seen.guess_BL, settled_BL, again_BL), seen, at_BL, 5)
    chosen = reveal.settled_BL[0].nonzero()[:, 0].tolist()
    opened = None if reveal.again_BL is None else reveal.again_BL[0].nonzero()[:, 0].tolist()
    return {place: int(reveal.tokens_BL[0, place]) for place in chosen}, opened


def test_what_fits_together_is_kept_and_else_the_surest_of_it() -> None:
    canvas = [5, 5]
    assert told(canvas, outlook(canvas, {0: (0, 3.0), 1: (1, 2.0)}), [0, 1]) == ({0: 0, 1: 1}, None)
    # Each is well alone, both are not.
    assert told(canvas, outlook(canvas, {0: (0, 2.0), 1: (3, 3.0)}), [0, 1]) == ({1: 3}, None)
    assert told(canvas, outlook(canvas, {0: (0, 3.0), 1: (3, 2.0)}), [0, 1]) == ({0: 0}, None)


def test_the_next_likeliest_follows_where_all_are_refused() -> None:
    seen = outlook([0, 5], {1: (0, 3.0)})
    seen.logits_NV[0, 3] = 2.0
    assert told([0, 5], seen, [1]) == ({1: 1}, None)  # 0 is likelier, 3 is next, 1 alone fits
    seen.logits_NV[0, :4] = -torch.inf
    seen.logits_NV[0, 0] = 0.0
    assert told([0, 5], seen, [1]) == ({1: 1}, None)  # nothing is left but what the language proposes


def test_a_place_opens_again_only_where_that_fits() -> None:
    canvas = [0, 1, 5, 5]
    seen = outlook(canvas, {2: (2, 3.0)})
    assert told(canvas, seen, [2], [1]) == ({2: 2}, [1])

    class Stern:
        kind_V, implied, rescue = TABLE.kind_V, TABLE.implied, TABLE.rescue

        def fits(self, canvas_L: Any) -> bool:
            return canvas_L[1] == 1 and TABLE.fits(canvas_L)

    at_BL = torch.zeros(1, 4, dtype=torch.bool)
    again_BL = torch.tensor([[False, True, False, False]])
    reveal = permitted(Stern(), Reveal(seen.guess_BL, at_BL, again_BL), seen, at_BL, 5)  # pyright: ignore[reportArgumentType]
    assert reveal.again_BL is not None
    assert not bool(reveal.again_BL.any())
    assert reveal.settled_BL.tolist() == [[False, False, True, False]]  # a step changes something


def test_a_canvas_that_fits_nothing_is_refused() -> None:
    loop = MaskedDiffusion(HashLM(6), LowConfidence(), Full(5), NoCache(), greedy(), 3, TABLE)
    with pytest.raises(BadInput, match=r"no text of the grammar fits a canvas of 3 places .* open more places"):
        loop.start(right_pad([[1]]), Noise.of([0]))


def test_only_rows_that_change_are_touched() -> None:
    seen = outlook([5, 5], {0: (0, 3.0)})
    none_BL = torch.zeros(1, 2, dtype=torch.bool)
    turn = Turn(none_BL)
    reveal, _ = LowConfidence().reveal(None, seen, turn)
    assert not bool(permitted(TABLE, reveal, seen, none_BL, 5).settled_BL.any())
