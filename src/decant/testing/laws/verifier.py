"""The law of verifiers: what is committed follows the target, whatever was guessed."""

import torch
from torch import Tensor

from decant.noise import Noise
from decant.protocols import Verifier
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws.paths import joint_law, parents_of
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft, Siblings, Verdict, select_rows

FEW = 1000  # requests where texts are compared, not counted
LENGTH = 3  # tokens whose joint law is tested: a path of two guesses and what follows it
ROOT = torch.tensor([[0, 1]])


def check_verifier(verifier: Verifier, *, vocab: int = 4, draws: int = 20_000, seed: int = 0) -> None:
    """Verdicts are well-formed for every kind of draft that it accepts; and, if it calls itself exact, the first three
    tokens have the target's joint law (64 outcomes), whether the drafter is good, the target itself, or perverse.

    A wrong joint law whose effect (see `chi_square`) is 0.008 is caught with power above 0.99. A seeded verifier must
    say the same whatever it was given, which needs no statistics.
    """
    target = MarkovLM.random(vocab, seed)
    drafters = {
        "a good drafter": target.blurred(seed + 1),
        "the target itself": target,
        "a perverse drafter": MarkovLM(-target.logits_UVV),
    }
    noise = Noise(torch.arange(draws) + draws * seed, torch.zeros(draws, dtype=torch.int64))
    nothing = _judge(verifier, target, Draft.nothing(draws), noise, "nothing")
    if verifier.exact:
        _check_joint_law(target, nothing, "nothing", seed)
        _check_greedy(verifier, target, drafters["a perverse drafter"], noise)
    if verifier.seeded or not verifier.exact:  # what it says is not counted, but compared
        noise = noise.select(torch.arange(FEW))
    said: list[Verdict] = []
    for kind in sorted(verifier.accepts):
        for name, model in drafters.items():
            for width in (1, 2) if verifier.trees else (1,):
                draft = guess(model, kind, width, len(noise.seed_B), torch.Generator().manual_seed(seed + width))
                where = f"{width} {kind} of {name}"
                said.append(_judge(verifier, target, draft, noise, where))
                if verifier.exact and not verifier.seeded:
                    _check_joint_law(target, said[-1], where, seed)
    if verifier.seeded:
        _check_seeded(verifier, target, said, noise)


def guess(model: MarkovLM, kind: Siblings, width: int, draws: int, generator: torch.Generator) -> Draft:
    """Two levels of `width` children each for `draws` requests, as a drafter of this kind would make them.

    In every other request node 0 has no children, whatever it is: a ragged draft.
    """
    context = MarkovContext(ROOT.expand(draws, -1))
    tokens_BN = parents_BN = torch.empty(draws, 0, dtype=torch.int64)
    laws = []
    for rows in (1, width):  # rows that get children: the root, then its children
        above = Draft(tokens_BN, parents_BN)
        laws.append(model.score(context, above).logits_BMV[:, -rows:].softmax(-1))
        tokens_BC = _children(laws[-1], kind, width, generator).flatten(1)
        if tokens_BN.shape[1]:
            tokens_BC[::2, :width] = PAD
        parent_C = tokens_BN.shape[1] - rows + torch.arange(tokens_BC.shape[1]) // width
        tokens_BN = torch.cat([tokens_BN, tokens_BC], 1)
        parents_BN = torch.cat([parents_BN, parent_C.expand(draws, -1)], 1)
    laws_BMV = torch.cat(laws, 1)
    rest = tokens_BN.shape[1] - laws_BMV.shape[1]
    laws_BMV = torch.cat([laws_BMV, laws_BMV.new_zeros(draws, rest, model.vocab)], 1)
    chain = width == 1
    return Draft(tokens_BN, None if chain else parents_BN, None if kind == "fixed" else laws_BMV, kind)


def _children(law_BLV: Tensor, kind: Siblings, width: int, generator: torch.Generator) -> Tensor:
    """tokens_BLW: children of every row."""
    best_BLW = law_BLV.topk(width, -1).indices
    if kind == "fixed":
        return best_BLW
    if kind == "greedy_multi":
        rest_BLV = law_BLV.scatter(-1, best_BLW[..., : width - 1], 0.0)
        last_B = torch.multinomial(rest_BLV.flatten(0, 1), 1, generator=generator)
        return torch.cat([best_BLW[..., : width - 1], last_B.view(*law_BLV.shape[:2], 1)], -1)
    again = kind == "independent"
    drawn = torch.multinomial(law_BLV.flatten(0, 1), width, replacement=again, generator=generator)
    return drawn.view(*law_BLV.shape[:2], width)


def _judge(verifier: Verifier, target: MarkovLM, draft: Draft, noise: Noise, where: str) -> Verdict:
    """The verdict, after checking that it is one."""
    probs_BMV = target.score(MarkovContext(ROOT.expand(len(draft.tokens_BN), -1)), draft).logits_BMV.softmax(-1)
    given_BMV = probs_BMV.clone()
    verdict = verifier.verify(draft, probs_BMV, noise)
    assert torch.equal(probs_BMV, given_BMV), f"{where}: a verifier must not write into the target's probabilities"
    _check_form(draft, verdict, where)
    rows_R = torch.arange(10, 0, -1)
    some = verifier.verify(select_rows(draft, rows_R), probs_BMV[rows_R], noise.select(rows_R))
    for row, request in enumerate(rows_R.tolist()):
        again, among = (tokens_C[tokens_C != PAD] for tokens_C in (some.tokens_BC[row], verdict.tokens_BC[request]))
        assert torch.equal(again, among), f"{where}: a verdict depends on the request's own arguments alone"
    return verdict


