"""KL to a mixture, whose ratios are bounded, and the student's own answers only as far as they are needed, used again.

As in the authors' code, what is looked at is cross-entropy on held-out texts, and answers come only once it has risen
by `slack`: a student that keeps getting better on them writes none, unless phi begins above 0. The authors begin with a
student that was tuned on the data and look at it before its first step; here the first look is after `every` steps. Of
a stream, whose texts are all new, it is the training's own nats. `--minutes` and `--plan` time steps on texts alone.
Source: Ko et al. 2024, arXiv:2402.03898.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final, final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.skew_kl import SkewKL
from decant.distill.measure import own_nats
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.replay import Replay
from decant.distill.texts import Text
from decant.recipes.kit import Kit

APART: Final = 8  # of so many texts one may be looked at


@final
@dataclass(frozen=True, slots=True)
class DistiLLM:
    """lam: how far the student's law is mixed with the teacher's. reverse: skew reverse KL.

    ce: of the texts' own tokens, which the authors take from a second corpus. capacity: answers that are kept.
    every: steps between two looks, at `looked` texts that are not taught (one in `APART`, at most). phi: the share of
    steps on answers at the start; slack: how much worse the loss must be for it to grow.
    """

    lam: float = 0.1
    reverse: bool = False
    ce: float = 1.0
    capacity: int = 1000
    every: int = 100
    looked: int = 32
    phi: float = 0.0
    slack: float = 0.1

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts, and answers of the student, new and old."""
        taught, looked = self._parted(kit)
        rollouts = Replay(
            kit.rows_of(taught),
            kit.writing(),
            capacity=self.capacity,
            first=self.phi,
            slack=self.slack,
            every=self.every,
            validation=partial(own_nats, kit.student, looked, kit.micro, kit.length) if looked else None,
        )
        skewed = Pointwise(SkewKL(self.lam, self.reverse))
        return kit.composed(rollouts, [Asked(skewed), Asked(CrossEntropy(), self.ce)])

    def _parted(self, kit: Kit) -> tuple[list[Text] | None, list[Text]]:
        """What is taught (None: all there is), and what is looked at, evenly out of the data."""
        texts = [text for text in kit.texts if text.teaches(kit.length)]
        if kit.stream is not None or not self.looked or len(texts) < APART:
            return None, []
        stride = max(APART, len(texts) // self.looked)
        looked = texts[stride - 1 :: stride][: self.looked]
        apart = set(map(id, looked))
        return [text for text in kit.texts if id(text) not in apart], looked
