"""Does a request say the same alone, among others, and joined at another moment?

The same comparison then runs on a batch that once mixes up its requests, and must not hold.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from decant.decoders.continuous import Continuous, Request, answers
from decant.decoders.method import Method
from decant.decoders.parting import Parting, explain
from decant.decoders.stopping import Stopping
from decant.decoders.workload import Workload
from decant.errors import DecantError
from decant.protocols import AnyDecoder
from decant.prove.faults import Crossed, Tally

PROMPTS: Final = 8  # at most
TOKENS: Final = 48  # at most: a batch that mixes something up does so at once
SEATS: Final = 3  # requests at a time, where they come one by one
APART: Final = 2  # steps between two that come
FAULT: Final = "a batch that gives each request the next one's state, once"

Watch = Callable[[str, int], None]


def check(plain: AnyDecoder, method: Method, workload: Workload, watch: Watch) -> dict[str, Any]:
    """One entry of a certificate: few prompts alone, all at once, and coming one by one in the opposite order.

    It holds where every difference is a near-tie and the planted fault is caught.
    """
    few = replace(workload, prompts=workload.prompts[:PROMPTS], max_tokens=min(TOKENS, workload.max_tokens), batch=1)
    alone = [output.tokens for _, outputs in few.decode(method.decoder) for output in outputs]
    watch(f"{method.name}, alone", _size(few))
    ways = {"all at once": _at_once, "one by one, in another order": _one_by_one}
    partings: dict[str, list[Parting]] = {}
    for way, decode in ways.items():
        said = decode(method.decoder, few)
        watch(f"{method.name}, {way}", _size(few))
        found = (explain(plain, few, prompt, alone[prompt], said[prompt]) for prompt in range(len(said)))
        partings[way] = [parting for parting in found if parting is not None]
    everything = [parting for found in partings.values() for parting in found]
    unexplained = [parting for parting in everything if parting.cause == "unexplained"]
    caught = _planted(plain, method.decoder, few, alone)
    first = min(unexplained or everything, key=lambda parting: parting.prompt, default=None)
    return {
        "name": f"{method.name}: a request says the same alone and in company",
        "method": method.name,
        "holds": not unexplained and caught is not False,
        "prompts": len(alone),
        "statistic": None,
        "p_value": None,
        "power": None,
        "planted_fault_caught": caught,
        "first_divergence": None if first is None else asdict(first),
        "company": {way: {"differ": len(found), "of": len(alone)} for way, found in partings.items()},
        "near_ties": len(everything) - len(unexplained),
        "unexplained": len(unexplained),
        "divergences": [asdict(parting) for parting in everything],
        "tokens": sum(map(len, alone)),
        "planted_fault": {"what": FAULT},
    }


def tokens(workload: Workload) -> int:
    """How many tokens `check` decodes, at most, its planted fault left out."""
    return 3 * min(PROMPTS, len(workload.prompts)) * min(TOKENS, workload.max_tokens)


def _size(few: Workload) -> int:
    return len(few.prompts) * few.max_tokens


def _requests(few: Workload) -> list[Request]:
    stopping = Stopping(few.max_tokens, few.ends)
    return [Request(prompt, few.seed_of(number), stopping) for number, prompt in enumerate(few.prompts)]


def _at_once(decoder: AnyDecoder, few: Workload) -> list[list[int]]:
    requests = _requests(few)
    answers(Continuous(decoder, batch=len(requests), device=few.device), requests)
    return [request.output.tokens for request in requests]


def _one_by_one(decoder: AnyDecoder, few: Workload) -> list[list[int]]:
    requests = _requests(few)
    crank = Continuous(decoder, batch=min(SEATS, len(requests)), device=few.device)
    coming = requests[::-1]
    steps = 0
    while coming or crank.running or crank.waiting:
        if coming and (steps % APART == 0 or not crank.running):
            crank.add(coming.pop(0))
        crank.step()
        steps += 1
    return [request.output.tokens for request in requests]


def _planted(plain: AnyDecoder, decoder: AnyDecoder, few: Workload, alone: list[list[int]]) -> bool | None:
    """None where the fault could not show: one request has no company, and equal texts can be exchanged."""
    if len(set(map(tuple, alone))) == 1:
        return None
    tally = Tally()
    try:
        said = _at_once(Crossed(decoder, tally), few)
    except DecantError:  # a position was told twice, or a constraint was told of another's token
        return True
    found = (explain(plain, few, prompt, alone[prompt], said[prompt]) for prompt in range(len(said)))
    caught = any(parting is not None and parting.cause == "unexplained" for parting in found)
    return caught if tally.count else None
