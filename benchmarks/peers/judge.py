"""Are the ids those of the model? Near-ties make equal engines say different texts, so texts are not compared.

Each text is read once by transformers in float32: how far below its first choice is what the engine chose there?
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


class Judge:
    """The reference, and what a token of it costs to read."""

    def __init__(self, folder: Path) -> None:
        self._network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
        self.parameters = self._network.num_parameters()

    @torch.inference_mode()
    def verdict(self, prompts: list[list[int]], texts: list[list[int]]) -> dict[str, float]:
        """Over all tokens: the share that is the reference's first choice, and the worst choice in nats below it."""
        below = torch.cat([self._below(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
        return {
            "first_choice": round(float((below == 0).float().mean()), 4),
            "worst_nats": round(float(below.max()), 3),
        }

    def bytes_read(self, position: float, width: int = 2) -> float:
        """Bytes that decoding one token reads at least: every weight once, but of an embedding that is not also the
        output layer one row, and the keys and values of `position` tokens."""
        config = self._network.config
        looked_up = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head * position
        return width * (self.parameters - looked_up + cache)

    def _below(self, prompt: list[int], text: list[int]) -> torch.Tensor:
        logits_TV = self._network(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
        return logits_TV.max(-1).values - logits_TV.gather(1, torch.tensor(text)[:, None])[:, 0]
