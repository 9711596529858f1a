from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from decant.distill.early_exit import LayerSkip, Sorted, exit_nats, skipping
from decant.distill.trainer import Settings, train
from decant.errors import BadInput
from decant.models.build import LlamaSpec, next_token_nats, untrained

SPEC = LlamaSpec(vocab=23, hidden=32, layers=4, heads=2, kv_heads=1, intermediate=48, head_dim=16)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Counting upwards by one or two, which the first token says."""
    rng = Generator().manual_seed(step)
    stride_B1 = torch.randint(1, 3, (8, 1), generator=rng)
    ids_BT = 3 + (torch.randint(20, (8, 1), generator=rng) + stride_B1 * torch.arange(12)) % 20
    ids_BT[:, :1] = stride_B1
    return ids_BT, torch.ones(8, 12).index_fill(1, torch.tensor([0, 1]), 0.0)


def test_the_last_exit_alone_is_the_ordinary_loss() -> None:
    model, (ids_BT, weights_BT) = untrained(SPEC), batch(0)
    torch.testing.assert_close(
        exit_nats(model, ids_BT, weights_BT, {4: 1.0}), next_token_nats(model, ids_BT, weights_BT)
    )


def test_an_exit_speaks_through_the_norm_and_the_head() -> None:
    model, (ids_BT, weights_BT) = untrained(SPEC), batch(0)
    weights_BT[:, 5] = 3.0
    shallow = untrained(SPEC)
    shallow.model.layers = shallow.model.layers[:2]
    want = next_token_nats(shallow, ids_BT, weights_BT)
    torch.testing.assert_close(exit_nats(model, ids_BT, weights_BT, {2: 1.0}), want)
    both = exit_nats(model, ids_BT, weights_BT, {2: 0.25, 4: 0.75})
    torch.testing.assert_close(both, 0.25 * want + 0.75 * next_token_nats(model, ids_BT, weights_BT))


def test_an_exit_teaches_no_layer_above_it() -> None:
    model = untrained(SPEC)
    exit_nats(model, *batch(0), {2: 1.0}).backward()
    taught = [layer.mlp.down_proj.weight.grad is not None for layer in model.model.layers]
    assert taught == [True, True, False, False]


def test_shares_grow_with_depth_by_turns() -> None:
    recipe = LayerSkip(scale=0.5, every=2)
    sums = [0, 0.5, 1.5]  # scale times 0, 0 + 1, 0 + 1 + 2
    last = 3 + sums[2]
    assert recipe.shares(4, turn=0) == pytest.approx({2: sums[1] / (sums[1] + last), 4: last / (sums[1] + last)})
    assert recipe.shares(4, turn=1) == pytest.approx({3: sums[2] / (sums[2] + last), 4: last / (sums[2] + last)})
    assert set(LayerSkip(every=1).shares(9, turn=5)) == set(range(2, 10))
    assert LayerSkip().shares(1, turn=0) == {1: 1.0}


def test_sorted_exits_keep_their_proportion_and_the_last() -> None:
    assert Sorted().asked(32) == (6, 9, 12, 32)
    assert Sorted().asked(8) == (2, 3, 8)
    assert Sorted().asked(1) == (1,)
    assert Sorted("1-3-4").asked(4) == (1, 3, 4)


def test_deeper_layers_are_left_out_oftener() -> None:
    assert LayerSkip(skipped=0.4).rates(3) == pytest.approx([0.0, 0.4 * (2**0.5 - 1), 0.4])
    assert LayerSkip(skipped=0.4).rates(1) == [0.0]


def test_a_layer_that_is_left_out_hands_on_what_it_got() -> None:
    model, (ids_BT, weights_BT) = untrained(SPEC), batch(0)
    whole = next_token_nats(model, ids_BT, weights_BT)
    shallow = untrained(SPEC)
    shallow.model.layers = shallow.model.layers[:2]
    with skipping(model, [0.0, 0.0, 1.0, 1.0], Generator().manual_seed(0)):
        torch.testing.assert_close(
            next_token_nats(model, ids_BT, weights_BT), next_token_nats(shallow, ids_BT, weights_BT)
        )
        deep, low = (exit_nats(model, ids_BT, weights_BT, {exit: 1.0}) for exit in (4, 2))
        torch.testing.assert_close(deep, low, msg="states are read as they are handed on")
    assert torch.equal(next_token_nats(model, ids_BT, weights_BT), whole), "nothing stays behind"


def test_rows_are_left_out_one_by_one_at_the_rate() -> None:
    model = untrained(SPEC)
    ids_BT = torch.full((400, 2), 5)
    with torch.no_grad(), skipping(model, [0.0, 0.0, 0.0, 0.3], Generator().manual_seed(0)):
        kept = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state[:, 0]
    same_B = (kept == kept[0]).all(-1).double().mean()
    assert min(abs(float(same_B) - rate) for rate in (0.3, 0.7)) < 0.08


def test_a_loss_is_a_function_of_its_batch() -> None:
    model = untrained(SPEC)
    loss = LayerSkip(skipped=0.5).loss(model)
    one, again, other = (loss(*batch(step)) for step in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def right(model, exit: int) -> float:
    """How often an exit says the next token."""
    ids_BT, weights_BT = batch(999)
    wanted_BT = weights_BT[:, 1:] > 0
    with torch.no_grad():
        states = model.model(input_ids=ids_BT, use_cache=False, output_hidden_states=True).hidden_states
        said_NV = model.lm_head(model.model.norm(states[exit][:, :-1][wanted_BT]))
    return float((said_NV.argmax(-1) == ids_BT[:, 1:][wanted_BT]).double().mean())


@pytest.mark.parametrize("recipe", [LayerSkip(every=1), Sorted("2-4"), None], ids=["LayerSkip", "Sorted", "ordinary"])
def test_exits_learn_to_speak(tmp_path: Path, recipe) -> None:
    model = untrained(SPEC)
    model.requires_grad_(True)

    def ordinary(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        logits_BTV = model(ids_BT).logits[:, :-1]
        nats_BT = cross_entropy(logits_BTV.transpose(1, 2), ids_BT[:, 1:], reduction="none")
        return (nats_BT * weights_BT[:, 1:]).sum()

    loss = ordinary if recipe is None else recipe.loss(model)
    train(model, loss, batch, Settings(120, peak=5e-3, warmup=10), tmp_path)
    assert right(model, 4) > 0.9
    assert (right(model, 2) > 0.8) == (recipe is not None)


def test_messages() -> None:
    for exits in ("2-5", "0-4", "4-2", "2-2-4", "2-3"):
        with pytest.raises(BadInput, match=f"exits ascend from 1 to the last of the 4 layers of this .* got '{exits}'"):
            Sorted(exits).loss(untrained(SPEC))
    with pytest.raises(BadInput, match="sorted reads exits such as 2-3-4, not '2,4'"):
        Sorted("2,4").asked(4)
    with pytest.raises(BadInput, match="LayerSkip needs scale >= 0"):
        LayerSkip(skipped=1.0)
