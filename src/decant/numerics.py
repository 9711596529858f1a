"""The few numerical moves that several methods share."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from decant.types import PAD, Draft, Verdict

FLOOR = -1e4  # nats; no float32 softmax of finite logits below 1e4 says less, and a weight of zero times it is zero


def take(values_XV: Tensor, ids_X: Tensor) -> Tensor:
    """values_XV[..., ids_X]: the entry of each row at that row's id; 0 where the id is PAD."""
    real_X = ids_X != PAD
    return values_XV.gather(-1, ids_X.clamp_min(0)[..., None]).squeeze(-1).where(real_X, 0)


def floored(logp_X: Tensor) -> Tensor:
    """Logarithms without -inf, so that nothing times zero is NaN, in gradients neither."""
    return logp_X.clamp_min(FLOOR)


def remaining(logp_XK: Tensor) -> Tensor:
    """Log of what some outcomes of a law leave to all others, rest_X; -inf where rounding leaves nothing."""
    return torch.log(-torch.expm1(logp_XK.logsumexp(-1).clamp_max(0)))  # log(1 - sum), exact where little is left


def mixed(one_logp_X: Tensor, other_logp_X: Tensor, share: float) -> Tensor:
    """log(share one + (1 - share) other), of finite logarithms; at shares 0 and 1 it is one of them, untouched."""
    if share in (0.0, 1.0):
        return one_logp_X if share else other_logp_X
    return torch.logaddexp(one_logp_X + math.log(share), other_logp_X + math.log1p(-share))


def append(rows_BT: Tensor, new_BC: Tensor) -> Tensor:
    """Concatenate two right-padded batches row by row, keeping the result right-padded with PAD."""
    joined_BT = torch.cat([rows_BT, new_BC], dim=1)
    padding_BT = joined_BT == PAD
    # A stable sort on "is padding" slides real entries left without reordering them.
    order_BT = padding_BT.long().argsort(dim=1, stable=True)
    width = int((~padding_BT).sum(-1).max())  # sync: the width depends on the tokens
    return joined_BT.gather(1, order_BT)[:, :width]


def latest(rows_BT: Tensor, count_B: Tensor, width: int) -> Tensor:
    """The last `width` of the first `count_B` entries of each row, left-padded with PAD."""
    at_BW = count_B[:, None] - width + torch.arange(width, device=rows_BT.device)
    return rows_BT.gather(1, at_BW.clamp_min(0)).where(at_BW >= 0, PAD)


def normalise(weights_XV: Tensor, otherwise_XV: Tensor) -> Tensor:
    """Rows scaled to sum to one; a row that is zero everywhere becomes the row of `otherwise_XV`.

    The residual max(p - q, 0) is zero where p and q are equal up to rounding: then p itself is right.
    """
    total_X1 = weights_XV.sum(-1, keepdim=True)
    # It may lie below the smallest normal number: so little is left of a law that is nearly certain.
    real_X1 = total_X1 > 0
    return torch.where(real_X1, weights_XV / total_X1.where(real_X1, 1.0), otherwise_XV)


def chain_laws(draft: Draft, like_BMV: Tensor) -> Tensor:
    """q_BMV of a chain: what the guess behind each row was drawn from, all of it on the guess where guesses are fixed;
    zero behind rows where the chain has ended, the last of them always. Shape and dtype are those of `like_BMV`."""
    real_BM = torch.nn.functional.pad(draft.tokens_BN != PAD, (0, 1))[..., None]
    if draft.siblings == "fixed" or draft.laws_BMV is None:
        guess_BM = torch.nn.functional.pad(draft.tokens_BN, (0, 1)).clamp_min(0)[..., None]
        return torch.zeros_like(like_BMV).scatter(-1, guess_BM, real_BM.to(like_BMV))
    nodes = draft.tokens_BN.shape[1]
    laws_BMV = torch.cat([draft.laws_BMV[:, :nodes], torch.zeros_like(like_BMV[:, :1])], dim=1)
    return laws_BMV.to(like_BMV).where(real_BM, 0)


def chain_parents(tokens_BN: Tensor) -> Tensor:
    """The parents_BN that a chain's None stands for."""
    batch, nodes = tokens_BN.shape
    return (torch.arange(nodes, device=tokens_BN.device) - 1).expand(batch, nodes)


def along_path(rows_BMX: Tensor, nodes_BC: Tensor) -> Tensor:
    """rows_BCX: the row behind each committed token: the root's, then those of the accepted nodes. Row c is what the
    target computed just before token c of a `Verdict`; beside PAD it is the root's."""
    at_BC = torch.nn.functional.pad(nodes_BC + 1, (1, -1))
    return rows_BMX.gather(1, at_BC[..., None].expand(-1, -1, rows_BMX.shape[-1]))


