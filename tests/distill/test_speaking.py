"""The student writes as it is now: its own laws, counted noise, first ends; nothing of it moves."""

import copy

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from decant.distill.speaking import BLOCK, Mixes, Speaking, _drawn
from decant.errors import BadInput, IncompatibleParts
from decant.models import current as now
from decant.models.build import LlamaSpec, untrained
from decant.models.current import Paced, at_rest, begin, current, swift
from decant.models.fast.flock import Flock
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature

VOCAB = 24
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [12, 13], [3, 2, 1], [20, 21, 22]]
SEEDS = [11, 12, 13, 14, 15, 16]


def model(seed: int, positions: int = 64, eos: tuple[int, ...] = ()):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 4, 2, 24, head_dim=8, positions=positions, eos=eos), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def family(name: str):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": VOCAB}
    made = {
        "llama": lambda: model(0),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**shape, sliding_window=5)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8)),
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCAB,
                n_embd=16,
                n_layer=2,
                n_head=2,
                n_positions=64,
                attn_pdrop=0.5,
                resid_pdrop=0.5,
                bos_token_id=None,
                eos_token_id=None,
            )
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = made[name]()
        for weight in network.parameters():
            weight.data.mul_(3.0)
    return network.train()


def own_logp(network, prompt: list[int], ids: list[int]) -> torch.Tensor:
    with at_rest(network):
        logits_TV = network(torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0]
    logp_CV = logits_TV[len(prompt) - 1 : -1].float().log_softmax(-1)
    return logp_CV.gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "gpt2"])
