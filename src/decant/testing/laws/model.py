"""The law of models: scores depend on the path, never on how it came to be in the cache."""

from typing import Any

import torch
from torch import Tensor

from decant.protocols import LanguageModel, State
from decant.testing.laws.paths import parents_of, paths
from decant.types import PAD, Draft, Scores, Taps, Verdict, join_rows, select_rows

CHAIN = [[0, 1, 2, 3], [0, 1, PAD, PAD], [0, 1, 2, PAD]]  # which of the drafted ids are there, by request
TREE = [[0, 1, 2, 3, 4, 5], [0, PAD, 2, 3, PAD, PAD], [0, 1, PAD, 3, 4, 5]]
PARENTS = [[PAD, PAD, 0, 0, 1, 2], [PAD, PAD, 0, 0, 1, 2], [PAD, PAD, 0, 0, 1, 3]]


def check_model(model: LanguageModel[State], *, atol: float = 1e-4, seed: int = 0) -> None:
    """Three ragged requests, chains and trees, several rounds: every row equals the row of a fresh start on its path,
    up to `atol`; absent nodes are harmless; the old state can be returned to; requests leave and join; what was tapped
    is what a fresh start says.
    """
    law = _Law(model, atol, torch.Generator().manual_seed(seed))
    law.check_rounds()
    law.check_rows()
    law.check_taps()