def depths(parents_BN: Tensor) -> Tensor:
    """depth_BN of every node; a child of the root has depth 1."""
    return ancestry(parents_BN)[:, 1:].sum(-1) - 1


def on_path(draft: Draft, verdict: Verdict) -> tuple[Tensor, Tensor, Tensor]:
    """rank_BN: of every node among its siblings; tried_BN, bool: its parent was accepted, or is the root; kept_BN,
    bool: it was accepted itself. An absent node has no rank that counts, and was neither."""
    parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
    real_BN = draft.tokens_BN != PAD
    elder_BNN = ((parents_BN[:, None] == parents_BN[..., None]) & real_BN[:, None]).tril(-1)
    node_N1 = torch.arange(parents_BN.shape[1], device=parents_BN.device)[:, None]
    # PAD among accepted nodes fills up; among parents it is the root, which is always on the path.
    kept_BN = (node_N1 == verdict.nodes_BC[:, None]).any(-1)
    tried_BN = (parents_BN == PAD) | (parents_BN[..., None] == verdict.nodes_BC[:, None]).any(-1)
    return elder_BNN.sum(-1), tried_BN & real_BN, kept_BN & real_BN


def ancestry(parents_BN: Tensor) -> Tensor:
    """sees_BMM, bool: row i sees row j, which is itself or an ancestor; row 0 is the root, row i + 1 is node i."""
    batch, nodes = parents_BN.shape
    above_BM = torch.nn.functional.pad(parents_BN + 1, (1, 0))  # the root is above itself
    sees_BMM = torch.eye(nodes + 1, dtype=torch.bool, device=parents_BN.device).repeat(batch, 1, 1)
    at_BM = above_BM
    while True:
        sees_BMM.scatter_(2, at_BM[..., None], True)
        if not at_BM.any():  # sync: have all rows reached the root? Once a level
            return sees_BMM
        at_BM = above_BM.gather(1, at_BM)


def likeliest(law_XV: Tensor, count: int) -> Tensor:
    """The `count` largest entries of each row, zeros elsewhere. What competes by race pays for every entry."""
    if law_XV.shape[-1] <= count:
        return law_XV
    best_XK, ids_XK = law_XV.topk(count, dim=-1)
    return torch.zeros_like(law_XV).scatter(-1, ids_XK, best_XK)


def tallied(counts_BW: Tensor, tokens_BC: Tensor, vocab: int) -> Tensor:
    """counts_BW of each id, int64, with more tokens, PAD among them; widened to `vocab` columns. PAD counts as 0."""
    wider_BW = torch.nn.functional.pad(counts_BW, (0, max(0, vocab - counts_BW.shape[1]))).clamp_min(0)
    return wider_BW.scatter_add(1, tokens_BC.clamp_min(0), (tokens_BC != PAD).long())


