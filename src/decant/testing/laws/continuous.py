"""The law of batching: what a request says does not depend on its neighbours, whenever they come and go."""

from decant.decoders.continuous import Continuous, Request
from decant.decoders.stopping import Stopping
from decant.protocols import Decoder, State

Asked = tuple[list[int], int, int]
"""(prompt, seed, tokens to say)"""

ASKED: list[Asked] = [
    ([0, 1, 2, 0, 1], 11, 9),
    ([3, 1], 12, 1),
    ([2], 13, 17),
    ([1, 2, 3, 3, 2, 1, 0], 14, 5),
    ([0, 1, 2, 0, 1], 15, 12),
    ([3], 16, 3),
    ([2, 2], 17, 8),
]


def check_continuous(decoder: Decoder[State], *, asked: list[Asked] | None = None, batch: int = 3) -> None:
    """Requests of mixed lengths, which come one by one while others run, say what each says alone, token for token.

    One of them is cancelled half-way; what it has said until then is the beginning of what it says alone.
    """
    asked = ASKED if asked is None else asked
    alone = [_alone(decoder, one) for one in asked]
    requests = [_request(one) for one in asked]
    crank = Continuous(decoder, batch=batch)
    cancelled = max(requests, key=lambda request: request.stopping.max_tokens)
    coming = list(requests)
    steps = most = 0
    while coming or crank.running or crank.waiting:
        if coming and steps % 2 == 0:
            crank.add(coming.pop(0))
        crank.step()
        steps += 1
        most = max(most, len(crank.running))
        if len(cancelled.output.tokens) >= cancelled.stopping.max_tokens // 2:
            crank.cancel(cancelled)
    assert 1 < most <= batch, f"{most} requests ran together, not 2 to {batch}"
    for at, (request, want) in enumerate(zip(requests, alone, strict=True)):
        have = request.output.tokens
        if request is cancelled:
            want = want[: len(have)]
        same = sum(1 for end in range(1, len(want) + 1) if have[:end] == want[:end])
        assert have == want, f"request {at} says {have[same:]} at {same} in company, and {want[same:]} alone"


def _request(asked: Asked) -> Request:
    prompt, seed, tokens = asked
    return Request(prompt, seed, Stopping(tokens))


def _alone(decoder: Decoder[State], asked: Asked) -> list[int]:
    request, crank = _request(asked), Continuous(decoder, batch=1)
    crank.add(request)
    for _ in range(asked[2]):
        crank.step()
    assert request.output.reason is not None, f"alone, a request of {asked[2]} tokens does not end in as many steps"
    return request.output.tokens
