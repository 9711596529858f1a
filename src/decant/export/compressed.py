"""A model folder with eight-bit weights, for decant and for whoever reads compressed-tensors.

Four bits have no such folder: what torch packs has a middle in bfloat16 for every group, where compressed-tensors'
pack-quantized has a whole number, and the output matrix is in eight bits.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.workload import Workload
from decant.errors import BadInput
from decant.export.card import Cost, text
from decant.export.claim import claim, note, refuse_foreign, writing
from decant.models import rounded
from decant.models.fast.reading import why_not
from decant.models.load import load, stored
from decant.models.loaded import Loaded
from decant.samplers.chain import chain
from decant.types import Taps

TEXTS: Final = 8
TOKENS: Final = 128


def export(
    model: str, out: Path, weights: str = "int8", *, revision: str | None = None, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Write the folder and return what its decant.json says: the draft, where it came from, and what rounding cost.

    Raises BadInput for a model that the lean forward does not read, for weights other than int8, and where `out` holds
    anything but an earlier export of the same model.
    """
    if weights != "int8":
        raise BadInput(f"weights {weights!r} have no folder that other engines read; take int8")
    made = {"of": model, "revision": revision, "weights": weights}
    refuse_foreign(out, made)
    network, tokenizer = stored(model, revision, trust_remote_code)
    reason = why_not(network) or ("it is int8 already" if rounded.holds(network) else None)
    if reason is not None:
        raise BadInput(f"{model} cannot be exported: {reason}")
    claim(out, made)
    with writing(out):
        rounded.write(network, out)
        if tokenizer is not None:
            tokenizer.save_pretrained(out)
    del network
    original = load(model, exact="off", device="cpu", revision=revision, trust_remote_code=trust_remote_code)
    cost = measure(original, load(str(out), exact="off", device="cpu"))
    report = {"draft": original.draft, "export": made, "cost": asdict(cost)}
    note(out, {key: said for key, said in report.items() if said})
    (out / "README.md").write_text(text(original, cost, out), "utf-8")
    return report


@torch.inference_mode()
def measure(original: Loaded, other: Loaded) -> Cost:
    """On texts that the original samples at temperature 1 behind single tokens spread over its vocabulary."""
    vocabulary, length = original.model.vocab, min(TOKENS, original.model.context - 1)
    prompts = [[vocabulary * at // TEXTS] for at in range(TEXTS)]
    work = Workload(prompts, length, batch=TEXTS)
    decoder = Autoregressive(original.model, chain(), Unconstrained())
    written = [output.tokens for _, outputs in work.decode(decoder) for output in outputs]
    nats, same = [], []
    for prompt, tokens in zip(prompts, written, strict=True):
        ids_1T = torch.tensor([prompt + tokens])
        logp_BMV, logq_BMV = (_logp(loaded, ids_1T) for loaded in (original, other))
        nats.append((logp_BMV.exp() * (logp_BMV - logq_BMV)).sum(-1))
        same.append(logp_BMV.argmax(-1) == logq_BMV.argmax(-1))
    return Cost(sum(map(len, written)), float(torch.cat(nats, 1).mean()), float(torch.cat(same, 1).double().mean()))


def _logp(loaded: Loaded, ids_1T: Tensor) -> Tensor:
    """Of every position but the last, float64."""
    return loaded.model.start(ids_1T, Taps(logits=True))[1].logits_BMV.double().log_softmax(-1)
