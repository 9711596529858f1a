"""Which tokens count: weights know neither neighbours nor gradients, and each method keeps what its paper keeps."""

import math
import random
from dataclasses import dataclass

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from decant.distill.choosing import best, evened, scaled
from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.seams import Study
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, padded
from decant.distill.trainer import Share
from decant.distill.weighting.ada_spec import AdaSpec
from decant.distill.weighting.every import Every
from decant.distill.weighting.ss_token import SsToken
from decant.distill.weighting.uncertainty import Uncertainty
from decant.errors import BadInput, IncompatibleParts
from decant.models.attending import attention
from decant.models.build import LlamaSpec, untrained
from decant.models.student import Looks, read
from decant.models.teacher import Teacher

VOCAB = 24


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32 on any machine: comparisons below are between two ways of computing."""
    monkeypatch.setattr("decant.models.build.fast_bfloat16", lambda: False)


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 3, 4, 2, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)
    return network


def live(seed: int) -> Live:
    return Live(Teacher("toy", model(seed).eval().requires_grad_(False)))


def texts(count: int = 5) -> list[Text]:
    rng = random.Random(0)
    return [
        Text.answer([rng.randrange(VOCAB) for _ in range(rng.randint(8, 16))], rng.randint(2, 5), number)
        for number in range(count)
    ]


STUDENT, TEACHER, REFERENCE = model(2), live(1), live(3)


def study(some: list[Text], looks: Looks | None = None, signal: bool = True) -> Study:
    batch = padded(some, 99)
    at = Positions.of(batch)
    states = read(STUDENT, batch.ids_BT, at.row_N, at.at_N, looks or Looks(layers=(0, 1, 2)))
    return Study(batch, at, states, TEACHER.signal(batch, at) if signal else None, lambda p, q, label_X: p, 0)


def weighed(weighting, some: list[Text]) -> torch.Tensor:
    found = study(some)
    return weighting.weights(weighting.start(), found, torch.ones(len(found.at)))


WEIGHTINGS = {
    "every": Every(),
    "ada_spec": AdaSpec(REFERENCE),
    "ada_spec_uneven": AdaSpec(REFERENCE, even=False),
    "ss_token": SsToken(REFERENCE, STUDENT),
    "uncertainty": Uncertainty(),
    "uncertainty_teacher": Uncertainty("teacher", 1.0, even=True),
    "uncertainty_student": Uncertainty("student", -0.5),
}


def knows_no_neighbours(weighting) -> bool:
    some = texts()
    together = weighed(weighting, some)
    apart = torch.cat([weighed(weighting, [text]) for text in some])
    return torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_laws_of_weightings(name: str) -> None:
    weighting = WEIGHTINGS[name]
    found_N = weighed(weighting, texts())
    assert not found_N.requires_grad
    assert torch.isfinite(found_N).all()
    assert (found_N >= 0).all()
    assert found_N.sum() > 0
    assert knows_no_neighbours(weighting)
    assert weighting.observe(weighting.start(), 0, 10, 1.0) == weighting.start()


@dataclass(frozen=True)
class Quantile:
    """Of the whole batch: how many of a text's tokens are kept depends on the other texts."""

    inner: Uncertainty

    def start(self) -> None: ...

    def weights(self, state, study, nats_N):
        found_N = self.inner.weights(state, study, nats_N)
        return (found_N >= found_N.quantile(0.6)).float()


def test_a_quantile_of_the_batch_is_caught() -> None:
    assert not knows_no_neighbours(Quantile(Uncertainty("teacher")))


def laws(network, some: list[Text]) -> torch.Tensor:
    """logp_NV, from whole logits and loops."""
    found = []
    for text in some:
        with torch.no_grad():
            logp_TV = network(torch.tensor([text.ids])).logits[0].log_softmax(-1)
        found.append(logp_TV[text.prompt - 1 : -1])
    return torch.cat(found)


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p.exp() * (p - q)).sum(-1)


def test_ada_spec_keeps_what_the_reference_has_learnt_and_the_draft_has_not() -> None:
    some = texts()
    p, q, r = laws(TEACHER.model.network, some), laws(STUDENT, some), laws(REFERENCE.model.network, some)
    gap_N = kl(p, q) - kl(p, r)
    at = study(some).at
    found_N = weighed(AdaSpec(REFERENCE, 0.4, even=False), some)
    for row in range(len(some)):
        mine_N = at.row_N == row
        kept_N, gone_N = gap_N[mine_N][found_N[mine_N] > 0], gap_N[mine_N][found_N[mine_N] == 0]
        assert len(kept_N) == math.ceil(0.4 * int(mine_N.sum()))
        assert kept_N.min() >= gone_N.max() - 1e-4
        assert (-kept_N).min() < (-gone_N).max()  # the other sign would keep others
    assert torch.equal(weighed(AdaSpec(REFERENCE, 1.0), some), torch.ones(len(at)))
    assert float(weighed(AdaSpec(REFERENCE), some).sum()) == pytest.approx(len(at))


def test_ada_spec_is_plain_distillation_where_all_tokens_are_kept() -> None:
    def nats(weighting) -> float:
        objectives = (Asked(Pointwise(ForwardKL())),)
        made = Composition(
            Learner(STUDENT, [None]), None, Dataset(texts(), rows=5), objectives, TEACHER, weighting=weighting
        )
        (piece,), _ = made.batches(made.start(), 0, Share())
        return float(made.nats(made.start(), 0, piece).detach())

    assert nats(AdaSpec(REFERENCE, 1.0)) == pytest.approx(nats(Every()), rel=1e-6)
    assert nats(AdaSpec(REFERENCE, 0.4)) != pytest.approx(nats(Every()), rel=1e-2)
    assert nats(SsToken(REFERENCE, STUDENT)) != pytest.approx(
        nats(Every()), rel=1e-3
    )  # the composition reads its layer
    assert all(weight.grad is None for weight in REFERENCE.model.network.parameters())


