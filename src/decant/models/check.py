"""What a freshly loaded model is asked before it is trusted: does it obey tree masks, and which rows share bits?"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from decant.errors import IncompatibleParts
from decant.models.causal import Causal
from decant.models.rows import Probe, RowClass
from decant.types import Draft, Verdict

Exact = Literal["auto", "on", "off"]
K = TypeVar("K")
REPEATS = 12
BEHIND = 160  # tokens in front of what is timed: enough for exact mode to cut the keys in two, as it mostly does
FREE = 1.2  # `auto` switches exact mode on where a forward of the class costs at most this much more than one row


def obeys_trees(model: Causal) -> bool:
    """Whether a tree's rows equal the rows of its paths, up to rounding: finds masks that are silently ignored.

    Raises IncompatibleParts where not even a chain behind the cache equals a fresh prompt.
    """
    ids_BT = _ids(model, 12)
    root, (a, b, c, d) = ids_BT[:, :8], ids_BT[0, 8:].tolist()
    tree = Draft(
        torch.tensor([[a, b, c, d]], device=ids_BT.device), torch.tensor([[-1, -1, 0, 1]], device=ids_BT.device)
    )
    with torch.inference_mode():
        chain = model.score(model.start(root)[0], Draft(tree.tokens_BN[:, [0, 2]])).logits_BMV
        paths = [[a], [b], [a, c], [b, d]]
        fresh = [_last(model, torch.cat([root, root.new_tensor([path])], 1)) for path in paths]
        slack = (0.02 if model.network.coarse else 1e-3) * fresh[0].abs().max()
        if not torch.allclose(chain[0, 2], fresh[2], rtol=0, atol=float(slack)):
            raise IncompatibleParts(
                f"{model.network.architecture} gives other logits behind its cache than for a fresh prompt; "
                f"decant decodes only models whose attention reads a KV cache and a 4-D mask"
            )
        branched = model.score(model.start(root)[0], tree).logits_BMV[0, 1:]
    return all(torch.allclose(row, want, rtol=0, atol=float(slack)) for row, want in zip(branched, fresh, strict=True))


def chain_probe(model: Causal) -> Probe:
    """A fixed random chain for `rows.find`, scored in blocks of any size."""
    ids_BT = _ids(model, 96)
    ahead = min(24, model.context)  # what lies behind a short context counts as its last position

    def probe(count: int, size: int) -> Tensor:
        with torch.inference_mode():
            context, _ = model.start(ids_BT[:, :ahead])
            blocks = []
            for first in range(ahead, ahead + count, size):
                stop = min(first + size, ahead + count)
                draft = Draft(ids_BT[:, first : stop - 1])
                blocks.append(model.score(context, draft).logits_BMV[0])
                accepted_B = torch.tensor([stop - 1 - first], device=ids_BT.device)
                context = model.commit(context, Verdict.of_chain(draft.tokens_BN, accepted_B, ids_BT[:, stop - 1]))
            return torch.cat(blocks)

    return probe


def pass_seconds(passes: Mapping[K, tuple[Causal, int]]) -> dict[K, float]:
    """What each model takes over so many new tokens of one request, the best of REPEATS, in turns."""
    found: dict[K, list[float]] = {name: [] for name in passes}
    with torch.inference_mode():
        contexts = {
            name: model.start(_ids(model, BEHIND)[:, : model.context])[0] for name, (model, _) in passes.items()
        }
        for _ in range(REPEATS + 1):  # the first is a warm-up, and never the best
            for name, (model, tokens) in passes.items():
                contexts[name].memory[0] = None
                draft = Draft(_ids(model, tokens)[:, 1:])
                begin = time.perf_counter()
                model.score(contexts[name], draft)
                if model.network.device.type != "cpu":
                    torch.accelerator.synchronize(model.network.device)
                found[name].append(time.perf_counter() - begin)
    return {name: min(seconds) for name, seconds in found.items()}


def settle(model: Causal, exact: Exact, rows: RowClass | None) -> tuple[Causal, str]:
    """The model in the mode asked for, and a sentence that says which mode applies and why.

    Raises IncompatibleParts when exactness was demanded and cannot be had.
    """
    kind = str(model.network.dtype).removeprefix("torch.")
    off = replace(model, rows=None, steady=False)
    if exact == "off":
        return off, "exact mode is off by request: equal up to rounding only"
    if rows is None:
        if exact == "on":
            raise IncompatibleParts(f"exact mode cannot be had: {kind} forwards do not even repeat themselves here")
        return off, f"exact mode is off: {kind} forwards do not repeat themselves here"
    span = f"forwards of {rows} share bits in {kind}"
    price = f"a token decoded alone costs {rows.cost:.2f}x"
    if exact == "on" or rows.cost <= FREE:
        return replace(model, rows=rows, steady=True), f"exact mode is on: {span}; {price}"
    return off, f"exact mode is off ({price} with it; --exact on insists): equal up to rounding only"


def _ids(model: Causal, count: int) -> Tensor:
    """Fixed ids spread over the vocabulary."""
    spread = torch.arange(1, count + 1, device=model.network.device) * 2654435761 % max(model.vocab - 1, 1)
    return spread[None]


def _last(model: Causal, prompt_BT: Tensor) -> Tensor:
    return model.score(model.start(prompt_BT)[0], Draft.nothing(1, prompt_BT.device)).logits_BMV[0, 0]
