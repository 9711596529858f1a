"""GLIDE's recipe: a small language model, which may have learnt its trade elsewhere, learns what the target's states
add; taught on its own states for several steps, as EAGLE-3 is.

Source: Du et al. 2024, arXiv:2402.02082; training-time test: Li et al. 2025, arXiv:2503.01840.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

from torch import Tensor

from decant.distill.heads.lesson import layered
from decant.distill.heads.unrolling import guessed, own_states
from decant.distill.trainer import Loss
from decant.errors import BadInput
from decant.models.heads.spec import HeadSpec, default_taps
from decant.models.load import stored
from decant.models.teacher import Reading, Teacher

GENTLE: Final = 1e-3  # the rate for weights that were taught before


@final
@dataclass(frozen=True, slots=True)
class Glide:
    """start: the draft model whose shape and weights it begins with; "": none, and the other knobs say its shape.
    width, intermediate, heads, kv_heads, head_dim: 0: the teacher's. draft_vocab: ids that can be guessed, 0: all.
    unroll: steps of a lesson. decay: what a step counts less than the one before."""

    kind: ClassVar[str] = "glide"
    start: str = ""
    width: int = 0
    layers: int = 1
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    unroll: int = 3
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher. Raises BadInput for a start of another vocabulary."""
        begun = self._begun(teacher) if self.start else layered(self._fresh(teacher), self)
        return replace(begun, draft_vocab=self.draft_vocab, taps=default_taps(begun.teacher_layers))

    def _fresh(self, teacher: Teacher) -> HeadSpec:
        knobs = {"width": self.width or teacher.config.hidden_size, "layers": self.layers}
        return HeadSpec.beside(self.kind, teacher.name, teacher.config, knobs=knobs)

    def _begun(self, teacher: Teacher) -> HeadSpec:
        """In the proportions of the model that it starts from."""
        theirs, mine = stored(self.start)[0].config.get_text_config(), teacher.config
        if theirs.vocab_size != mine.vocab_size:
            raise BadInput(
                f"start={self.start} knows {theirs.vocab_size} ids and {teacher.name} {mine.vocab_size}; start from a "
                f"model with the teacher's tokenizer"
            )
        knobs = {"start": self.start, "width": theirs.hidden_size, "layers": theirs.num_hidden_layers}
        shape = HeadSpec.beside(self.kind, teacher.name, theirs, knobs=knobs)
        return replace(shape, hidden=mine.hidden_size, teacher_layers=mine.num_hidden_layers)

    def rate(self, spec: HeadSpec) -> float:
        """1e-3 for weights that were taught before; 5e-5 at a width of 4,096 for fresh ones, more for narrower."""
        return GENTLE if self.start else 5e-5 * 4096 / spec.knobs["width"]

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Cross-entropy of every step."""
        return own_states(net, teacher, self.unroll, self.decay)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        return guessed(net, reading)
