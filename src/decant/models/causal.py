"""Causal language models behind `LanguageModel`: which rows are new, what is committed, what a draft's rows were.

Chains and trees are scored in one forward; only nodes that were not scored yet for this context are computed, so a
draft model may call `score` once a level. How rows are computed is the network's (`network.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput, IncompatibleParts
from decant.models.context import Context, Scored
from decant.models.network import Network, Outcome
from decant.models.prefixes import Prefixes, prefix_key
from decant.models.rows import RowClass
from decant.models.spans import Span, Tree
from decant.numerics import ancestry
from decant.types import PAD, Draft, Scores, Taps, Verdict

ROOM = 96  # slots behind a text for drafts and rows that only fill a shape
CHUNK = 128  # prompt tokens of one forward: bounds memory; at fixed positions, so that bits do not depend on the prompt


@final
@dataclass(frozen=True, slots=True, eq=False)
class Causal:
    """A `LanguageModel` over `network`.

    vocab:  logits a row; a draft model takes its target's.
    trees:  whether the start-up check found that tree masks are obeyed.
    rows:   the class of row counts that share bits; None where exactness is off.
    steady: whether forwards are those of exact mode: there, and while the class is looked for.
    prefixes: chunks of prompts that others may begin with; None keeps none.
    """

    network: Network
    vocab: int
    trees: bool = True
    rows: RowClass | None = None
    steady: bool = False
    prefixes: Prefixes | None = None

    @classmethod
    def over(cls, network: Network) -> "Causal":
        """With the vocabulary of the network's configuration."""
        return cls(network, network.config.get_text_config().vocab_size)

    @property
    def context(self) -> int:
        """Positions that the network was made for."""
        return self.network.positions

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[Context, Scores]:  # noqa: B008  (frozen)
        """Cache prompt[:-1], chunk by chunk.

        Raises BadInput for an empty prompt or one longer than the context, IncompatibleParts for a batch that exact
        mode cannot hold.
        """
        lengths = tuple((prompt_BT != PAD).sum(-1).tolist())  # sync: slots are counted on the host
        if min(lengths) == 0:
            raise BadInput("an empty prompt: a language model needs at least one token to continue")
        if max(lengths) > self.context:
            raise BadInput(f"the prompt has {max(lengths)} tokens, but the model's context holds {self.context}")
        if self.rows is not None and not self.network.holds(self.rows, len(lengths)):
            raise IncompatibleParts(
                f"exact mode holds {self.rows.most} rows on this machine, not a batch of {len(lengths)}; "
                f"take a smaller --batch or --exact off"
            )
        context = Context.of(prompt_BT, lengths, self.network.cache(len(lengths)), taps)
        firsts = range(0, max(lengths) - 1, CHUNK)
        return context, self._start_scores(context, [self._prefill(context, first) for first in firsts])

    def score(self, context: Context, draft: Draft) -> Scores:
        """Row 0 follows the root, row i + 1 follows node i."""
        known = context.scored
        if known is not None and not known.prefix_of(draft):
            known = None
        if known is None or known.nodes < draft.tokens_BN.shape[1]:
            new = self._scored(context, draft, None if known is None else known.nodes)
            scores = new if known is None else _along_rows(known.scores, new)
            known = Scored(context.version, draft.tokens_BN, draft.parents_BN, scores)
            context.memory[0] = known
        return known.scores

    def commit(self, context: Context, verdict: Verdict) -> Context:
        """Keep the accepted path; what was never scored stays pending."""
        known = context.scored
        paths = verdict.nodes_BC.tolist()  # sync: slots are counted on the host
        new = verdict.committed_B.tolist()
        cached = list(context.cached)
        for request, (path, length, more) in enumerate(zip(paths, context.lengths, new, strict=True)):
            if known is None:
                break
            stop = next((i for i, node in enumerate(path) if node == PAD or node >= known.nodes), len(path))
            if path[:stop] != list(range(stop)):
                context.cache.move(request, [length + node for node in path[:stop]], length)
            cached[request] = length + min(stop, more - 1)
        return context.followed_by(verdict, new, cached)

    def tokens(self, context: Context) -> Tensor:
        """tokens_BT: prompt and committed ids, right-padded with PAD."""
        return context.tokens_BT

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """Compute the first whole chunk that is not kept yet, if there is room for all; whether none is left."""
        whole = (prompt_1T.shape[1] - 1) // CHUNK
        if self.prefixes is None or not self.network.keeps_chunks:
            return True
        if not self.prefixes.holds(whole * CHUNK * self.network.token_bytes()):
            return True
        for number in range(1, whole + 1):
            if prefix_key(prompt_1T[0, : number * CHUNK], taps) not in self.prefixes:
                self.start(prompt_1T[:, : number * CHUNK + 1], taps)
                return number == whole
        return True

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of requests of so many tokens each, at most, their drafts included."""
        return self.network.cache_bytes([min(count, self.context) + ROOM for count in tokens])

    def _prefill(self, context: Context, first: int) -> list[Scores]:
        """One chunk of every prompt; what was tapped of each request's rows, without B."""
        cache, taps = context.cache, context.taps
        prefixes = self.prefixes if self.network.keeps_chunks else None
        spans = [
            Span(request, first, ids_T[first : max(first, min(first + CHUNK, length - 1))], length)
            for request, (ids_T, length) in enumerate(zip(context.tokens_BT, context.lengths, strict=True))
        ]
        # Only whole chunks are shared; None: one that is not, or a request without rows here.
        keys = [
            prefix_key(context.tokens_BT[span.request, : span.stop], taps) if prefixes and span.count == CHUNK else None
            for span in spans
        ]
        found = [prefixes.find(key) if prefixes and key else None for key in keys]
        new = [span if chunk is None else span.cut(0, 0) for span, chunk in zip(spans, found, strict=True)]
        for span, chunk in zip(spans, found, strict=True):
            if chunk is not None:
                cache.restore(span.request, first, chunk.rows_L2KSW)
        out = self.network.prefill(cache, new, taps.layers, taps.logits or taps.top > 0)
        said = [_tapped(part, taps, self.vocab) for part in _apart(out, [span.count for span in new])]
        for span, key, part in zip(new, keys, said, strict=True):
            if prefixes and key and span.count:
                prefixes.keep(key, cache.chunk(span.request, first, span.stop), part)
        return [part if chunk is None else chunk.tapped for part, chunk in zip(said, found, strict=True)]

    def _start_scores(self, context: Context, chunks: list[list[Scores]]) -> Scores:
        """What was tapped of all prompts, [B, T - 1, ...]."""
        taps, most, batch = context.taps, max(context.lengths) - 1, len(context.lengths)
        nothing_B0V = torch.empty(batch, 0, self.vocab, device=context.tokens_BT.device)

        def stacked(name: str, value: int = 0) -> Tensor:
            requests = [
                torch.cat([getattr(said[request], name) for said in chunks]) for request in range(len(nothing_B0V))
            ]
            return torch.stack([pad(rows, (0, 0, 0, most - len(rows)), value=value) for rows in requests])

        return Scores(
            stacked("logits_BMV") if taps.logits and most else nothing_B0V,
            stacked("hidden_BMD") if taps.layers and most else None,
            stacked("top_BMK", PAD) if taps.top and most else None,
            taps.layers,
        )

    def _scored(self, context: Context, draft: Draft, done: int | None) -> Scores:
        """The rows of the root and all nodes; or of the nodes from `done` on."""
        context.cache.claim(context.cached)
        spans = self.spans(context, draft, done)
        out = self.network.score(context.cache, spans, context.taps.layers, self.rows, self.steady)
        counts, begin = [span.count for span in spans], -1 if done is None else done  # the root lies in front of node 0
        behind = [length + begin - span.first for length, span in zip(context.lengths, spans, strict=True)]
        width = draft.tokens_BN.shape[1] - begin
        logits_BMV = resized(on_grid(out.logits_RV, counts, behind, width), self.vocab)
        hidden_BMD = None if out.hidden_RD is None else on_grid(out.hidden_RD, counts, behind, width)
        return Scores(logits_BMV, hidden_BMD, layers=context.taps.layers)

    def spans(self, context: Context, draft: Draft, done: int | None) -> list[Span]:
        """Pending tokens, the root and all nodes; or, where `done` nodes were scored before, the rest of them."""
        batch, nodes = draft.tokens_BN.shape
        present = [nodes] * batch
        if batch > 1:  # sync: trailing absent nodes cost a row each
            there = (draft.tokens_BN != PAD).tolist()
            present = [max((node + 1 for node, real in enumerate(row) if real), default=0) for row in there]
        trees: list[Tree | None] = [None] * batch
        if draft.parents_BN is not None and nodes:
            sees_BMM = ancestry(draft.parents_BN).cpu()  # sync: masks are made on the host
            depth_BN = sees_BMM[:, 1:].sum(-1) - 1
            trees = [
                Tree(sees_MM[1:, 1:], length - 1 + depth_N)
                for sees_MM, depth_N, length in zip(sees_BMM, depth_BN, context.lengths, strict=True)
            ]
        spans: list[Span] = []
        for request, (length, cached, count) in enumerate(zip(context.lengths, context.cached, present, strict=True)):
            nodes_N = draft.tokens_BN[request, done or 0 : max(done or 0, count)]
            ids_Q = nodes_N if done is not None else torch.cat([context.tokens_BT[request, cached:length], nodes_N])
            first = cached if done is None else length + done
            spans.append(Span(request, first, ids_Q, length, trees[request]))
        return spans


