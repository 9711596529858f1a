import pytest
import torch

from decant.decoders import rescoring
from decant.decoders.generate import right_pad
from decant.decoders.rescoring import Judged, rescored
from decant.decoders.voting import self_certainty
from decant.testing.markov import MarkovLM
from decant.types import Taps

LM = MarkovLM.random(vocab=9, seed=0)
PROMPT = [1, 2, 3]
TEXTS = [[0, 1, 2, 3, 4, 5, 6], [], [7], [3, 3, 3]]


def laws(text: list[int]) -> torch.Tensor:
    """logp_TV of each place of a text behind the prompt."""
    said = PROMPT + text
    rows = [LM.logits_UVV[said[at - 2], said[at - 1]] for at in range(len(PROMPT), len(said))]
    return torch.stack(rows).log_softmax(-1) if rows else torch.empty(0, LM.vocab)


@pytest.mark.parametrize("rows", [512, 8, 1], ids=["one pass", "blocks", "the smallest blocks"])
def test_texts_of_any_lengths_get_the_laws_log_probabilities(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "ROWS", rows)
    for judged, text in zip(rescored(LM, PROMPT, TEXTS), TEXTS, strict=True):
        want_TV = laws(text)
        assert judged.logp == pytest.approx([float(row[token]) for row, token in zip(want_TV, text, strict=True)])
        assert judged.certainty == pytest.approx(self_certainty(want_TV).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["pair", "padded"])
def test_a_model_with_a_cache_is_asked_without_one(name: str, request: pytest.FixtureRequest, monkeypatch) -> None:
    monkeypatch.setattr(rescoring, "ROWS", 9)
    found = request.getfixturevalue(name)
    model = found[0] if isinstance(found, tuple) else found
    for judged, text in zip(rescored(model, PROMPT, TEXTS), TEXTS, strict=True):
        with torch.inference_mode():
            whole_1MV = model.start(right_pad([PROMPT + text + [0]]), Taps(logits=True))[1].logits_BMV
        want_TV = whole_1MV[0, len(PROMPT) - 1 : len(PROMPT) - 1 + len(text)].log_softmax(-1)
        want = want_TV.gather(1, torch.tensor(text, dtype=torch.int64)[:, None])[:, 0].tolist()
        assert judged.logp == pytest.approx(want, abs=1e-4)


def test_means_of_nothing() -> None:
    assert Judged([], []).mean_logp == -torch.inf
    assert Judged([], []).mean_certainty == 0
    assert Judged([-1.0, -3.0], [2.0, 4.0]).mean_logp == -2
    assert Judged([-1.0, -3.0], [2.0, 4.0]).mean_certainty == 3
