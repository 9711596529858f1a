"""The adapter says what transformers says, for every architecture: fresh prompts, chains, trees, commits, batches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from decant.errors import BadInput, IncompatibleParts
from decant.models.causal import Causal
from decant.models.fast.lean import Lean
from decant.models.load import load
from decant.types import PAD, Draft, Taps, Verdict
from tests.models.families import FAMILIES, VOCAB, build

CLOSE = {"rtol": 0, "atol": 2e-5}
PARENTS = [-1, -1, 0, 0, 2, 1]  # two children of the root, two of the first, then a deeper one each


LEAN = ("llama", "llama-untied-bias", "qwen2", "qwen3", "mistral", "mistral-sliding", "phi3", "starcoder2")
OURS = [f"{name}/ours" for name in FAMILIES]
THEIRS: dict[int, PreTrainedModel] = {}


@pytest.fixture(scope="module", params=[*FAMILIES, *OURS, *(f"{name}/lean" for name in LEAN)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Causal:
    """Each architecture as a model in memory, as it is; from a folder, with our attention and linears; and lean."""
    name, _, way = request.param.partition("/")
    network = build(name)
    if not way:
        return load(network, exact="off").model
    folder = tmp_path_factory.mktemp(name)
    network.save_pretrained(folder)
    made = load(str(folder), exact="off", dtype="float32", lean=way == "lean").model
    assert isinstance(made.network, Lean) == (way == "lean")
    THEIRS[id(made.network)] = network
    return made


def theirs(model: Causal) -> PreTrainedModel:
    """transformers' own model, as it is."""
    return THEIRS.get(id(model.network)) or model.network.model


@pytest.fixture
def prompt_BT() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    prompt_BT = torch.randint(3, VOCAB, (3, 20), generator=generator)  # longer than the sliding windows
    prompt_BT[1, 14:] = PAD
    prompt_BT[2, 5:] = PAD
    return prompt_BT


@pytest.fixture
def tree() -> Draft:
    tokens_BN = torch.randint(3, VOCAB, (3, len(PARENTS)), generator=torch.Generator().manual_seed(2))
    return Draft(tokens_BN, torch.tensor([PARENTS] * 3))


def fresh(model: Causal, ids: list[int]) -> Tensor:
    """logits_TV of transformers' own forward, without any cache or mask of ours."""
    with torch.inference_mode():
        return theirs(model)(torch.tensor([ids]), use_cache=False).logits[0]


def real(row_T: Tensor) -> list[int]:
    return row_T[row_T != PAD].tolist()


def path(node: int) -> list[int]:
    return [] if node == PAD else [*path(PARENTS[node]), node]


def test_a_tree_scores_what_each_of_its_paths_scores(model, prompt_BT, tree):
    assert model.trees
    with torch.inference_mode():
        scores = model.score(model.start(prompt_BT)[0], tree)
    for request, row_T in enumerate(prompt_BT):
        torch.testing.assert_close(scores.logits_BMV[request, 0], fresh(model, real(row_T))[-1], **CLOSE)
        for node in range(len(PARENTS)):
            ids = real(row_T) + tree.tokens_BN[request, path(node)].tolist()
            torch.testing.assert_close(scores.logits_BMV[request, node + 1], fresh(model, ids)[-1], **CLOSE)


def test_a_tree_scored_level_by_level_scores_the_same(model, prompt_BT, tree):
    with torch.inference_mode():
        whole = model.score(model.start(prompt_BT)[0], tree)
        context, _ = model.start(prompt_BT)
        for nodes in (0, 2, 4, 6):
            assert tree.parents_BN is not None
            grown = model.score(context, Draft(tree.tokens_BN[:, :nodes], tree.parents_BN[:, :nodes]))
    torch.testing.assert_close(grown.logits_BMV, whole.logits_BMV, **CLOSE)


def test_commit_then_score_equals_a_fresh_start(model, prompt_BT, tree):
    """Three requests accept paths of different lengths, then have different numbers of tokens pending."""
    accepted = [[0, 2, 4], [1], []]
    with torch.inference_mode():
        context, _ = model.start(prompt_BT)
        model.score(context, tree)
        rows = [[*tree.tokens_BN[b, nodes].tolist(), 7] for b, nodes in enumerate(accepted)]
        verdict = Verdict(padded(rows), padded([[*nodes, PAD] for nodes in accepted]))
        after = model.commit(context, verdict)
        pending = model.commit(after, Verdict(padded([[8, 9], [10], [11, 12]]), torch.full((3, 2), PAD)))
        for state in (after, pending):
            chain = Draft(tree.tokens_BN[:, :3])
            scores = model.score(state, chain)
            for request, row_T in enumerate(model.tokens(state)):
                want = fresh(model, real(row_T) + chain.tokens_BN[request].tolist())[-4:]
                torch.testing.assert_close(scores.logits_BMV[request], want, **CLOSE)


