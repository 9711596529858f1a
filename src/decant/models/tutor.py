"""A draft model that goes on learning while it serves: every lesson gives a new one, the old one stays as it is.

Source: Liu et al. 2023, arXiv:2310.07177 (online speculative decoding).
"""

import copy
import time
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from decant.errors import IncompatibleParts
from decant.models.causal import Causal
from decant.models.fast.reading import take, why_not
from decant.models.load import stored
from decant.models.loaded import Loaded
from decant.types import PAD

Lesson = tuple[Tensor, Tensor, Tensor, Tensor]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tutor:
    """Weights in float32 with what their optimiser remembers; `model` is what decodes with them.

    rate:   AdamW's, constant.
    steps:  of one lesson, at most.
    window: lessons that are repeated together, the newest among them: one text alone is learnt by heart.
    past:   the lessons before.
    """

    model: Causal
    network: PreTrainedModel
    rate: float = 1e-4
    steps: int = 2
    window: int = 16
    memory: dict[str, Any] = field(default_factory=dict)
    past: tuple[Lesson, ...] = ()

    @classmethod
    def of(cls, draft: Loaded) -> "Tutor":
        """Reads the draft's folder again, for training. Raises IncompatibleParts for a model that is not lean."""
        network, _ = stored(draft.name)
        reason = why_not(network)
        if reason is not None:
            raise IncompatibleParts(
                f"{draft.name} cannot learn while it serves: {reason}; take a draft of the Llama family"
            )
        return cls(draft.model, network.float())

    def taught(
        self, tokens_BT: Tensor, at_BP: Tensor, ids_BPK: Tensor, probs_BPK: Tensor, seconds: float = 2.0
    ) -> "Tutor":
        """After the lesson "what follows the first `at` tokens of a text has these probabilities".

        at_BP: PAD where there is none. ids_BPK, probs_BPK: the target's best ids there, and what it gave them; what
        they leave of 1 teaches nothing. The loss is -sum p log q, the mean over all positions that are read of the
        window. seconds: when they are over, a step is made of what was read by then, at least of this lesson.
        """
        if not bool((at_BP != PAD).any()):
            return self
        # Decoding runs in inference mode, whose tensors cannot be saved for a gradient: these are copies.
        lesson = tuple(part.clone() for part in (tokens_BT, at_BP, ids_BPK, probs_BPK))
        lessons = (*self.past, lesson)[-self.window :]
        network = copy.deepcopy(self.network).train().requires_grad_(True)
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=0.0)
        if self.memory:
            optimiser.load_state_dict(self.memory)
        end = time.monotonic() + seconds
        for _ in range(self.steps):
            count = 0
            for one in reversed(lessons):
                _loss(network, *one).backward()
                count += int((one[1] != PAD).sum())
                if time.monotonic() > end:
                    break
            for weight in network.parameters():
                if weight.grad is not None:
                    weight.grad /= count
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if time.monotonic() > end:
                break
        network.eval().requires_grad_(False)
        model, memory = self._decoding(network), optimiser.state_dict()
        return replace(self, model=model, network=network, memory=memory, past=lessons)

    def _decoding(self, network: PreTrainedModel) -> Causal:
        own = self.model.network
        rounded = copy.deepcopy(network)
        torch.nn.Module.to(rounded, own.dtype)
        runs = take(rounded, own.positions)
        return replace(self.model, network=replace(runs, lone=getattr(own, "lone", 1)))


def _loss(network: PreTrainedModel, tokens_BT: Tensor, at_BP: Tensor, ids_BPK: Tensor, probs_BPK: Tensor) -> Tensor:
    """The sum of -p log q over the positions that are there. Padding lies behind the text, where nobody looks."""
    real_BP = at_BP != PAD
    hidden_BTD = network.base_model(input_ids=tokens_BT.clamp_min(0), use_cache=False).last_hidden_state
    row_BP1 = (at_BP - 1).clamp_min(0)[..., None]
    hidden_BPD = hidden_BTD.gather(1, row_BP1.expand(-1, -1, hidden_BTD.shape[-1]))
    head: Any = network.get_output_embeddings()
    logq_NV = head(hidden_BPD[real_BP]).log_softmax(-1)
    ids_NK, probs_NK = ids_BPK[real_BP], probs_BPK[real_BP]
    known_NK = ids_NK < logq_NV.shape[-1]  # a target may pad its vocabulary further
    logq_NK = logq_NV.gather(-1, ids_NK.where(known_NK, 0))
    return -(probs_NK.where(known_NK, 0) * logq_NK).sum()