def on_counts(
    logits_BMV: Tensor, counts_BW: Tensor, draft: Draft, penalised: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """penalised(logits, counts) of every entry: how often each id was said before the draft (`tallied`), to which each
    row's own path adds. O(M (V + N^2)) a request."""
    vocab = logits_BMV.shape[-1]
    counts_BV = torch.nn.functional.pad(counts_BW, (0, vocab - counts_BW.shape[1])).clamp_min(0).to(logits_BMV)
    parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
    real_BN = (draft.tokens_BN != PAD) & (draft.tokens_BN < vocab)  # ids of riders lie behind the vocabulary
    ids_BN = draft.tokens_BN.where(real_BN, 0)
    same_BNN = (ids_BN[..., None] == ids_BN[:, None]) & real_BN[..., None]
    # Nodes of one id get one number, so that it does not matter which of them is written last.
    own_BMN = ancestry(parents_BN)[..., 1:].to(logits_BMV) @ same_BNN.to(logits_BMV)
    counts_BMN = counts_BV.gather(1, ids_BN)[:, None] + own_BMN
    ids_BMN = ids_BN[:, None].expand_as(counts_BMN)
    of_nodes_BMN = penalised(logits_BMV.gather(-1, ids_BMN), counts_BMN)
    return penalised(logits_BMV, counts_BV[:, None]).scatter(-1, ids_BMN, of_nodes_BMN)


def threaded(said_BT: Tensor, draft: Draft) -> tuple[Tensor, Tensor, Tensor]:
    """tokens_BS: what was said, then the draft; before_BS: where the token before each stands, PAD where there is none;
    ends_BM: where the last token of each row's history stands."""
    width, device = said_BT.shape[1], said_BT.device
    last_B1 = (said_BT != PAD).sum(-1, keepdim=True) - 1
    parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
    above_BN = torch.where(parents_BN == PAD, last_B1, width + parents_BN)
    line_BT = torch.arange(-1, width - 1, device=device).expand_as(said_BT)
    nodes_BN = torch.arange(width, width + parents_BN.shape[1], device=device).expand_as(parents_BN)
    tokens_BS = torch.cat([said_BT, draft.tokens_BN], 1)
    return tokens_BS, torch.cat([line_BT, above_BN], 1), torch.cat([last_B1, nodes_BN], 1)


def tails(said_BT: Tensor, draft: Draft, width: int) -> Tensor:
    """tails_BMW: the last `width` tokens of each row's history, newest first, PAD behind its beginning."""
    tokens_BS, before_BS, at_BM = threaded(said_BT, draft)
    found = [said_BT.new_empty(*at_BM.shape, 0)]
    for _ in range(width):
        real_BM, at_BM = at_BM != PAD, at_BM.clamp_min(0)
        found.append(tokens_BS.gather(1, at_BM).where(real_BM, PAD)[..., None])
        at_BM = before_BS.gather(1, at_BM).where(real_BM, PAD)
    return torch.cat(found, -1)


def echoes(
    said_BT: Tensor, draft: Draft, width: int, vocab: int, breakers: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where the last tokens of a row's history were said before: request_K, row_K, and token_K, which followed there;
    alike_K: how many tokens before it are the row's last ones, from 1 to `width` (0 at width 0, where all that was said
    counts); back_K: how far it stands in front of the row's next token. Breakers are like nothing.

    One pass of O(M T) comparisons a request; the rest costs what is alike.
    """
    tokens_BS, before_BS, ends_BM = threaded(said_BT, draft)
    sees_BMM = ancestry(chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN)
    like_BS = tokens_BS.masked_fill(torch.isin(tokens_BS, tokens_BS.new_tensor(breakers)), PAD)
    real_BS = (tokens_BS != PAD) & (tokens_BS < vocab)
    if width:
        prior_BS = like_BS.gather(1, before_BS.clamp_min(0)).where(before_BS != PAD, PAD)
        # What is below PAD is like nothing, an absent last token neither.
        prior_BS = prior_BS.where(real_BS & (prior_BS != PAD), PAD - 1)
        said_BMS = prior_BS[:, None] == like_BS.gather(1, ends_BM.clamp_min(0))[..., None]
    else:
        said_BMS = real_BS[:, None].repeat(1, ends_BM.shape[1], 1)
    said_BMS[..., said_BT.shape[1] :] &= sees_BMM[..., 1:]
    request_K, row_K, at_K = said_BMS.nonzero(as_tuple=True)  # sync: what is alike is rare
    alike_K = torch.full_like(at_K, min(width, 1))

    left_K = torch.arange(len(at_K), device=at_K.device)
    then_K, now_K = before_BS[request_K, at_K], ends_BM[request_K, row_K]
    for _ in range(1, width):
        then_K, now_K = before_BS[request_K[left_K], then_K], before_BS[request_K[left_K], now_K]
        one_K, other_K = like_BS[request_K[left_K], then_K], like_BS[request_K[left_K], now_K]
        same_K = (then_K != PAD) & (one_K == other_K) & (one_K != PAD)
        left_K, then_K, now_K = left_K[same_K], then_K[same_K], now_K[same_K]
        if not len(left_K):
            break
        alike_K[left_K] += 1

    depth_BN = sees_BMM[:, 1:].sum(-1) - 1
    line_BT = torch.arange(said_BT.shape[1], device=said_BT.device).expand_as(said_BT)
    place_BS = torch.cat([line_BT, ends_BM[:, :1] + depth_BN], 1)
    back_K = place_BS[request_K, ends_BM[request_K, row_K]] + 1 - place_BS[request_K, at_K]
    return request_K, row_K, tokens_BS[request_K, at_K], alike_K, back_K


def forbidden(logits_BMV: Tensor, request_K: Tensor, row_K: Tensor, token_K: Tensor) -> Tensor:
    """-inf at some tokens; a row of which nothing would be left stays as it was."""
    if not len(token_K):
        return logits_BMV
    none = logits_BMV.new_tensor(-torch.inf)
    rest_BMV = logits_BMV.index_put((request_K, row_K, token_K), none)
    return torch.where(rest_BMV.amax(-1, keepdim=True) > -torch.inf, rest_BMV, logits_BMV)