def test_the_old_state_is_a_point_of_return(model, prompt_BT, tree):
    with torch.inference_mode():
        context, _ = model.start(prompt_BT)
        before = model.score(context, tree).logits_BMV
        model.score(model.commit(context, Verdict(tree.tokens_BN[:, :1], torch.zeros(3, 1, dtype=torch.int64))), tree)
        again = model.score(context, tree).logits_BMV
    torch.testing.assert_close(again, before, **CLOSE)


def test_requests_leave_and_join(model, prompt_BT, tree):
    with torch.inference_mode():
        context, _ = model.start(prompt_BT)
        scores = model.score(context, tree).logits_BMV
        two, one = context.select(torch.tensor([2, 0])), model.start(prompt_BT[1:2, :14])[0]
        assert tree.parents_BN is not None
        order = torch.tensor([2, 0, 1])
        joined = model.score(two.join(one), Draft(tree.tokens_BN[order], tree.parents_BN[order])).logits_BMV
    torch.testing.assert_close(joined, scores[order], **CLOSE)


def test_an_early_exit_is_the_head_over_that_layer(model, prompt_BT):
    if not isinstance(model.network, Lean):
        pytest.skip("models of transformers have no exits here")
    early = replace(model, network=model.network.upto(2))
    with torch.inference_mode():
        _, whole = model.start(prompt_BT, Taps(layers=(2,)))
        _, said = early.start(prompt_BT, Taps(logits=True))
        assert whole.hidden_BMD is not None
        want_BMV = model.network.head(model.network.norm(whole.hidden_BMD))
    for request, row_T in enumerate(prompt_BT):
        count = len(real(row_T)) - 1
        torch.testing.assert_close(said.logits_BMV[request, :count], want_BMV[request, :count], **CLOSE)


def test_taps(model, prompt_BT):
    with torch.inference_mode():
        _, prefill = model.start(prompt_BT, Taps(layers=(0, -1), top=3, logits=True))
        assert prefill.top_BMK is not None
        assert prefill.hidden_BMD is not None
        for request, row_T in enumerate(prompt_BT):
            ids = real(row_T)
            want = fresh(model, ids)[:-1]
            torch.testing.assert_close(prefill.logits_BMV[request, : len(ids) - 1], want, **CLOSE)
            assert torch.equal(prefill.top_BMK[request, : len(ids) - 1, 0], want.argmax(-1))
            assert (prefill.top_BMK[request, len(ids) - 1 :] == PAD).all()
            embedded = theirs(model).get_input_embeddings()(torch.tensor(ids[:-1]))
            width = prefill.hidden_BMD.shape[-1] // 2
            if model.network.architecture in {"LlamaForCausalLM", "Qwen3ForCausalLM"}:  # others scale or add positions
                torch.testing.assert_close(prefill.hidden_BMD[request, : len(ids) - 1, :width], embedded, **CLOSE)
            head = theirs(model).get_output_embeddings()(prefill.hidden_BMD[request, : len(ids) - 1, width:])
            if "Gemma2" not in model.network.architecture:  # caps its logits
                torch.testing.assert_close(head, want, **CLOSE)


def test_absent_nodes_are_harmless(model, prompt_BT, tree):
    assert tree.parents_BN is not None
    tokens_BN = tree.tokens_BN.clone()
    tokens_BN[:, [3, 5]] = PAD
    with torch.inference_mode():
        whole = model.score(model.start(prompt_BT)[0], tree).logits_BMV
        ragged = model.score(model.start(prompt_BT)[0], Draft(tokens_BN, tree.parents_BN)).logits_BMV
    torch.testing.assert_close(ragged[:, [0, 1, 2, 3, 5]], whole[:, [0, 1, 2, 3, 5]], **CLOSE)


@pytest.mark.parametrize("kind", ["mamba2", "rwkv"])
def test_recurrent_models_are_refused(kind):
    shape = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}
    if kind == "mamba2":
        shape |= {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1}
    with torch.random.fork_rng():
        network = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape))
    with pytest.raises(IncompatibleParts, match="recurrent state that cannot be rolled back"):
        load(network, exact="off")


def test_prompts_that_cannot_be(model):
    with pytest.raises(BadInput, match="empty prompt"):
        model.start(torch.full((1, 1), PAD))
    with pytest.raises(BadInput, match="has 129 tokens, but the model's context holds 128"):
        model.start(torch.full((1, 129), 5))


def padded(rows: list[list[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