def _tapped(out: Outcome, taps: Taps, vocab: int) -> Scores:
    """Of one request's rows: what is asked for, no more."""
    logits_RV = resized(out.logits_RV, vocab) if taps.logits or taps.top else out.logits_RV
    top_RK = logits_RV.topk(taps.top, dim=-1).indices if taps.top else None
    return Scores(logits_RV if taps.logits else logits_RV[:, :0], out.hidden_RD, top_RK)


def _apart(out: Outcome, counts: list[int]) -> list[Outcome]:
    """The rows of each request."""
    logits = out.logits_RV.split(counts)
    hidden = [None] * len(counts) if out.hidden_RD is None else out.hidden_RD.split(counts)
    return [Outcome(*pair) for pair in zip(logits, hidden, strict=True)]


def on_grid(rows_RX: Tensor, counts: list[int], behind: list[int], width: int) -> Tensor:
    """rows_BMX: `width` rows of each request, from row `behind` of its own on. What is missing repeats another row."""
    if len(counts) == 1:
        return rows_RX[None, behind[0] :]
    if not len(rows_RX):
        return rows_RX.new_zeros(len(counts), width, rows_RX.shape[1])
    offsets = accumulate([0, *counts[:-1]])
    index = [
        [first + min(skip + row, count - 1) for row in range(width)]
        for first, count, skip in zip(offsets, counts, behind, strict=True)
    ]
    return rows_RX[torch.tensor(index, device=rows_RX.device).clamp(0, len(rows_RX) - 1)]


def resized(logits_XV: Tensor, vocab: int) -> Tensor:
    """Pairs of one tokenizer may pad their vocabularies differently: what the other lacks can never be said."""
    if logits_XV.shape[-1] == vocab:
        return logits_XV
    return pad(logits_XV, (0, vocab - logits_XV.shape[-1]), value=-torch.inf)  # a negative width cuts


def _along_rows(one: Scores, two: Scores) -> Scores:
    """Rows of one draft, scored at two times."""
    hidden = [part.hidden_BMD for part in (one, two) if part.hidden_BMD is not None]
    hidden_BMD = torch.cat(hidden, 1) if hidden else None
    return Scores(torch.cat([one.logits_BMV, two.logits_BMV], 1), hidden_BMD, layers=two.layers)
