"""Any transformers causal language model that takes a KV cache and a 4-D mask, behind `LanguageModel`.

Chains and trees are scored in one forward; only nodes that were not scored yet for this context are computed, so a
draft model may call `score` once a level.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from decant.errors import BadInput, IncompatibleParts
from decant.models.attention import FUSED, KEYS, SPLIT, MaskForm, key_positions, sees
from decant.models.cache import Store
from decant.models.context import Context, Scored
from decant.models.fast.lean import Lean
from decant.models.linears import Filling
from decant.models.rows import RowClass
from decant.numerics import ancestry, append
from decant.types import PAD, Draft, Scores, Taps, Verdict

CHUNK = 256  # prompt tokens of one forward: bounds memory; the same for plain and drafted decoding, so bits agree
WIDTH = 64  # slots read are a multiple of this: an odd tail makes attention slower


@final
@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Where rows of a tree differ from rows of a chain, whose position and last visible slot are their own slot.

    last_BQ:    the last slot of the plain prefix that a row sees: its own, or the root's for the nodes of the tree.
    node_BQN:   what a row sees of the tree's nodes, in slots length + i.
    position_BN: positions of all nodes, scored in this forward or not.
    """

    position_BQ: Tensor
    last_BQ: Tensor
    node_BQN: Tensor
    position_BN: Tensor

    def cut(self, first: int, stop: int, fill: int) -> "Branches":
        """Columns [first, stop), then `fill` more."""
        ends = (0, fill)
        return Branches(
            pad(self.position_BQ[:, first:stop], ends),
            pad(self.last_BQ[:, first:stop], ends, value=-1),
            pad(self.node_BQN[:, first:stop], (0, 0, *ends)),
            self.position_BN,
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """New rows of one forward, Q a request. Slots are counted on the host; -1 marks rows that only fill the shape."""

    ids_BQ: Tensor
    slots: list[list[int]]
    branches: Branches | None = None

    def cut(self, first: int, stop: int, fill: int = 0) -> "Columns":
        """Columns [first, stop), then `fill` rows that nobody reads."""
        if first == fill == 0 and stop == len(self.slots[0]):
            return self
        branches = None if self.branches is None else self.branches.cut(first, stop, fill)
        slots = [row[first:stop] + [-1] * fill for row in self.slots]
        return Columns(pad(self.ids_BQ[:, first:stop], (0, fill)), slots, branches)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Causal:
    """A `LanguageModel` over `network`: transformers' own, or a lean one with the same signature.

    vocab:   logits a row; a draft model takes its target's.
    context: positions that the network was made for.
    layers:  layers that cache keys and values.
    form:    how the architecture takes its mask.
    trees:   whether the start-up check found that tree masks are obeyed.
    rows:    the class of row counts that share bits; None where exactness is off.
    filling: the switch of the linears that give too few rows other bits, where there are such linears.
    fills:   whether linears and attention fill up too few rows: in exact mode, and while it is looked for.
    """

    network: PreTrainedModel | Lean
    vocab: int
    context: int
    layers: int
    form: MaskForm
    trees: bool = True
    rows: RowClass | None = None
    filling: Filling | None = None
    fills: bool = False

    @classmethod
    def over(cls, network: PreTrainedModel | Lean, context: int, filling: Filling | None = None) -> "Causal":
        """With what the network's configuration says of it."""
        config = network.config.get_text_config()
        form = MaskForm.of(config, network.dtype)
        return cls(network, config.vocab_size, context, config.num_hidden_layers, form, filling=filling)

    @property
    def architecture(self) -> str:
        """The name that transformers has for it."""
        return self.network.architecture if isinstance(self.network, Lean) else type(self.network).__name__

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[Context, Scores]:  # noqa: B008  (frozen)
        """Cache prompt[:-1], chunk by chunk; rows of shorter requests fill slots that nobody reads yet.

        Raises BadInput for an empty prompt or one longer than the context, IncompatibleParts for a batch that exact
        mode cannot hold.
        """
        lengths = tuple((prompt_BT != PAD).sum(-1).tolist())  # sync: slots are counted on the host
        if min(lengths) == 0:
            raise BadInput("an empty prompt: a language model needs at least one token to continue")
        if max(lengths) > self.context:
            raise BadInput(f"the prompt has {max(lengths)} tokens, but the model's context holds {self.context}")
        if self.rows is not None and not self.rows.holds(len(lengths)):
            raise IncompatibleParts(
                f"exact mode holds {self.rows.most} rows on this machine, not a batch of {len(lengths)}; "
                f"take a smaller --batch or --exact off"
            )
        context = Context(prompt_BT, lengths, tuple(n - 1 for n in lengths), Store(self.layers), [None], 0, taps)
        last = max(lengths) - 1
        parts = [self._prefill(context, first, min(first + CHUNK, last)) for first in range(0, last, CHUNK)]
        return context, _along_rows(parts) if parts else self._no_scores(prompt_BT)

    def score(self, context: Context, draft: Draft) -> Scores:
        """Row 0 follows the root, row i + 1 follows node i."""
        known = context.memory[0]
        if known is not None and known.version == context.version and known.prefix_of(draft):
            scores, done = known.scores, known.tokens_BN.shape[1]
            if done < draft.tokens_BN.shape[1]:
                columns = self._columns(context, draft)
                new = columns.cut(len(columns.slots[0]) - draft.tokens_BN.shape[1] + done, len(columns.slots[0]))
                scores = _along_rows([scores, self._blocks(context, new)])
        else:
            columns = self._columns(context, draft)
            pending = len(columns.slots[0]) - 1 - draft.tokens_BN.shape[1]
            scores = self._blocks(context, columns)
            scores = _map_rows(scores, lambda rows: rows[:, pending:]) if pending else scores
        context.memory[0] = Scored(context.version, draft.tokens_BN, draft.parents_BN, scores)
        return scores

    def commit(self, context: Context, verdict: Verdict) -> Context:
        """Keep the accepted path; what was never scored stays pending."""
        known = context.memory[0]
        scored = known.tokens_BN.shape[1] if known is not None and known.version == context.version else None
        paths = verdict.nodes_BC.tolist()  # sync: slots are counted on the host
        new = verdict.committed_B.tolist()
        cached = list(context.cached)
        for request, (path, length, more) in enumerate(zip(paths, context.lengths, new, strict=True)):
            if scored is None:
                continue
            stop = next((i for i, node in enumerate(path) if node == PAD or node >= scored), len(path))
            if path[:stop] != list(range(stop)):
                context.store.move(request, [length + node for node in path[:stop]], length)
            cached[request] = length + min(stop, more - 1)
        context.memory[0] = None
        return replace(
            context,
            tokens_BT=_appended(context, verdict.tokens_BC, new),
            lengths=tuple(n + more for n, more in zip(context.lengths, new, strict=True)),
            cached=tuple(cached),
            version=context.version + 1,
        )

    def tokens(self, context: Context) -> Tensor:
        """tokens_BT: prompt and committed ids, right-padded with PAD."""
        return context.tokens_BT

    def _no_scores(self, prompt_BT: Tensor) -> Scores:
        return Scores(torch.empty(len(prompt_BT), 0, self.vocab, device=prompt_BT.device))

    def _prefill(self, context: Context, first: int, stop: int) -> Scores:
        """Positions [first, stop) of every prompt; any number of rows, since plain and drafted decoding share it."""
        columns = Columns(context.tokens_BT[:, first:stop], [list(range(first, stop))] * len(context.lengths))
        taps = context.taps
        out = self._forward(context, columns, prefill=True, logits=taps.logits or taps.top > 0)
        top_BQK = None
        if taps.top:
            slot_Q = torch.arange(first, stop, device=context.tokens_BT.device)
            real_BQ = slot_Q < torch.tensor(context.cached, device=slot_Q.device)[:, None]
            top_BQK = out.logits_BMV.topk(taps.top, dim=-1).indices.where(real_BQ[..., None], PAD)
        return Scores(out.logits_BMV if taps.logits else out.logits_BMV[:, :0], out.hidden_BMD, top_BQK)

    def _columns(self, context: Context, draft: Draft) -> Columns:
        """Pending tokens, right-aligned (filling rows come first where others have more pending), root and nodes."""
        tokens_BT, nodes = context.tokens_BT, draft.tokens_BN.shape[1]
        pending = max(n - 1 - done for n, done in zip(context.lengths, context.cached, strict=True))
        slots = [
            [slot if slot >= done else -1 for slot in range(n - 1 - pending, n + nodes)]
            for n, done in zip(context.lengths, context.cached, strict=True)
        ]
        before_BQ = torch.tensor([row[: pending + 1] for row in slots], device=tokens_BT.device)
        ids_BQ = torch.cat([tokens_BT.gather(1, before_BQ.clamp_min(0)), draft.tokens_BN], 1)
        if draft.parents_BN is None or not nodes:
            return Columns(ids_BQ, slots)
        length_B1 = torch.tensor(context.lengths, device=tokens_BT.device)[:, None]
        sees_BMM = ancestry(draft.parents_BN)
        position_BN = length_B1 - 2 + sees_BMM[:, 1:].sum(-1)  # a row sees the root, its ancestors and itself
        branches = Branches(
            torch.cat([before_BQ, position_BN], 1),
            torch.cat([before_BQ, (length_B1 - 1).expand_as(position_BN)], 1),
            pad(sees_BMM[:, 1:, 1:], (0, 0, pending + 1, 0)),
            position_BN,
        )
        return Columns(ids_BQ, slots, branches)

    def _blocks(self, context: Context, columns: Columns) -> Scores:
        """Forwards whose row counts lie in the class that shares bits: columns in blocks, each filled up if short."""
        if self.rows is None:
            return self._forward(context, columns)
        batch, count = columns.ids_BQ.shape
        block = self.rows.columns(batch)
        parts = []
        for first in range(0, count, block):
            real = min(block, count - first)
            scores = self._forward(context, columns.cut(first, first + real, self.rows.fill(batch, real) - real))
            parts.append(_map_rows(scores, lambda rows, real=real: rows[:, :real]))
        return _along_rows(parts)

    def _forward(self, context: Context, columns: Columns, prefill: bool = False, logits: bool = True) -> Scores:
        """One forward over the cache: write the rows into their slots, read every slot that a row may see."""
        network, taps, plan, slots = self.network, context.taps, context.store.plan, columns.slots
        branches, device = columns.branches, columns.ids_BQ.device
        nodes = 0 if branches is None else branches.position_BN.shape[1]
        reach = max(max(map(max, slots)) + 1, max(context.lengths) + nodes if nodes else 0)
        split = self.fills and not prefill and FUSED is not None and device.type == "cpu"
        grain = KEYS if split else WIDTH
        plan.width = reach = -(-reach // grain) * grain
        context.store.reserve(reach)
        run = list(range(slots[0][0], slots[0][0] + len(slots[0])))
        plan.start = run[0] if run[0] >= 0 and all(row == run for row in slots) else None
        slot_BQ = torch.tensor(slots, device=device)
        plan.slot_BQ = slot_BQ.where(slot_BQ >= 0, plan.capacity) if plan.start is None else None
        slot_W = torch.arange(reach, device=device)
        if branches is None:
            position_BQ, key_BW = slot_BQ, slot_W.expand(len(slots), -1)
            allow_BQW = slot_W <= slot_BQ[..., None]
        else:
            length_B = torch.tensor(context.lengths, device=device)
            position_BQ, key_BW = branches.position_BQ, key_positions(slot_W, branches.position_BN, length_B)
            allow_BQW = sees(slot_W, branches.last_BQ, branches.node_BQN, length_B)
        if self.filling is not None:
            self.filling.on = self.fills
        mask = self.form.argument(allow_BQW, position_BQ, key_BW)
        with SPLIT.during(position_BQ, context.lengths, slots, nodes) if split else nullcontext():
            out: Any = network(
                input_ids=columns.ids_BQ.clamp_min(0),
                attention_mask=mask,
                # Rows behind the context's end are scored at its last position: they are cut before anybody sees them.
                position_ids=position_BQ.clamp(0, self.context - 1),
                past_key_values=context.store.cache,
                use_cache=True,
                output_hidden_states=bool(taps.layers),
                logits_to_keep=1 if prefill and not logits else 0,
            )
        hidden = torch.cat([out.hidden_states[layer] for layer in taps.layers], -1) if taps.layers else None
        return Scores(_resized(out.logits if logits else out.logits[:, :0], self.vocab), hidden)


def _appended(context: Context, new_BC: Tensor, counts: list[int]) -> Tensor:
    """The context's tokens and what was committed; without padding anywhere there is nothing to sort."""
    width, more = context.tokens_BT.shape[1], new_BC.shape[1]
    if min(counts) == more and min(context.lengths) == width:
        return torch.cat([context.tokens_BT, new_BC], 1)
    return append(context.tokens_BT, new_BC)


def _resized(logits_BQV: Tensor, vocab: int) -> Tensor:
    """Pairs of one tokenizer may pad their vocabularies differently: what the other lacks can never be said."""
    if logits_BQV.shape[-1] == vocab:
        return logits_BQV
    return pad(logits_BQV, (0, vocab - logits_BQV.shape[-1]), value=-torch.inf)  # a negative width cuts


def _map_rows(scores: Scores, on_rows: Callable[[Tensor], Tensor]) -> Scores:
    """Apply to each tensor that leads with B, M."""
    hidden = scores.hidden_BMD
    return Scores(on_rows(scores.logits_BMV), None if hidden is None else on_rows(hidden))


def _along_rows(parts: list[Scores]) -> Scores:
    """Blocks of rows, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    hidden = [part.hidden_BMD for part in parts if part.hidden_BMD is not None]
    top = [part.top_BMK for part in parts if part.top_BMK is not None]
    return Scores(
        torch.cat([part.logits_BMV for part in parts], 1),
        torch.cat(hidden, 1) if hidden else None,
        torch.cat(top, 1) if top else None,
    )
