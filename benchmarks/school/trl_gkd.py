"""TRL's trainer of GKD for a few steps, on its own terms but those that the comparison needs."""

import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from decant import house
from decant.models.machine import fast_bfloat16
from school.clock import between


@dataclass(frozen=True, slots=True)
class Block:
    """batch: answers of a step; answer: tokens of each; steps: behind one that does not count."""

    batch: int
    answer: int
    steps: int
    rate: float


def theirs(block: Block, teacher: str, student: str, asked: list[list[int]], tokens: list[int]) -> float:
    """Seconds of a step, the median; leaves the tokens that each step learnt from. asked: ids, all of one length."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import datasets
    from transformers import AutoTokenizer, TrainerCallback
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    words = AutoTokenizer.from_pretrained(_place(student))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = GKDConfig(
            folder, lmbda=1.0, max_new_tokens=block.answer, per_device_train_batch_size=block.batch,
            max_steps=block.steps + 1, learning_rate=block.rate, use_cpu=True, bf16=fast_bfloat16(),
            gradient_checkpointing=False, save_strategy="no", report_to="none", logging_strategy="no",
            disable_tqdm=True,
        )  # fmt: skip
        rows = datasets.Dataset.from_list([{"prompt_ids": ids} for ids in asked])
        trainer = GKDTrainer(
            _model(student), _model(teacher), config, _laid, rows, processing_class=words, callbacks=[Clock()]
        )
        write = trainer.generate_on_policy_outputs
        tokens.clear()

        def counted(*given: Any) -> Any:
            trainer.model.generation_config.eos_token_id = None  # the trainer takes the tokenizer's as it begins
            found = write(*given)
            tokens.append(int((found[2] != -100).sum()))
            return found

        trainer.generate_on_policy_outputs = counted
        trainer.train()
    return between(ends)


def _laid(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Prompts of one length need no padding; an answer of one token stands where the trainer wants one."""
    ids_BT = torch.tensor([row["prompt_ids"] for row in rows])
    whole_BT = torch.cat([ids_BT, ids_BT[:, -1:]], 1)
    labels_BT = torch.full_like(whole_BT, -100)
    labels_BT[:, -1] = whole_BT[:, -1]
    return {
        "input_ids": whole_BT,
        "attention_mask": torch.ones_like(whole_BT),
        "labels": labels_BT,
        "prompts": ids_BT,
        "prompt_attention_mask": torch.ones_like(ids_BT),
    }


def _model(name: str) -> Any:
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(_place(name), dtype=torch.float32)
    found.config.eos_token_id = found.generation_config.eos_token_id = None
    return found


def _place(name: str) -> str:
    return str(house.folder(name.removeprefix("house:")))