class _Law:
    """One model under test; remembers what fresh starts said."""

    def __init__(self, model: LanguageModel, atol: float, generator: torch.Generator) -> None:
        self.model, self.atol, self.generator = model, atol, generator
        ids_BT = self.ids(3, 6)
        ids_BT[1, 3:] = PAD
        ids_BT[2, 1:] = PAD
        self.prompt_BT = ids_BT
        self.texts = [[token for token in row if token != PAD] for row in ids_BT.tolist()]

    def ids(self, *shape: int) -> Tensor:
        return torch.randint(self.model.vocab, shape, generator=self.generator)

    def drafts(self) -> list[Draft]:
        """A ragged chain and, for models that take it, a ragged tree."""
        shapes = [(CHAIN, None), (TREE, PARENTS)] if self.model.trees else [(CHAIN, None)]
        return [
            Draft(
                self.ids(3, len(there[0])).where(torch.tensor(there) != PAD, PAD),
                None if parents is None else torch.tensor(parents),
            )
            for there, parents in shapes
        ]

    def fresh(self, text: list[int]) -> Tensor:
        """logits_V after a text that the model sees for the first time."""
        context, _ = self.model.start(torch.tensor([text]))
        return self.model.score(context, Draft.nothing(1)).logits_BMV[0, 0].float()

    def close(self, have: Tensor, want: Tensor, what: str) -> None:
        gap = float((have.float() - want.float()).abs().max()) if have.numel() else 0.0
        assert have.shape == want.shape, f"{what}: shape {tuple(have.shape)}, not {tuple(want.shape)}"
        assert gap <= self.atol, f"{what}: off by {gap:.2g}"

    def check_scores(self, scores: Scores, draft: Draft, texts: list[list[int]], what: str) -> None:
        """Every row against a fresh start on the text and its path."""
        rows = draft.tokens_BN.shape[1] + 1
        shape = tuple(scores.logits_BMV.shape)
        assert shape == (len(texts), rows, self.model.vocab), f"{what}: logits have shape {shape}"
        there_BN = draft.tokens_BN != PAD
        for request, (text, to) in enumerate(zip(texts, paths(draft), strict=True)):
            self.close(scores.logits_BMV[request, 0], self.fresh(text), f"{what}, the root of request {request}")
            nodes = there_BN[request].nonzero().squeeze(-1).tolist()
            for node, path in zip(nodes, to, strict=True):
                where = f"{what}, node {node} of request {request}, path {path}"
                self.close(scores.logits_BMV[request, node + 1], self.fresh([*text, *path]), where)

    def check_rounds(self) -> None:
        """Score, commit, score again: chains and trees, whole drafts and none, levels that were never scored."""
        context, _ = self.model.start(self.prompt_BT)
        texts = self.texts
        for turn in range(2):
            for draft in self.drafts():
                what = f"round {turn}, {'tree' if draft.branches else 'chain'}"
                scores = self.model.score(context, draft)
                self.check_scores(scores, draft, texts, what)
                self.check_growing(context, draft, scores, what)
                verdict = self.verdict(draft, turn)
                after = self.model.commit(context, verdict)
                self.check_text(context, texts, what)
                again = self.model.score(context, draft)  # the old state, before anything was scored on the new one
                self.close(again.logits_BMV, scores.logits_BMV, f"{what}, the old state once more")
                if turn:  # a draft model never scores its last level: those tokens are pending
                    self.model.score(context, _first(draft, 2))
                after = self.model.commit(context, verdict)
                said = [[token for token in row if token != PAD] for row in verdict.tokens_BC.tolist()]
                texts = [[*text, *more] for text, more in zip(texts, said, strict=True)]
                self.check_text(after, texts, f"{what}, committed")
                context = after
        self.check_scores(self.model.score(context, Draft.nothing(3)), Draft.nothing(3), texts, "after all rounds")

    def check_growing(self, context: Any, draft: Draft, whole: Scores, what: str) -> None:
        """Scored level by level, as a draft model does it."""
        for nodes in range(draft.tokens_BN.shape[1] + 1):
            part = self.model.score(context, _first(draft, nodes)).logits_BMV
            there_BM = torch.cat([torch.ones(3, 1, dtype=torch.bool), draft.tokens_BN[:, :nodes] != PAD], 1)
            self.close(part[there_BM], whole.logits_BMV[:, : nodes + 1][there_BM], f"{what}, {nodes} nodes so far")

    def check_text(self, context: Any, texts: list[list[int]], what: str) -> None:
        have = [[token for token in row if token != PAD] for row in self.model.tokens(context).tolist()]
        assert have == texts, f"{what}: the context holds {have}, not {texts}"

    def verdict(self, draft: Draft, turn: int) -> Verdict:
        """Request 0 keeps its deepest last path, 1 none and then its first node, 2 the path of its last node."""
        parents = parents_of(draft).tolist()
        there = (draft.tokens_BN != PAD).tolist()
        ends = [max(node for node, real in enumerate(row) if real) for row in there]
        ends[1] = 0 if turn else PAD
        nodes_BD = torch.full_like(draft.tokens_BN, PAD)
        for request, node in enumerate(ends):
            path: list[int] = []
            while node != PAD:
                path.insert(0, node)
                node = parents[request][node]
            nodes_BD[request, : len(path)] = torch.tensor(path, dtype=torch.int64)
        return Verdict.of_path(draft.tokens_BN, nodes_BD, self.ids(3))

    def check_rows(self) -> None:
        """Requests leave, are repeated and join, also while tokens are pending."""
        context, _ = self.model.start(self.prompt_BT)
        draft = self.drafts()[0]
        self.model.score(context, _first(draft, 1))
        verdict = self.verdict(draft, 0)
        context = self.model.commit(context, verdict)
        texts = [[token for token in row if token != PAD] for row in self.model.tokens(context).tolist()]
        rows_R = torch.tensor([2, 0, 2])
        some, more = select_rows(context, rows_R), select_rows(draft, rows_R)
        self.check_scores(self.model.score(some, more), more, [texts[2], texts[0], texts[2]], "selected")
        late, _ = self.model.start(self.prompt_BT[:1])
        joined = join_rows(select_rows(context, torch.tensor([1, 2])), late)
        order_R = torch.tensor([1, 2, 0])
        more = select_rows(draft, order_R)
        self.check_scores(self.model.score(joined, more), more, [texts[1], texts[2], self.texts[0]], "joined")

    def check_taps(self) -> None:
        """Prompt logits, best ids and hidden states are those of the same prompt alone."""
        taps = Taps(layers=(0, -1), top=2, logits=True)
        context, prefill = self.model.start(self.prompt_BT, taps)
        draft = self.drafts()[-1]
        scores = self.model.score(context, draft)
        assert prefill.hidden_BMD is not None, "hidden states were asked for"
        assert prefill.top_BMK is not None, "the best ids were asked for"
        assert scores.hidden_BMD is not None, "hidden states were asked for"
        read = self.prompt_BT.shape[1] - 1
        assert prefill.logits_BMV.shape[:2] == (3, read), "one row for each token that was read"
        assert prefill.top_BMK.shape == (3, read, 2), "the best ids of each token that was read"
        for request, text in enumerate(self.texts):
            top_K = prefill.top_BMK[request, len(text) - 1 :]
            assert (top_K == PAD).all(), "no best ids beside what was not read"
            for slot in range(len(text) - 1):
                want_V = self.fresh(text[: slot + 1])
                self.close(prefill.logits_BMV[request, slot], want_V, f"prompt row {slot} of request {request}")
                ids_K = prefill.top_BMK[request, slot]
                self.close(want_V[ids_K], want_V.topk(2).values, f"the best ids behind slot {slot} of {request}")
            alone, _ = self.model.start(torch.tensor([text]), taps)
            mine = self.model.score(alone, select_rows(draft, torch.tensor([request]))).hidden_BMD
            assert mine is not None
            there_M = torch.cat([torch.ones(1, dtype=torch.bool), draft.tokens_BN[request] != PAD])
            self.close(scores.hidden_BMD[request][there_M], mine[0][there_M], f"hidden states of request {request}")


def _first(draft: Draft, nodes: int) -> Draft:
    """The first `nodes` nodes of a draft."""
    return Draft(draft.tokens_BN[:, :nodes], None if draft.parents_BN is None else draft.parents_BN[:, :nodes])
