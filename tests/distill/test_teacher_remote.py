"""A teacher behind a server: what it says is held against the text, and every way in which a server fails is told."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.server import Server
from decant.distill.teachers.remote import Remote
from decant.distill.texts import Positions, Text, padded
from decant.distill.trainer import CHECKPOINT, Settings, run
from decant.errors import BadInput
from decant.models.student import read
from decant.types import PAD
from tests.distill.serving import NAMES, SPELT, VOCAB, Serving, model, texts
from tests.filling import full


@pytest.fixture
def serving(monkeypatch) -> Iterator[Serving]:
    monkeypatch.setenv("no_proxy", "*")
    with Serving() as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(serving: Serving) -> str:
    return f"http://127.0.0.1:{serving.server_address[1]}/v1"


def remote(serving: Serving, **knobs: Any) -> Remote:
    server = knobs.pop("server", None) or Server(address(serving), patience=0.0, tries=3)
    return Remote(server, "toy", VOCAB, **{"top": 5, "spelt": SPELT, **knobs})


BATCH = padded(texts(), 99)
AT = Positions.of(BATCH)


def whole() -> torch.Tensor:
    network = model(1).eval().requires_grad_(False)
    return read(network, BATCH.ids_BT, AT.row_N, AT.at_N).logp(slice(None))


def laid(law) -> torch.Tensor:
    """logp_NV, -inf where nothing is known."""
    known = law.ids_XK != PAD
    wide = torch.full((len(law.ids_XK), VOCAB + 1), -torch.inf)
    return wide.scatter(-1, law.ids_XK.where(known, VOCAB), law.logp_XK)[:, :VOCAB]


@pytest.mark.parametrize("form", ["prompt_logprobs", "echo"])
def test_a_server_says_what_its_model_thinks(serving, form) -> None:
    law = remote(serving, form=form).signal(BATCH, AT)
    found, logp = laid(law), whole()
    known = found > -torch.inf
    assert torch.allclose(found[known], logp[known], atol=1e-4)
    labels = found.gather(-1, AT.label_N[:, None])[:, 0]
    assert torch.allclose(labels, logp.gather(-1, AT.label_N[:, None])[:, 0], atol=1e-4)  # the text's own id is known
    assert not torch.allclose(found[1:][known[1:]], logp[:-1][known[1:]], atol=1e-2)  # rows off by one are another law
    assert torch.allclose(law.rest_X.exp(), (logp.exp() * ~known).sum(-1), atol=1e-4)
    best = logp.topk(5).indices
    if form == "prompt_logprobs":
        assert known.gather(-1, best).all()
    else:  # "same" is written by two ids: it belongs to the others
        assert (known.gather(-1, best) | (best >= VOCAB - 2)).all()


def test_best_ids_of_all_ids_are_the_whole_law(serving) -> None:
    law = remote(serving, top=VOCAB).signal(BATCH, AT)
    q = torch.randn(len(AT), VOCAB, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    p, q_best, _ = law.beside(q, AT.label_N)
    assert torch.allclose(ForwardKL()(p, q_best), ForwardKL()(whole(), q), atol=1e-4)


def test_token_ids_as_strings(serving) -> None:
    serving.strings = lambda token: f"token_id:{token}"
    one = remote(serving, form="echo", spelt=None).signal(BATCH, AT)
    assert torch.allclose(laid(one), laid(remote(serving).signal(BATCH, AT)), atol=1e-5)


def test_questions_hold_ids_up_to_what_is_wanted(serving) -> None:
    remote(serving, server=Server(address(serving), key="secret")).signal(BATCH, AT)
    assert sorted(asked["prompt"] for asked in serving.questions) == sorted(text.ids for text in texts())
    assert {(asked["model"], asked["prompt_logprobs"]) for asked in serving.questions} == {("toy", 5)}
    assert set(serving.headers) == {"Bearer secret"}
    assert "secret" not in repr(Server(address(serving), key="secret"))


def test_answers_are_kept(serving, tmp_path) -> None:
    first = remote(serving, folder=tmp_path).signal(BATCH, AT)
    count = len(serving.questions)
    again = remote(serving, folder=tmp_path).signal(BATCH, AT)
    assert len(serving.questions) == count == len(texts())
    assert torch.equal(laid(first), laid(again))
    remote(serving, folder=tmp_path, top=4).signal(BATCH, AT)
    assert len(serving.questions) == 2 * count
    elsewhere = address(serving).replace("127.0.0.1", "localhost")
    remote(serving, folder=tmp_path, server=Server(elsewhere)).signal(BATCH, AT)
    assert len(serving.questions) == 3 * count, "another server may call another model the same"
    remote(serving, folder=tmp_path, server=Server(address(serving) + "/")).signal(BATCH, AT)
    assert len(serving.questions) == 3 * count
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:50])  # killed by something else
    assert torch.equal(laid(first), laid(remote(serving, folder=tmp_path).signal(BATCH, AT)))


def test_an_answer_that_finds_no_room_is_a_sentence(serving, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"safetensors could not be written: File too large; nothing was"), full(100):
        remote(serving, folder=tmp_path, at_once=1).signal(BATCH, AT)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("failure", [429, 503, "hang up", "half"])
def test_what_passes_is_asked_again(serving, failure) -> None:
    serving.fail = lambda number: failure if number % 3 else None
    law = remote(serving, server=Server(address(serving), patience=0.0, tries=99), at_once=2).signal(BATCH, AT)
    assert len(serving.questions) > len(texts())
    serving.fail = lambda number: None
    assert torch.equal(laid(law), laid(remote(serving).signal(BATCH, AT)))


def test_patience_doubles_and_is_told_how_long(serving, monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("decant.distill.server.time.sleep", lambda seconds: slept.append(round(seconds, 3)))
    serving.fail = lambda number: {1: 503, 2: 503, 3: 429}.get(number)
    Server(address(serving), patience=0.5).ask("completions", {"prompt": [1, 2], "prompt_logprobs": 1}, "text 1")
    assert [seconds for seconds in slept if seconds] == [0.5, 1.0]  # then Retry-After: 0
    slept.clear()
    fast = Server(address(serving), per_second=1e-3)
    for _ in range(3):
        fast.ask("completions", {"prompt": [1, 2], "prompt_logprobs": 1}, "text 1")
    assert slept == pytest.approx([0, 1000, 2000], abs=60)  # turns that far apart, and nobody slept


def test_a_dead_server_is_named(serving) -> None:
    serving.fail = lambda number: "hang up" if number > 3 else None
    with pytest.raises(BadInput, match=r"gave no answer for text 3 in 3 tries .*start it again"):
        remote(serving, at_once=1).signal(BATCH, AT)
    with pytest.raises(BadInput, match=r"no answer for text \d in 2 tries \(URLError: .*refused"):
        remote(serving, server=Server("http://127.0.0.1:9/v1", tries=2, patience=0.0)).signal(BATCH, AT)
    serving.fail = lambda number: "hang up"
    batch = padded([Text.answer([1, 2, 3], 1)], 99)
    with pytest.raises(BadInput, match="row 0 of the batch"):
        remote(serving).signal(batch, Positions.of(batch))


def test_a_refusal_is_not_repeated(serving) -> None:
    serving.fail = lambda number: 401
    with pytest.raises(BadInput, match=r"refuses text 0: 401 .*too much.*mend the address, the key"):
        remote(serving, at_once=1).signal(BATCH, AT)
    assert [asked["prompt"] for asked in serving.questions].count(texts()[0].ids) == 1


def entries(change) -> Any:
    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        found = answer["choices"][0]["prompt_logprobs"]
        answer["choices"][0]["prompt_logprobs"] = change(found)
        return answer

    return spoil


def test_a_missing_position_is_an_error_and_is_not_kept(serving, tmp_path) -> None:
    for gap in (None, {}):
        serving.spoil = entries(lambda found, gap=gap: [gap if at == 5 else one for at, one in enumerate(found)])
        with pytest.raises(BadInput, match="no log-probabilities at position 4 of text 0"):
            remote(serving, folder=tmp_path, at_once=1).signal(BATCH, AT)
    serving.spoil = entries(lambda found: [None, None, *found[2:]])  # a prompt's: nobody wants it
    assert torch.isfinite(remote(serving, folder=tmp_path).signal(BATCH, AT).rest_X).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[:-1], r"read other tokens than were sent \(\d+ of \d+ tokens of text 0"),
        (lambda found: [None, *found[:-1]], r"gave no log|read other tokens than were sent \(position \d"),
        (lambda found: None, "gave no prompt_logprobs.*own dialect"),
        (lambda found: [None, *({"x": {"logprob": -1.0}} for _ in found[1:])], "gave no prompt_logprobs"),
        (
            lambda found: [None, *({key: {"logprob": 1.0} for key in one} for one in found[1:])],
            "is no law: mass .* not logits",
        ),
        (
            lambda found: [None, *(one | {"99": {"logprob": -9.0}} for one in found[1:])],
            "ids up to 99 of 24",
        ),
    ],
)
def test_strange_answers_are_refused(serving, change, message) -> None:
    serving.spoil = entries(change)
    with pytest.raises(BadInput, match=message):
        remote(serving, at_once=1).signal(BATCH, AT)


@pytest.mark.parametrize(
    "shown",
    [
        str.strip,
        lambda name: name.replace(" ", "Ġ"),
        lambda name: name.replace(" ", "\u2581"),
        lambda name: "\ufffd",  # a part of a character
        lambda name: "",
        lambda name: None,
        lambda name: {" w1": "mine", " w2": "yours"}.get(name, name),  # two tokens that were given other names
    ],
)
def test_one_tokenizer_may_be_shown_in_other_ways(serving, shown) -> None:
    expected = laid(remote(serving).signal(BATCH, AT))
    serving.strings = lambda token: shown(NAMES[token])
    assert torch.equal(laid(remote(serving).signal(BATCH, AT)), expected)


def test_another_tokenizer_is_found_out(serving) -> None:
    serving.strings = lambda token: NAMES[(token + 1) % VOCAB]
    with pytest.raises(BadInput, match=r"another tokenizer \(for text 0: id \d+ is ' w\d+' and not .*alm_transfer"):
        remote(serving, at_once=1).signal(BATCH, AT)
    with pytest.raises(BadInput, match=r"read other tokens than were sent \(position \d+ of text 0"):
        remote(serving, form="echo", at_once=1).signal(BATCH, AT)
    with pytest.raises(BadInput, match=r"answers with strings.*--return-tokens-as-token-ids"):
        remote(serving, form="echo", spelt=None).signal(BATCH, AT)
    with pytest.raises(BadInput, match="http"):
        Server("file:///etc/passwd")
    with pytest.raises(BadInput, match="tries must be at least 1"):
        Server("http://x", tries=0)
    with pytest.raises(BadInput, match="'chat'"):
        remote(serving, form="chat")


def test_a_server_that_dies_leaves_a_run_that_goes_on(serving, tmp_path) -> None:
    def trained(name: str):
        student = model(2)
        asked = (Asked(Pointwise(ForwardKL())),)
        teacher = remote(serving, top=VOCAB)
        made = Composition(Learner(student, [None]), None, Dataset(texts(), rows=4), asked, teacher)  # type: ignore[arg-type]
        run(made.learner, made, Settings(8, peak=1e-2, warmup=2, save_every=2, quiet=True), tmp_path / name)
        return torch.cat([weight.detach().flatten() for weight in student.parameters()])

    expected = trained("whole")
    serving.questions.clear()
    serving.fail = lambda number: "hang up" if number > 4 * 5 else None  # dead in the sixth step
    with pytest.raises(BadInput, match="it goes on from its last checkpoint"):
        trained("killed")
    assert torch.load(tmp_path / "killed" / CHECKPOINT, weights_only=True)["step"] == 4
    serving.fail = lambda number: None
    assert torch.equal(trained("killed"), expected)
