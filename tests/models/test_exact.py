"""Exact mode: plain decoding and chains drafted at any width give the same bits."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from decant.errors import IncompatibleParts
from decant.models.check import chain_probe, settle
from decant.models.fast.int8 import multiplies
from decant.models.fast.lean import Lean
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.network import Outcome
from decant.models.rows import RowClass, cheapest, fillings, find, priced, whole
from decant.types import Draft, Verdict
from tests.models.families import VOCAB, build

INT8 = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")
WAYS = (
    *("float32", "bfloat16", "float32/transformers", "bfloat16/transformers"),
    *(pytest.param(f"{dtype}/int8", marks=INT8) for dtype in ("float32", "bfloat16")),
)


@pytest.fixture(scope="module", params=WAYS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("exact")
    build("llama").save_pretrained(folder)
    dtype, _, way = request.param.partition("/")
    weights = "int8" if way == "int8" else "auto"
    return load(str(folder), exact="on", dtype=dtype, lean=way != "transformers", weights=weights)


def scored(loaded: Loaded, ids_BT: Tensor, widths: list[int]) -> Tensor:
    """logits of a fixed continuation, drafted in chains of the given numbers of rows."""
    model, first = loaded.model, 12
    with torch.inference_mode():
        context, _ = model.start(ids_BT[:, :first])
        rows = []
        for width in widths:
            draft = Draft(ids_BT[:, first : first + width - 1])
            rows.append(model.score(context, draft).logits_BMV)
            accepted_B = torch.full((len(ids_BT),), width - 1)
            context = model.commit(context, Verdict.of_chain(draft.tokens_BN, accepted_B, ids_BT[:, first + width - 1]))
            first += width
    return torch.cat(rows, 1)


@pytest.mark.parametrize("batch", [1, 4])
def test_bits_do_not_depend_on_the_draft(loaded, batch):
    ids_BT = torch.randint(0, VOCAB, (batch, 96), generator=torch.Generator().manual_seed(0))
    plain = scored(loaded, ids_BT, [1] * 80)
    for widths in ([2] * 40, [5] * 16, [11] * 7 + [3], [1, 16, 2, 9, 4, 17, 31]):
        assert torch.equal(scored(loaded, ids_BT, widths), plain), f"bits moved with blocks of {widths}"


def test_the_planted_fault_shows(loaded):
    """Without the class of rows and with a kernel that looks at the row count, the same comparison fails."""
    ids_BT = torch.randint(0, VOCAB, (1, 96), generator=torch.Generator().manual_seed(0))
    network = loaded.model.network

    class ShapeDependent:
        def __getattr__(self, name):
            return getattr(network, name)

        def score(self, cache, spans, *asked):
            said = network.score(cache, spans, *asked)
            return Outcome(said.logits_RV * (1 + 2**-6 * (spans[0].count > 3)), said.hidden_RD)

    faulty = replace(loaded, model=replace(loaded.model, network=ShapeDependent(), rows=None, steady=False))
    assert not torch.equal(scored(faulty, ids_BT, [5] * 16), scored(faulty, ids_BT, [1] * 80))


def test_the_class_is_found_around_sixteen_rows():
    exact = torch.arange(64.0)[:, None]

    def probe(count: int, size: int) -> Tensor:
        return exact[:count] + (size < 4) * 1e-3 + (size > 32) * 1e-3

    rows = find(probe)
    assert rows is not None
    assert (rows.least, rows.most, rows.step) == (4, 32, 1)


def test_a_lone_row_is_filled_up_to_the_cheapest_number():
    rows = RowClass(2, 32, 2)
    assert fillings(rows) == [2, 4, 8]
    dear_pair = priced(rows, {2: 3.0, 4: 2.0, 8: 2.5}, free=1.6)
    assert (dear_pair.least, dear_pair.cost) == (4, 1.25)
    assert cheapest({1: 3.0, 2: 2.9, 4: 2.0, 8: 4.0}) == 4
    assert cheapest({1: 3.0, 2: 2.97, 4: 3.1, 8: 4.0}) == 1


def test_rows_come_in_the_steps_of_the_class():
    rows = RowClass(4, 32)
    assert (rows.columns(4), rows.fill(1), rows.fill(4), rows.holds(32), rows.holds(33)) == (8, 4, 1, True, False)
    stepped = RowClass(8, 32, 8)
    assert (stepped.columns(2), stepped.fill(1, 9), stepped.fill(4, 1), stepped.fill(4, 3)) == (16, 16, 2, 4)
    assert (stepped.holds(3), stepped.columns(3), stepped.fill(3)) == (True, 8, 8)


def test_what_leaves_values_to_scalar_code_is_known_without_a_probe():
    fits = whole({(172, 4)})
    assert fits(32)
    assert not fits(1)
    assert whole(())(1)


def test_a_machine_that_does_not_repeat_itself_has_no_class():
    calls = iter(range(1000))

    def probe(count: int, size: int) -> Tensor:
        return torch.full((count, 1), float(next(calls)))

    assert find(probe) is None


def test_the_mode_that_applies_is_said(loaded):
    model = replace(loaded.model, rows=None)
    assert "off by request" in settle(model, "off", RowClass(1, 32))[1]
    assert settle(model, "auto", RowClass(1, 32))[0].rows is not None
    dear = RowClass(16, 32, cost=2.5)
    assert settle(model, "auto", dear)[0].rows is None
    assert "costs 2.50x" in settle(model, "auto", dear)[1]
    assert settle(model, "on", dear)[0].rows == dear
    with pytest.raises(IncompatibleParts, match="exact mode cannot be had"):
        settle(model, "on", None)


def test_the_answer_is_remembered(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("DECANT_HOME", str(tmp_path))
    rows = loaded.shared_rows()
    (file,) = tmp_path.glob("rows/*.json")
    assert rows is not None
    question = "row counts that share bits"
    assert json.loads(file.read_text())[question]["least"] == rows.least
    file.write_text(json.dumps({question: {"least": 3, "most": 5, "cost": 1.0}}))
    assert loaded.shared_rows() == RowClass(3, 5)


def test_a_batch_that_the_class_cannot_hold_is_refused(loaded):
    model = replace(loaded.model, rows=RowClass(1, 2))
    prompt_BT = torch.ones(3, 4, dtype=torch.int64)
    if isinstance(model.network, Lean):  # whose packed rows can be cut anywhere
        context, _ = model.start(prompt_BT)
        assert model.score(context, Draft(torch.ones(3, 2, dtype=torch.int64))).logits_BMV.shape[:2] == (3, 3)
        return
    with pytest.raises(IncompatibleParts, match="not a batch of 3"):
        model.start(prompt_BT)


def test_the_probe_repeats_itself(loaded):
    probe = chain_probe(replace(loaded.model, rows=None))
    with torch.inference_mode():
        assert torch.equal(probe(16, 16), probe(16, 16))


def test_a_draft_takes_the_vocabulary_of_its_target(loaded):
    prompt_BT = torch.tensor([[3, 4, 5]])
    model = loaded.model
    for vocab in (VOCAB - 7, VOCAB + 7):
        other = replace(model, vocab=vocab)
        with torch.inference_mode():
            own, fitted = (m.score(m.start(prompt_BT)[0], Draft.nothing(1)).logits_BMV for m in (model, other))
        both = min(vocab, VOCAB)
        assert fitted.shape[-1] == vocab
        assert torch.equal(fitted[..., :both], own[..., :both])
        assert (fitted[..., both:] == -torch.inf).all()
