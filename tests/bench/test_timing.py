"""Repeats that alternate."""

from decant.bench.timing import alternate, ratios, spread


def test_runs_alternate_behind_a_round_that_is_thrown_away() -> None:
    calls: list[str] = []

    def run(name: str, seconds: list[float]) -> float:
        calls.append(name)
        return seconds[sum(one == name for one in calls) - 1]

    found = alternate({"a": lambda: run("a", [9.0, 1.0, 2.0]), "b": lambda: run("b", [9.0, 3.0, 4.0])}, 2)
    assert calls == ["a", "b"] * 3
    assert found == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_spread_is_the_median_and_the_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_ratios_pair_up() -> None:
    # The machine was half as fast in the second repeat; the ratio does not see it.
    assert ratios([20.0, 10.0], [10.0, 5.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}
