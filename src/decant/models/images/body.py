"""One transformer for every network of images: it reads vectors, and its weights carry over from teacher to student.

In raster order it is exactly a Llama behind one class token, rotary places and all. In next-scale order rows have
learned places and scales instead, and see their own scale too (`features`) or themselves alone of it (`aligned`).
Source: LlamaGen: Sun et al. 2024, arXiv:2406.06525; VAR: Tian et al. 2024, arXiv:2404.02905; `aligned`: Liu et al.
2024, arXiv:2412.17153 (Distilled Decoding 1).
"""

from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

from decant.errors import BadInput
from decant.images.layout import Layout, Sees

PROBED: Final = 16  # positions that loading a language model tries out


@final
@dataclass(frozen=True, slots=True)
class BodySpec:
    """channels: of a code vector. classes: beside which there is one more label, "no class". sides, grid: of the
    layout. flagged: whether `aligned` tells settled vectors from noise.
    """

    channels: int
    classes: int
    sides: tuple[int, ...]
    grid: int
    hidden: int = 96
    layers: int = 3
    heads: int = 3
    intermediate: int = 256
    dropout: float = 0.0
    flagged: bool = False

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.hidden // self.heads % 2:
            raise BadInput(
                f"a width of {self.hidden} does not divide into {self.heads} heads of an even width; change one of them"
            )

    @property
    def layout(self) -> Layout:
        """In which order places come."""
        return Layout(self.sides, self.grid)

    @property
    def config(self) -> LlamaConfig:
        """Of the transformer; its table of embeddings holds the labels."""
        return LlamaConfig(
            vocab_size=self.classes + 1,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            head_dim=self.hidden // self.heads,
            max_position_embeddings=max(PROBED, self.layout.places + 1),
            attention_dropout=self.dropout,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What rows so far left in the layers: keys_BIHTW and values_BIHTW, I the layers. It leads with the requests."""

    keys_BIHTW: Tensor
    values_BIHTW: Tensor

    def select(self, rows_R: Tensor | slice) -> "Seen":
        """The requests `rows_R`."""
        return Seen(self.keys_BIHTW[rows_R], self.values_BIHTW[rows_R])

    def join(self, other: "Seen") -> "Seen":
        """These requests, then the other's."""
        return Seen(torch.cat([self.keys_BIHTW, other.keys_BIHTW]), torch.cat([self.values_BIHTW, other.values_BIHTW]))


@final
class Body(nn.Module):
    """labels_B: classes 0 ... classes - 1, or `spec.classes` for none."""

    def __init__(self, spec: BodySpec) -> None:
        super().__init__()
        self.spec, self.layout = spec, spec.layout
        self.llama = LlamaModel(spec.config)
        self.inward = nn.Linear(spec.channels, spec.hidden, bias=False)
        if not self.layout.is_raster:
            self.places = nn.Embedding(self.layout.places, spec.hidden)
            self.levels = nn.Embedding(self.layout.units, spec.hidden)
        if spec.flagged:
            self.flags = nn.Embedding(2, spec.hidden)  # noise, settled
            nn.init.zeros_(self.flags.weight)
        for part in (self.inward, *([] if self.layout.is_raster else [self.places, self.levels])):
            nn.init.normal_(part.weight, std=spec.config.initializer_range)

    def features(self, labels_B: Tensor, inputs_BLC: Tensor, flags_BL: Tensor | None = None) -> Tensor:
        """f_BLD: row i follows the class and the units before that of place i, and nothing else.

        inputs_BLC: as `ImageTokenizer.carried` gives them; of the first unit they are not read. flags_BL: as `aligned`
        has them, of what a row reads.
        """
        x_BLD = self.read(labels_B, inputs_BLC, 0)
        if flags_BL is not None:
            x_BLD = x_BLD + self.flags(flags_BL)
        return self._ran(x_BLD, self._mask("block"), None)

    def aligned(self, labels_B: Tensor, vectors_BLC: Tensor, flags_BL: Tensor) -> Tensor:
        """f_BLD: row i follows the class, the vectors of earlier units, and vector i itself.

        flags_BL: 1 where a vector is settled, 0 where it is noise.
        """
        x_BLD = self.inward(vectors_BLC) + self.flags(flags_BL)
        if not self.layout.is_raster:
            x_BLD = x_BLD + self._whereabouts(slice(None))
        class_B1D = (self.llama.embed_tokens(labels_B) + self.flags.weight[1])[:, None]
        return self._ran(torch.cat([class_B1D, x_BLD], dim=1), self._strict(), None)[:, 1:]

    def follow(self, x_BKD: Tensor, seen: Seen | None) -> tuple[Tensor, Seen]:
        """f_BKD of one more unit, and what the next one needs. x_BKD: as `read` gives it."""
        past = None if seen is None else zip(seen.keys_BIHTW.unbind(1), seen.values_BIHTW.unbind(1), strict=True)
        cache = DynamicCache(past)
        f_BKD = self._ran(x_BKD, None if self.layout.is_raster else self._open(x_BKD.shape[1], seen), cache)
        keys, values = zip(*((layer[0], layer[1]) for layer in cache), strict=True)
        return f_BKD, Seen(torch.stack(keys, 1), torch.stack(values, 1))

    def read(self, labels_B: Tensor, inputs_BKC: Tensor, first: int) -> Tensor:
        """x_BKD: what enters the layers at the units that begin at place `first`; the class in the first unit."""
        x_BKD = self.inward(inputs_BKC)
        lead = max(0, self.layout.sizes[0] - first)
        if lead:
            class_BKD = self.llama.embed_tokens(labels_B)[:, None].expand(-1, lead, -1)
            x_BKD = torch.cat([class_BKD, x_BKD[:, lead:]], dim=1)
        if self.layout.is_raster:
            return x_BKD
        return x_BKD + self._whereabouts(slice(first, first + x_BKD.shape[1]))

    def _ran(self, x_BKD: Tensor, mask_11KT: Tensor | None, cache: DynamicCache | None) -> Tensor:
        past = 0 if cache is None else cache.get_seq_length()
        at_1K = torch.arange(past, past + x_BKD.shape[1], device=x_BKD.device)[None]
        if not self.layout.is_raster:
            at_1K = torch.zeros_like(at_1K)  # places are learned: nothing is turned
        out: Any = self.llama(
            inputs_embeds=x_BKD,
            attention_mask=mask_11KT,
            position_ids=at_1K,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state

    def _whereabouts(self, part: slice) -> Tensor:
        return self.places.weight[part] + self.levels(self.layout.unit_of_L[part].to(self.places.weight.device))

    def _mask(self, sees: Sees) -> Tensor | None:
        """Added to the scores, mask_11LL; None in raster order, where the transformer masks what is to come itself."""
        return None if self.layout.is_raster else self._added(self.layout.seen(sees))

    def _strict(self) -> Tensor | None:
        """As `_mask`, with the class in front, which all see."""
        if self.layout.is_raster:
            return None
        seen_LL = nn.functional.pad(self.layout.seen("strict"), (1, 0, 1, 0))
        seen_LL[:, 0] = True
        return self._added(seen_LL)

    def _open(self, rows: int, seen: Seen | None) -> Tensor:
        """A unit sees all that came, and itself."""
        past = 0 if seen is None else seen.keys_BIHTW.shape[3]
        return self._added(torch.ones(rows, past + rows, dtype=torch.bool))

    def _added(self, seen_KT: Tensor) -> Tensor:
        like = self.inward.weight
        least = torch.finfo(like.dtype).min
        return torch.zeros(seen_KT.shape, dtype=like.dtype).masked_fill(~seen_KT, least)[None, None].to(like.device)


def untrained(spec: BodySpec, seed: int = 0) -> Body:
    """Fresh weights, float32, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Body(spec)