def test_ss_token_keeps_exactly_its_share() -> None:
    some = texts()
    at = study(some).at
    for rho in (0.3, 0.6, 1.0):
        found_N = weighed(SsToken(REFERENCE, STUDENT, rho=rho, even=False), some)
        for row in range(len(some)):
            mine_N = at.row_N == row
            assert int(found_N[mine_N].sum()) == math.ceil(rho * int(mine_N.sum()))


def test_ss_token_without_a_history_goes_by_attention_and_the_other_way_round() -> None:
    some = texts()
    still = SsToken(Live(Teacher("same", STUDENT)), STUDENT, gamma=0.5)
    by_attention = SsToken(REFERENCE, STUDENT, gamma=0.0)
    assert torch.equal(weighed(still, some), weighed(by_attention, some))
    label_N1 = study(some).at.label_N[:, None]
    fallen_N = (laws(STUDENT, some) - laws(REFERENCE.model.network, some)).gather(-1, label_N1)[:, 0]
    by_loss = weighed(SsToken(REFERENCE, STUDENT, gamma=1.0, even=False), some)
    assert torch.equal(by_loss > 0, best(fallen_N, study(some).at.row_N, 0.6))
    assert not torch.equal(by_loss, weighed(SsToken(REFERENCE, STUDENT, gamma=0.0, even=False), some))


def eager(network, ids: list[int], layer: int) -> torch.Tensor:
    network.set_attn_implementation("eager")
    with torch.no_grad():
        out = network(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions[layer]
    network.set_attn_implementation("sdpa")
    return out


@pytest.mark.parametrize("window", [None, 4])
def test_attention_is_what_the_model_looks_at(window: int | None) -> None:
    network = STUDENT
    if window:
        shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = MistralForCausalLM(
                MistralConfig(**shape, vocab_size=VOCAB, num_key_value_heads=2, sliding_window=window)
            ).eval()
    ids = texts()[0].ids
    with torch.no_grad():
        hidden = network(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
    for layer in (0, 1):
        assert torch.allclose(attention(network, hidden[layer], layer), eager(network, ids, layer), atol=1e-5)
    assert network.config._attn_implementation == "sdpa"
    assert not torch.allclose(attention(network, hidden[0], 1), eager(network, ids, 1), atol=1e-3)  # not what enters it


def test_ss_token_looks_at_the_prompt_from_the_token_itself() -> None:
    some = texts()
    found_N = SsToken(REFERENCE, STUDENT, layer=1)._looking(study(some))
    want = []
    for text in some:
        weights_HTT = eager(STUDENT, text.ids, 1)[0]
        want += [weights_HTT[:, at, : text.prompt].sum(-1).mean() for at in range(text.prompt, len(text.ids))]
    assert torch.allclose(found_N, torch.stack(want), atol=1e-5)


def test_uncertainty_is_an_entropy() -> None:
    some = texts()
    p, q = laws(TEACHER.model.network, some), laws(STUDENT, some)
    for whose, nats_N in (
        ("both", -(p.exp() * q).sum(-1)),
        ("teacher", -(p.exp() * p).sum(-1)),
        ("student", -(q.exp() * q).sum(-1)),
    ):
        assert torch.allclose(weighed(Uncertainty(whose, 0.7), some), nats_N**0.7, atol=1e-4)
        assert torch.equal(weighed(Uncertainty(whose, 0.0), some), torch.ones(len(p)))
    with pytest.raises(IncompatibleParts, match="needs a teacher"):
        Uncertainty().weights(None, study(some, signal=False), torch.ones(len(p)))
    assert len(Uncertainty("student").weights(None, study(some, signal=False), torch.ones(len(p)))) == len(p)


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="share of tokens"):
        AdaSpec(REFERENCE, 0.0)
    with pytest.raises(BadInput, match="rho"):
        SsToken(REFERENCE, STUDENT, rho=1.2)
    with pytest.raises(BadInput, match="none of the student's 3"):
        SsToken(REFERENCE, STUDENT, layer=3)
    with pytest.raises(BadInput, match="whose uncertainty"):
        Uncertainty("nobody")  # type: ignore[arg-type]

    class Coarse:
        gives = frozenset({"law"})

    with pytest.raises(IncompatibleParts, match="whole law"):
        AdaSpec(Coarse())
    with pytest.raises(IncompatibleParts, match="none"):
        AdaSpec(REFERENCE).weights(None, study(texts(), signal=False), torch.ones(1))


def test_the_best_of_each_text() -> None:
    score_N = torch.tensor([1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 0.0])
    row_N = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    assert best(score_N, row_N, 0.5).tolist() == [False, True, True, True, True, False, False]
    assert best(torch.arange(30.0), torch.zeros(30, dtype=torch.int64), 0.1).sum() == 3
    assert scaled(score_N, row_N).tolist() == [0.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.0]
    assert scaled(torch.full((3,), 7.0), torch.zeros(3, dtype=torch.int64)).tolist() == [0.0] * 3
    even_N = evened(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([2.0, 1.0, 1.0]), torch.zeros(3, dtype=torch.int64))
    assert even_N.tolist() == [0.0, 2.0, 2.0]
