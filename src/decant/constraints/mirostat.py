"""Mirostat: how far the tail is cut follows how surprising the text was, so that the mean surprise settles at tau.

A sampler with a memory: it divides by its own temperature `heat`, then cuts, so that the warp behind it is none,
`samplers.chain.chain()`. A warp that changes the law further is not seen by the feedback. Version 1 cuts at a rank that
it reckons from a fitted Zipf law, version 2 at a surprise.

Source: Basu et al. 2021, arXiv:2007.14966; version 2: github.com/basusourya/mirostat.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.numerics import along_path, chain_parents, depths
from decant.types import Draft, Scores, Verdict

BIT = math.log(2)  # nats
FLAT = 1e-3  # exponents below it are taken for it: its reciprocal is a power


@final
@dataclass(frozen=True, slots=True)
class Mirostat:
    """Cuts each row by its own `mu`, in bits: that of the root, moved by eta (tau - surprise) at every token since.

    tau:     bits a token, which the mean surprise settles at; a law whose entropy is smaller cannot give it.
    eta:     share of each error that is corrected; the authors took 1 for version 1.
    version: 1 or 2. Surprise is that under the law before the cut in version 1, behind the cut in version 2.
    heat:    temperature.
    fitted:  likeliest tokens that version 1 fits its exponent to.
    The state is mu_B, float32, and begins at 2 tau. At least the likeliest token stays, and its equals with it.
    Raises BadInput for a value out of range.
    """

    tau: float = 3.0
    eta: float = 0.1
    version: int = 2
    heat: float = 1.0
    fitted: int = 100

    def __post_init__(self) -> None:
        for name, value in (("tau", self.tau), ("eta", self.eta), ("heat", self.heat)):
            if not (value > 0 and math.isfinite(value)):
                raise BadInput(f"mirostat needs a positive {name}, got {value}; tau 3, eta 0.1 and heat 1 are usual")
        if self.version not in (1, 2):
            raise BadInput(f"there are the versions 1 and 2 of mirostat, got {self.version}; take 2")
        if self.fitted < 2:
            raise BadInput(f"mirostat fits an exponent to 2 tokens or more, got fitted {self.fitted}; 100 is usual")

    def start(self, prompt_BT: Tensor) -> Tensor:
        """mu_B = 2 tau; the prompt counts for nothing."""
        return torch.full((len(prompt_BT),), 2 * self.tau, device=prompt_BT.device)

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """Logits over heat, -inf behind each row's cut."""
        hot_BMV = self._heated(logits_BMV)
        bits_BMV = _bits(hot_BMV)
        mu_BM = self._walk(state, draft, bits_BMV)
        most_BM1 = (self._rank(bits_BMV, mu_BM) if self.version == 1 else mu_BM)[..., None]
        return hot_BMV.masked_fill(~_kept(bits_BMV, most_BM1), -torch.inf)

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """mu_B behind all committed tokens, the target's own among them."""
        bits_BCV = _bits(self._heated(along_path(scores.logits_BMV, verdict.nodes_BC)))
        mu_BM = self._walk(state, Draft(verdict.tokens_BC), bits_BCV)
        return mu_BM.gather(1, verdict.committed_B[:, None]).squeeze(1)

    def _heated(self, logits_BMV: Tensor) -> Tensor:
        logits_BMV = logits_BMV.float()
        # Measured from the row's maximum, so that a tiny heat overflows to -inf and never to inf.
        return logits_BMV if self.heat == 1 else (logits_BMV - logits_BMV.amax(-1, keepdim=True)) / self.heat

    def _walk(self, mu_B: Tensor, draft: Draft, bits_BMV: Tensor) -> Tensor:
        """mu_BM of the root and of every node. The rows of bits_BMV are the root's, then the nodes' that have children;
        behind absent nodes mu is garbage."""
        tokens_BN, vocab = draft.tokens_BN, bits_BMV.shape[-1]
        up_BN = (chain_parents(tokens_BN) if draft.parents_BN is None else draft.parents_BN) + 1
        bits_BN = bits_BMV.flatten(1).gather(1, up_BN * vocab + tokens_BN.clamp_min(0))
        depth_BN = up_BN + 1 if draft.parents_BN is None else depths(draft.parents_BN)
        mu_BM = pad(mu_B[:, None], (0, tokens_BN.shape[1]))
        lost_BM = torch.zeros_like(mu_BM)  # bits by which the cut makes all that it keeps likelier
        for level in range(1, int(depth_BN.amax()) + 1 if depth_BN.numel() else 1):  # sync: how deep is the tree?
            here_BN = depth_BN == level
            if self.version == 2:
                parent_BM = torch.zeros_like(mu_BM, dtype=torch.bool)
                at = here_BN.nonzero(as_tuple=True)
                parent_BM[at[0], up_BN[at]] = True
                at = parent_BM.nonzero(as_tuple=True)
                lost_BM[at] = _lost(bits_BMV[at], mu_BM[at])
            surprise_BN = bits_BN - lost_BM.gather(1, up_BN)
            moved_BN = mu_BM.gather(1, up_BN) - self.eta * (surprise_BN - self.tau)
            mu_BM = torch.cat([mu_BM[:, :1], moved_BN.where(here_BN, mu_BM[:, 1:])], dim=1)
        return mu_BM

    def _rank(self, bits_BMV: Tensor, mu_BM: Tensor) -> Tensor:
        """bits_BM of the last token that version 1 keeps: the rank at which a Zipf law of the exponent that fits the
        likeliest tokens has a surprise of mu."""
        vocab = bits_BMV.shape[-1]
        best_BMK = bits_BMV.topk(min(self.fitted, vocab), dim=-1, largest=False).values
        rank_K = torch.arange(1, best_BMK.shape[-1] + 1, device=best_BMK.device)
        step_K = (rank_K[1:] / rank_K[:-1]).log()
        real_BMK = best_BMK[..., 1:] < torch.inf
        fall_BMK = (best_BMK.diff(dim=-1) * BIT).where(real_BMK, 0.0)
        # One token that is allowed has no slope: any exponent leaves it alone.
        scale_BM = (step_K**2 * real_BMK).sum(-1)
        exponent_BM = ((fall_BMK * step_K).sum(-1) / scale_BM.where(scale_BM > 0, 1.0)).clamp_min(FLAT)
        tail_BM, log_vocab = exponent_BM - 1, math.log(vocab)
        # e / (1 - V^-e) tends to 1 / log V at e = 0, where it would be 0 / 0.
        close_BM = tail_BM.abs() < FLAT
        scaled_BM = tail_BM / -torch.expm1(-tail_BM * log_vocab)
        law_BM = torch.where(close_BM, 1 / max(log_vocab, BIT), scaled_BM).log()
        log_rank_BM = ((law_BM + mu_BM * BIT) / exponent_BM).clamp_max(log_vocab)
        rank_BM1 = (log_rank_BM.exp().round().long() + 1).clamp(1, vocab)[..., None]
        most = int(rank_BM1.amax())  # sync: fewer than all are cheaper to find
        return bits_BMV.topk(most, dim=-1, largest=False).values.gather(-1, rank_BM1 - 1).squeeze(-1)


def _bits(logits_XV: Tensor) -> Tensor:
    """Surprise of every token; inf where it is forbidden."""
    return logits_XV.log_softmax(-1) / -BIT


def _kept(bits_XV: Tensor, most_X1: Tensor) -> Tensor:
    """bool_XV: no more surprising than `most`, or than the likeliest token."""
    return bits_XV <= torch.maximum(most_X1, bits_XV.amin(-1, keepdim=True))


def _lost(bits_RV: Tensor, mu_R: Tensor) -> Tensor:
    """-log2 of the mass that version 2 keeps of each row."""
    return (-BIT * bits_RV).masked_fill(~_kept(bits_RV, mu_R[:, None]), -torch.inf).logsumexp(-1) / -BIT
