"""A mixed row is what the network makes of the mixture of embeddings."""

import pytest
import torch

from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.load import load
from decant.models.superposed import Superposed
from decant.types import PAD, Draft, join_rows, select_rows

SPEC = LlamaSpec(vocab=61, hidden=32, layers=3, heads=2, kv_heads=1, intermediate=48, head_dim=16, positions=256)
PROMPT_BT = torch.tensor([[1, 2, 3, 4, 5], [6, 7, PAD, PAD, PAD]])
TOKENS_BK = torch.tensor([[8, 9, 10], [11, 12, 11]])
WEIGHTS_BK = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])


@pytest.fixture(scope="module", params=["lean", "padded"])
def mixer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Superposed:
    folder = tmp_path_factory.mktemp(request.param)
    save_folder(untrained(SPEC, 0), folder, torch.float32)
    return Superposed(load(str(folder), exact="off", lean=request.param == "lean").model)


@torch.inference_mode()
def by_transformers(prompt: list[int], mixtures: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """logits_V behind a prompt and mixed rows, in one forward without a cache."""
    model = untrained(SPEC, 0)
    table = model.get_input_embeddings().weight
    rows = [table[token] for token in prompt] + [weights_K @ table[tokens_K] for tokens_K, weights_K in mixtures]
    return model(inputs_embeds=torch.stack(rows)[None]).logits[0, -1]


@torch.inference_mode()
def test_mixed_rows_are_those_of_transformers(mixer: Superposed) -> None:
    context = mixer.start(PROMPT_BT)
    root_BV = mixer.root(context)
    context, one_BV = mixer.mixed(context, TOKENS_BK, WEIGHTS_BK)
    context, two_BV = mixer.mixed(context, TOKENS_BK.flip(1), WEIGHTS_BK)
    for request, prompt in enumerate([[1, 2, 3, 4, 5], [6, 7]]):
        first = TOKENS_BK[request], WEIGHTS_BK[request]
        second = TOKENS_BK[request].flip(0), WEIGHTS_BK[request]
        torch.testing.assert_close(root_BV[request], by_transformers(prompt, []), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one_BV[request], by_transformers(prompt, [first]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(two_BV[request], by_transformers(prompt, [first, second]), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_all_weight_on_one_token_is_that_token(mixer: Superposed) -> None:
    context = mixer.start(PROMPT_BT)
    mixer.root(context)
    _, mixed_BV = mixer.mixed(context, TOKENS_BK, torch.tensor([[0.0, 1.0, 0.0]] * 2))
    plain = mixer.model.start(PROMPT_BT)[0]
    scores = mixer.model.score(plain, Draft(TOKENS_BK[:, 1:2]))
    torch.testing.assert_close(mixed_BV, scores.logits_BMV[:, 1], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_what_is_committed_drops_the_mixture_and_requests_leave_and_join(mixer: Superposed) -> None:
    context = mixer.start(PROMPT_BT)
    mixer.root(context)
    context, _ = mixer.mixed(context, TOKENS_BK, WEIGHTS_BK)
    context, _ = mixer.mixed(context, TOKENS_BK, WEIGHTS_BK)
    context = mixer.commit(context, torch.tensor([[20, 21, 22], [23, PAD, PAD]]))
    late = mixer.start(torch.tensor([[30, 31, 32]]))
    joined = join_rows(select_rows(context, torch.tensor([1, 0])), late)
    logits_BV = mixer.root(joined)
    for row, text in enumerate([[6, 7, 23], [1, 2, 3, 4, 5, 20, 21, 22], [30, 31, 32]]):
        assert [token for token in mixer.tokens(joined)[row].tolist() if token != PAD] == text
        torch.testing.assert_close(logits_BV[row], by_transformers(text, []), atol=1e-4, rtol=1e-4)
