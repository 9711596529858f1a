"""Where each token of a text came from, told from the drafts behind it."""

from collections.abc import Iterator
from typing import Literal

from decant.bench.clock import timed
from decant.bench.ledger import Ledger, Round
from decant.decoders.generate import stream
from decant.decoders.workload import Workload, warmed
from decant.noise import Noise
from decant.numerics import chain_parents
from decant.protocols import AnyDecoder
from decant.types import PAD

Origin = Literal["drafted", "corrected", "bonus", "plain"]
"""A guess that was kept; the target's own token in place of a refused guess, behind a draft that was kept whole, or
where nothing was guessed."""


def origins(decoder: AnyDecoder, workload: Workload) -> Iterator[list[tuple[int, Origin]]]:
    """Ids and origins of each prompt's output, decoded one prompt at a time. Without a policy to watch, as of decoders
    that draft in a loop of their own, whatever was not drafted is plain."""
    for group in workload.groups():
        said: list[tuple[int, Origin]] = []
        ledger = Ledger(group.prompt_BT.device)
        clocked = timed(decoder, ledger)
        turn = None
        for turn in stream(clocked, group.prompt_BT, Noise.of(group.seeds, group.prompt_BT.device), group.stopping):
            output, own = turn.outputs[0], own_token(ledger.rounds[-1]) if ledger.rounds else "plain"
            for at in range(len(said), len(output.tokens)):
                said.append((output.tokens[at], "drafted" if output.drafted[at] else own))
        if turn is not None:
            decoder = warmed(decoder, turn.state)
        yield said


def own_token(last: Round) -> Origin:
    """Origin of the token that the target itself gave the first request behind this draft."""
    tokens_BN = last.tokens_BN
    if not (tokens_BN[0] != PAD).any():
        return "plain"
    parents_BN = chain_parents(tokens_BN) if last.parents_BN is None else last.parents_BN
    accepted = int((last.nodes_BC[0] != PAD).sum())
    end = int(last.nodes_BC[0, accepted - 1]) if accepted else PAD
    refused = ((parents_BN[0] == end) & (tokens_BN[0] != PAD)).any()
    return "corrected" if refused else "bonus"