def test_log_probabilities_are_the_models_own(name: str) -> None:
    network = family(name)
    with at_rest(network):
        assert isinstance(begin(current(network), PROMPTS[:1], 4), Paced if name == "gpt2" else Flock)
    for prompt, (ids, logp) in zip(PROMPTS, Speaking(network, frozenset()).write(PROMPTS, SEEDS, 20), strict=True):
        assert len(ids) == 20
        assert torch.allclose(torch.tensor(logp), own_logp(network, prompt, ids), atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_a_seed_writes_the_same_answer_in_any_company(name: str) -> None:
    speaking = Speaking(family(name), frozenset({2, 5, 7, 9, 13, 17}))
    together = speaking.write(PROMPTS, SEEDS, 30)
    alone = [speaking.write([prompt], [seed], 30)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    pairs = Speaking(speaking.network, speaking.ends, batch=2).write(PROMPTS, SEEDS, 30)
    assert [ids for ids, _ in together] == [ids for ids, _ in alone] == [ids for ids, _ in pairs]
    assert len({len(ids) for ids, _ in together}) > 1  # some ended early, and left
    other = speaking.write(PROMPTS, [seed + 1 for seed in SEEDS], 30)
    assert [ids for ids, _ in other] != [ids for ids, _ in together]


def test_an_answer_keeps_its_first_end_and_nothing_behind() -> None:
    ends = frozenset({3, 5, 8})
    found = Speaking(model(1), ends).write(PROMPTS * 4, list(range(24)), 30)
    for ids, logp in found:
        assert len(ids) == len(logp) <= 30
        assert not ends & set(ids[:-1])
        assert ids[-1] in ends or len(ids) == 30
    assert sum(ids[-1] in ends for ids, _ in found) > 12


def test_ends_are_those_of_the_models_folder_and_texts_end_with_the_context() -> None:
    assert Speaking.of(model(1, eos=(2, 3))).ends == {2, 3}
    found = Speaking(model(1, positions=12), frozenset()).write(PROMPTS, SEEDS, 30)
    assert [len(prompt) + len(ids) for prompt, (ids, _) in zip(PROMPTS, found, strict=True)] == [12] * 6


def distance(found_V: torch.Tensor, law_V: torch.Tensor) -> float:
    """Pearson's chi squared, with VOCAB - 1 = 23 degrees of freedom: above 62 with probability 2e-5."""
    want_V = law_V * found_V.sum()
    return float(((found_V - want_V) ** 2 / want_V).sum())


def test_draws_follow_the_law_and_warps_change_it() -> None:
    network, count = model(0), 2000
    with torch.no_grad():
        logits_V = network(torch.tensor([[1, 2]])).logits[0, -1]

    def counts(warp) -> torch.Tensor:
        said = Speaking(network, frozenset(), warp, batch=count).write([[1, 2]] * count, list(range(count)), 1)
        return torch.bincount(torch.tensor([ids[0] for ids, _ in said]), minlength=VOCAB).double()

    plain, hot = logits_V.double().softmax(-1), (logits_V.double() / 1.3).softmax(-1)
    drawn, heated, best = counts(None), counts(temperature(1.3)), counts(greedy())
    assert distance(drawn, plain) < 62 < distance(drawn, hot)  # the power: a slightly wrong law is seen
    assert distance(heated, hot) < 62 < distance(heated, plain)
    assert best[logits_V.argmax()] == count


def test_warps_leave_log_probabilities_alone() -> None:
    network = model(0)
    for prompt, (ids, logp) in zip(
        PROMPTS, Speaking(network, frozenset(), greedy()).write(PROMPTS, SEEDS, 8), strict=True
    ):
        assert torch.allclose(torch.tensor(logp), own_logp(network, prompt, ids), atol=1e-4)


def test_nothing_of_the_student_moves() -> None:
    network = model(0).train()
    network.model.layers[0].eval()
    network(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    modes = {name: part.training for name, part in network.named_modules()}
    weights = {name: weight.clone() for name, weight in network.named_parameters()}
    places = {name: weight.data_ptr() for name, weight in network.named_parameters()}
    grads = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    for dtype in (None, torch.bfloat16):
        Speaking(network, frozenset(), dtype=dtype).write(PROMPTS, SEEDS, 4)
    assert {name: part.training for name, part in network.named_modules()} == modes
    assert {name: weight.data_ptr() for name, weight in network.named_parameters()} == places
    for name, weight in network.named_parameters():
        assert weight.requires_grad
        assert torch.equal(weight, weights[name])
        assert torch.equal(weight.grad, grads[name])
    network(torch.tensor([[1, 2, 3]])).logits.sum().backward()


def test_weights_are_those_of_now() -> None:
    network = model(0)
    before = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), 0.3)
    network(torch.tensor([[1, 2, 3]])).logits[..., 5].sum().backward()
    speaking = Speaking(network, frozenset())
    early = speaking.write(PROMPTS, SEEDS, 8)
    optimiser.step()
    late = speaking.write(PROMPTS, SEEDS, 8)
    assert [ids for ids, _ in early] != [ids for ids, _ in late]
    for prompt, (ids, logp) in zip(PROMPTS, late, strict=True):
        assert torch.allclose(torch.tensor(logp), own_logp(network, prompt, ids), atol=1e-4)
        assert not torch.allclose(torch.tensor(logp), own_logp(before, prompt, ids), atol=1e-2)  # a stale copy is seen


def test_adapters_are_not_forgotten() -> None:
    """A layer that is more than its weight must not be read as its weight alone."""

    class Adapted(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2.0

    network = model(0)
    layer = network.model.layers[1].mlp
    with torch.random.fork_rng():
        grown = Adapted(*reversed(layer.down_proj.weight.shape), bias=False)
    grown.weight = layer.down_proj.weight
    layer.down_proj = grown
    for prompt, (ids, logp) in zip(PROMPTS, Speaking(network, frozenset()).write(PROMPTS, SEEDS, 8), strict=True):
        assert torch.allclose(torch.tensor(logp), own_logp(network, prompt, ids), atol=1e-4)


def test_a_rounded_copy_says_nearly_the_same() -> None:
    network = model(0)
    found = Speaking(network, frozenset(), dtype=torch.bfloat16).write(PROMPTS, SEEDS, 8)
    gaps = [
        (torch.tensor(logp) - own_logp(network, prompt, ids)).abs().mean()
        for prompt, (ids, logp) in zip(PROMPTS, found, strict=True)
    ]
    assert 1e-5 < max(gaps) < 0.3


def test_a_teacher_can_be_mixed_in() -> None:
    network, teacher = model(0), model(1)
    speaking = Speaking.of(network, teacher=teacher)
    assert isinstance(speaking, Mixes)
    plain = Speaking(network, frozenset()).write(PROMPTS, SEEDS, 12)
    assert [ids for ids, _ in speaking.mixed(0.0).write(PROMPTS, SEEDS, 12)] == [ids for ids, _ in plain]
    assert [ids for ids, _ in speaking.mixed(0.3).write(PROMPTS, SEEDS, 12)] != [ids for ids, _ in plain]
    for share in (0.3, 1.0):
        for prompt, (ids, logp) in zip(PROMPTS, speaking.mixed(share).write(PROMPTS, SEEDS, 12), strict=True):
            p, q = own_logp(teacher, prompt, ids).exp(), own_logp(network, prompt, ids).exp()
            assert torch.allclose(torch.tensor(logp), (share * p + (1 - share) * q).log(), atol=1e-4)


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(IncompatibleParts, match="teacher"):
        Speaking(model(0), frozenset()).mixed(0.2)
    with pytest.raises(BadInput, match="0 to 1 tokens"):
        Speaking(model(0), frozenset()).write([[1], []], [1, 2], 3)
    with pytest.raises(BadInput, match="as many seeds"):
        Speaking(model(0), frozenset()).write([[1]], [1, 2], 3)
    with pytest.raises(BadInput, match="room for an answer"):
        Speaking(model(0, positions=4), frozenset()).write([[1, 2, 3, 4]], [1], 3)


def test_a_draw_is_the_id_in_whose_stretch_the_number_falls() -> None:
    probs_RV = torch.rand(40, 3 * BLOCK + 7, generator=torch.Generator().manual_seed(0))
    probs_RV[:, ::3] = 0
    probs_RV[:, -9:] = 0
    logp_RV = probs_RV.log().log_softmax(-1)
    u_R = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u_R[:4] = torch.tensor([2.0**-53, 1 - 2.0**-53, 0.0, 1.0])
    mass_RV = logp_RV.double().exp().cumsum(-1)
    want_R = torch.searchsorted(mass_RV, u_R[:, None] * mass_RV[:, -1:], right=True)[:, 0]
    found_R = _drawn(logp_RV, u_R)
    assert torch.equal(found_R[4:], want_R[4:])
    assert probs_RV.gather(-1, found_R[:, None]).min() > 0
    assert found_R[2] == 1
    assert found_R[3] == probs_RV[3].nonzero()[-1]


def test_small_matrices_are_not_rounded(monkeypatch) -> None:
    monkeypatch.setattr(now, "fast_bfloat16", lambda: True)
    wide = untrained(LlamaSpec(VOCAB, 256, 1, 2, 2, 512))
    assert swift(wide) == torch.bfloat16
    assert swift(model(0)) is None
    monkeypatch.setattr(now, "fast_bfloat16", lambda: False)
    assert swift(wide) is None


def test_keys_are_float32_beside_rounded_activations() -> None:
    voice = begin(current(model(0), torch.bfloat16), PROMPTS, 4)
    assert voice.lean.dtype == torch.bfloat16
    assert {rows.dtype for rows in voice.keys + voice.values} == {torch.float32}
