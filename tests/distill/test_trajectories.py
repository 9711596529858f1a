"""Pairs of noise and image, on a teacher of which everything is known."""

from pathlib import Path

import pytest
import torch

from decant.distill.images.trajectories import FACTS, SHARD, Order, made, write
from decant.errors import BadInput
from decant.testing.tables import TableTeacher

TABLE = TableTeacher()


def test_a_pair_can_be_made_again(tmp_path: Path) -> None:
    pairs = write(TABLE, Order("table", 100), tmp_path)
    again = made(TABLE, pairs.labels_N, pairs.seeds_N, flow=20)
    assert torch.equal(again.ids_NL, pairs.ids_NL)
    assert torch.equal(again.eps(), pairs.eps())
    assert pairs.labels_N.bincount().tolist() == [50, 50]
    one = pairs.select(torch.tensor([17]))
    assert torch.equal(one.eps()[0], pairs.eps()[17])


def test_pairs_of_another_seed_are_others() -> None:
    assert not torch.equal(*(made(TABLE, torch.zeros(9, dtype=torch.int64), seeds, 20).eps() for seeds in SEEDS))


SEEDS = (torch.arange(9), torch.arange(9) + 2**32)


def test_a_killed_run_goes_on_behind_its_last_shard(tmp_path: Path) -> None:
    count = 2 * SHARD + 5
    whole = write(TABLE, Order("table", count), tmp_path / "a")
    last = tmp_path / "a" / "000002.safetensors"
    kept = last.read_bytes()
    written = (tmp_path / "a" / "000000.safetensors").stat().st_mtime_ns
    last.rename(last.with_name(last.name + ".part"))  # as a kill leaves it
    told: list[int] = []
    again = write(TABLE, Order("table", count), tmp_path / "a", lambda done, total: told.append(done))
    assert torch.equal(again.ids_NL, whole.ids_NL)
    assert again.ids_NL.dtype == torch.int64
    assert last.read_bytes() == kept
    assert (tmp_path / "a" / "000000.safetensors").stat().st_mtime_ns == written
    assert told == [SHARD, 2 * SHARD, count]


def test_another_order_or_another_teacher_is_refused(tmp_path: Path) -> None:
    write(TABLE, Order("table", 100), tmp_path)
    with pytest.raises(BadInput, match="give a new folder"):
        write(TABLE, Order("table", 100, seed=1), tmp_path)
    other = TableTeacher(codes_VC=TABLE.codes_VC.flip(0).contiguous())
    with pytest.raises(BadInput, match="trajectories of another table"):
        write(other, Order("table", 100), tmp_path)
    (tmp_path / "000000.safetensors").write_bytes(b"cut")
    with pytest.raises(BadInput, match="remove it, it is then made again"):
        write(TABLE, Order("table", 100), tmp_path)


def test_more_pairs_go_on_behind_fewer(tmp_path: Path) -> None:
    write(TABLE, Order("table", SHARD + 5), tmp_path)
    more, fewer = (write(TABLE, Order("table", count), tmp_path) for count in (SHARD + 9, SHARD + 2))
    assert torch.equal(fewer.ids_NL, more.ids_NL[: SHARD + 2])
    assert torch.equal(more.seeds_N, torch.arange(SHARD + 9))
    assert torch.equal(made(TABLE, more.labels_N, more.seeds_N, flow=20).ids_NL, more.ids_NL)


def test_facts_are_whole_or_absent(tmp_path: Path) -> None:
    write(TABLE, Order("table", 10), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.safetensors", FACTS]


def test_one_pair_is_too_few() -> None:
    with pytest.raises(BadInput, match="one pair at least"):
        Order("table", 1)
