"""Which tokens followed which, in texts of token ids: contexts of one to five tokens."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

LONGEST: Final = 5  # tokens of a context


@final
@dataclass(frozen=True, slots=True)
class NGrams:
    """after: context -> how often each token followed it."""

    after: Mapping[tuple[int, ...], Counter[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]]) -> "NGrams":
        """Counted in these texts."""
        after: dict[tuple[int, ...], Counter[int]] = {}
        for text in texts:
            for at, token in enumerate(text):
                for size in range(1, min(LONGEST, at) + 1):
                    after.setdefault(tuple(text[at - size : at]), Counter())[token] += 1
        return cls(after)


def blended(
    tables: Sequence[NGrams], text: Sequence[int], tokens: Sequence[int], weights: Sequence[float]
) -> list[float]:
    """The weighted sum of P(token | last n tokens of `text`) over n from 1 on, for each token; tables are counted
    together, and a context that none has seen adds nothing."""
    total = [0.0] * len(tokens)
    for size, weight in enumerate(weights, 1):
        if size > len(text):
            break
        found = [table.after[context] for table in tables if (context := tuple(text[-size:])) in table.after]
        seen = sum(counts.total() for counts in found)
        if seen:
            for place, token in enumerate(tokens):
                total[place] += weight * sum(counts[token] for counts in found) / seen
    return total