def _check_form(draft: Draft, verdict: Verdict, where: str) -> None:
    tokens_BC, nodes_BC = verdict.tokens_BC, verdict.nodes_BC
    assert tokens_BC.shape == nodes_BC.shape, f"{where}: one node slot for each token slot"
    real_BC, path_BC = tokens_BC != PAD, nodes_BC != PAD
    assert real_BC[:, 0].all(), f"{where}: a verdict commits at least one token"
    assert (real_BC[:, 1:] <= real_BC[:, :-1]).all(), f"{where}: tokens are right-padded"
    assert (path_BC[:, 1:] <= path_BC[:, :-1]).all(), f"{where}: nodes are right-padded"
    assert torch.equal(verdict.committed_B, verdict.accepted_B + 1), f"{where}: one token of the target's own ends it"
    if not draft.tokens_BN.shape[1]:
        return
    said_BC = draft.tokens_BN.gather(1, nodes_BC.clamp_min(0))
    assert (said_BC == tokens_BC)[path_BC].all(), f"{where}: an accepted token is what its node said"
    above_BC = parents_of(draft).gather(1, nodes_BC.clamp_min(0))
    before_BC = torch.cat([torch.full_like(nodes_BC[:, :1], PAD), nodes_BC[:, :-1]], 1)
    assert (above_BC == before_BC)[path_BC].all(), f"{where}: accepted nodes form one path from the root"


def _check_joint_law(target: MarkovLM, verdict: Verdict, where: str, seed: int) -> None:
    """Verdicts shorter than three tokens are finished by the target itself."""
    generator = torch.Generator().manual_seed(seed + 99)
    context = MarkovContext(ROOT.expand(len(verdict.tokens_BC), -1))
    said: list[Tensor] = []
    for slot in range(LENGTH):
        so_far = Draft(torch.stack(said, 1)) if said else Draft.nothing(len(verdict.tokens_BC))
        law_BV = target.score(context, so_far).logits_BMV[:, -1].softmax(-1)
        own_B = torch.multinomial(law_BV, 1, generator=generator).squeeze(-1)
        committed_B = verdict.tokens_BC[:, slot] if slot < verdict.tokens_BC.shape[1] else torch.full_like(own_B, PAD)
        said.append(committed_B.where(committed_B != PAD, own_B))
    outcome_B = (said[0] * target.vocab + said[1]) * target.vocab + said[2]
    what = f"the first three tokens after {where}"
    assert_distributed_as(outcome_B, joint_law(target, lambda logits_XV: logits_XV, ROOT), what)


def _check_greedy(verifier: Verifier, target: MarkovLM, drafter: MarkovLM, noise: Noise) -> None:
    """Where the target leaves no choice, its choice is committed: temperature zero is no special case."""
    best_UV1 = target.logits_UVV.argmax(-1, keepdim=True)
    certain = MarkovLM(torch.full_like(target.logits_UVV, -torch.inf).scatter(-1, best_UV1, 0.0))
    noise = noise.select(torch.arange(64))
    kind = sorted(verifier.accepts)[0]
    for model in (certain, drafter, target):
        draft = guess(model, "fixed" if "fixed" in verifier.accepts else kind, 1, 64, torch.Generator().manual_seed(0))
        verdict = _judge(verifier, certain, draft, noise, "greedy")
        context = MarkovContext(ROOT.expand(64, -1))
        for slot in range(verdict.tokens_BC.shape[1]):
            so_far = Draft(verdict.tokens_BC[:, :slot])
            best_B = certain.score(context, so_far).logits_BMV[:, -1].argmax(-1)
            here_B = verdict.tokens_BC[:, slot]
            assert ((here_B == best_B) | (here_B == PAD)).all(), "a certain target must be obeyed"


def _check_seeded(verifier: Verifier, target: MarkovLM, said: list[Verdict], noise: Noise) -> None:
    """All drafts were judged with the same noise: one text is the continuation of every other; and it is the text that
    the target says alone, one token at a time."""
    context, plain = MarkovContext(ROOT.expand(len(noise.seed_B), -1)), []
    at = noise
    for _ in range(LENGTH):
        nothing = Draft.nothing(len(noise.seed_B))
        verdict = verifier.verify(nothing, target.score(context, nothing).logits_BMV.softmax(-1), at)
        plain.append(verdict.tokens_BC[:, 0])
        context, at = target.commit(context, verdict), at.advance(verdict.committed_B)
    for verdict in said:
        for slot in range(verdict.tokens_BC.shape[1]):
            here_B = verdict.tokens_BC[:, slot]
            assert ((here_B == plain[slot]) | (here_B == PAD)).all(), (
                f"a seeded verifier says the same whatever was guessed: position {slot} depends on the draft"
            )
