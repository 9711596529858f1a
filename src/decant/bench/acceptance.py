"""What drafts were worth, and whether the text flatters them."""

from collections.abc import Iterable

from decant.bench.ledger import Round
from decant.numerics import chain_parents, depths
from decant.types import PAD


def by_position(rounds: Iterable[Round]) -> list[float]:
    """Entry i: of the request-steps that offered a guess at depth i + 1, the share in which one was kept.

    A tree offers a depth where it has any node there. What lies behind a refused guess counts as refused. Where every
    draft is equally long, the entries and one more for the bonus token add up to the acceptance length, before cuts.
    """
    offered: list[int] = []
    accepted: list[int] = []
    for one in rounds:
        parents_BN = chain_parents(one.tokens_BN) if one.parents_BN is None else one.parents_BN
        depth_BN = depths(parents_BN).where(one.tokens_BN != PAD, 0)
        kept_B = (one.nodes_BC != PAD).sum(-1)
        deepest = int(depth_BN.max()) if depth_BN.numel() else 0
        offered += [0] * (deepest - len(offered))
        accepted += [0] * (deepest - len(accepted))
        for depth in range(1, deepest + 1):
            here_B = (depth_BN == depth).any(-1)
            offered[depth - 1] += int(here_B.sum())
            accepted[depth - 1] += int((here_B & (kept_B >= depth)).sum())
    return [kept / tried if tried else 0.0 for kept, tried in zip(accepted, offered, strict=True)]


def distinct_ngrams(outputs: Iterable[list[int]], n: int = 4) -> float | None:
    """Distinct n-grams over all n-grams, within each output; None where every output is shorter than n.

    Counted in each text by itself: that many prompts have a similar answer is no loop.
    """
    total = different = 0
    for tokens in outputs:
        grams = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
        total += len(grams)
        different += len(set(grams))
    return different / total if total else None
