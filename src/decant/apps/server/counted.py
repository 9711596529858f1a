"""A verifier that counts what it was given to judge."""

from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from decant.noise import Noise
from decant.protocols import Verifier
from decant.types import PAD, Draft, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """`verifier` itself, as far as anybody else can see. last: guesses of each request in the step that was last."""

    verifier: Verifier
    last: list[int] = field(default_factory=list)

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """The verifier's own verdict."""
        self.last[:] = (draft.tokens_BN != PAD).sum(-1).tolist()  # sync: statistics are kept on the host
        return self.verifier.verify(draft, target_BMV, noise)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.verifier, name)
