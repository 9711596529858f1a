"""Does each sampler setting do to the model's own logits what its definition says?

Rows of the target are warped as decoding warps them, step by step, and each step is held against `definitions`. The
same comparison then runs on a step that keeps one token too few, and must not hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.decoders.workload import Workload
from decant.noise import Noise
from decant.protocols import Warp
from decant.prove.definitions import CUTS, EDGE, law_of, temperature, xtc
from decant.prove.faults import OneTooFew
from decant.types import Draft

PROMPTS: Final = 4  # at most
ROWS: Final = 8  # of a prompt: its last positions
MOVED: Final = 2e-5  # total variation that float32 explains
FAULT: Final = "a step that forbids the least likely of the tokens that it should keep"

Watch = Callable[[str, int], None]


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """One step of a sampler. name, value: as the user writes them; beside: what goes with it (xtc's threshold)."""

    name: str
    value: float
    warp: Warp
    beside: float = 0.0


def check(plain: Autoregressive[Any], chains: Sequence[Sequence[Setting]], workload: Workload) -> dict[str, Any]:
    """One entry of a certificate: chains of settings, each as decoding applies them, on rows behind the prompts.

    It holds where every step of every chain is its definition, and a step that keeps one token too few is not.
    """
    logits_RV = real_logits(plain, workload)
    stages = [stage for chain in chains for stage in _stages(chain, logits_RV)]
    # The same temperature in front of several cuts is looked at once.
    once = {(one.name, one.value, one.beside, front): (one, here_RV) for one, here_RV, front in stages}
    found = [_step(*stage) for stage in once.values()]
    told = [one for one in found if one["caught"] is not None]
    caught = all(one["caught"] for one in told) if told else None
    wrong = [one["setting"] for one in found if one["wrong_rows"]]
    return {
        "name": "samplers: what each setting does to the model's logits is what its definition says",
        "holds": not wrong and caught is not False,
        "prompts": min(PROMPTS, len(workload.prompts)),
        "statistic": max((one["moved"] for one in found), default=None),
        "p_value": None,
        "power": None,
        "planted_fault_caught": caught,
        "first_divergence": None,
        "test": "total variation, the largest",
        "rows": len(logits_RV),
        "settings": [one["setting"] for one in found],
        "wrong": wrong,
        "steps": found,
        "planted_fault": {"what": FAULT},
        "note": f"{len(found)} settings on {len(logits_RV)} rows of real logits, {len(wrong)} not as defined",
    }


def real_logits(plain: Autoregressive[Any], workload: Workload) -> Tensor:
    """logits_RV, float32, behind the last positions of a few prompts, before any constraint and warp."""
    rows: list[Tensor] = []
    for prompt in workload.prompts[:PROMPTS]:
        behind = min(ROWS, len(prompt)) - 1
        ids_BT = right_pad([prompt[: len(prompt) - behind]], workload.device)
        chain = torch.tensor([prompt[len(prompt) - behind :]], dtype=torch.int64, device=workload.device)
        with torch.inference_mode():
            state = plain.start(ids_BT, Noise.of([0], workload.device))
            rows.append(plain.target.score(state.context, Draft(chain)).logits_BMV[0].float())
    return torch.cat(rows)


def _stages(chain: Sequence[Setting], logits_RV: Tensor) -> list[tuple[Setting, Tensor, tuple[Any, ...]]]:
    """Each setting with the logits that reach it, and what stands in front of it."""
    stages, front = list[tuple[Setting, Tensor, tuple[Any, ...]]](), ()
    for setting in chain:
        stages.append((setting, logits_RV, front))
        logits_RV, front = setting.warp(logits_RV), (*front, setting.name, setting.value)
    return stages


def _step(setting: Setting, logits_RV: Tensor) -> dict[str, Any]:
    """Rows on which the step is not its definition, and whether the planted fault was seen: None where each row keeps
    one token, and nothing could go."""
    warped_RV, faulty_RV = setting.warp(logits_RV), OneTooFew(setting.warp)(logits_RV)
    gaps = [_gap(setting, *rows) for rows in zip(logits_RV, warped_RV, strict=True)]
    acts = (warped_RV != faulty_RV).any(-1)
    seen = [
        _gap(setting, row_V, fault_V)[0]
        for row_V, fault_V, act in zip(logits_RV, faulty_RV, acts.tolist(), strict=True)
        if act
    ]
    value = f"{setting.name} {setting.value:g}"
    return {
        "setting": f"{value} with {setting.beside:g}" if setting.beside else value,
        "wrong_rows": sum(wrong for wrong, _ in gaps),
        "moved": max(moved for _, moved in gaps),
        "kept": float((warped_RV > -torch.inf).sum(-1).float().mean()),
        "caught": any(seen) if seen else None,
    }


def _gap(setting: Setting, row_V: Tensor, warped_V: Tensor) -> tuple[bool, float]:
    """Whether a warped row is not as defined; and the total variation from the defined law on the tokens it keeps."""
    logits_V, found_V = (one.double().cpu().numpy() for one in (row_V, warped_V))
    stays_V = found_V > -np.inf
    if setting.name in CUTS:
        kept = CUTS[setting.name](logits_V, setting.value)
        wrong = bool(((stays_V != kept.stays_V) & ~kept.edge_V).any())
        wanted_V = law_of(np.where(stays_V, logits_V, -np.inf))
    elif setting.name == "xtc_probability":
        laws = [xtc(logits_V, setting.value, setting.beside * edge) for edge in (1 - EDGE, 1 + EDGE)]
        wanted_V = min(laws, key=lambda law_V: float(np.abs(law_of(found_V) - law_V).sum()))
        wrong = _lacks(wanted_V, stays_V)
    else:
        wanted_V = temperature(logits_V, setting.value)
        wrong = _lacks(wanted_V, stays_V)
    moved = float(np.abs(law_of(found_V) - wanted_V).sum() / 2)
    return wrong or moved > MOVED, moved


def _lacks(wanted_V: np.ndarray, stays_V: np.ndarray) -> bool:
    """Whether something is forbidden that the law allows, however rarely."""
    return bool((wanted_V[~stays_V] > np.finfo(np.float32).tiny).any())
