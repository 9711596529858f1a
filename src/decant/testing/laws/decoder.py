"""The laws of decoders: nothing is lost."""

import torch

from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.noise import Noise
from decant.protocols import Decoder, LanguageModel, State, Warp
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws.paths import joint_law
from decant.types import PAD

PROMPTS = [[0, 1, 2, 0, 1], [3, 1], [2]]
SEEDS = [11, 12, 13]


def check_decoder(
    decoder: Decoder[State], plain: Decoder, *, prompts: list[list[int]] | None = None, max_tokens: int = 24
) -> None:
    """The text is plain decoding's, token for token: for any exact decoder under a greedy warp, and for a seeded one
    under every warp. Alone or in a batch; and it ends where plain decoding's ends.

    plain: the decoder to be equal to, with the same target, warp and constraint.
    """
    prompts = PROMPTS if prompts is None else prompts
    seeds = (SEEDS * len(prompts))[: len(prompts)]
    free = Stopping(max_tokens)
    want = _texts(plain, prompts, seeds, free)
    have = _texts(decoder, prompts, seeds, free)
    for request, (said, wanted) in enumerate(zip(have, want, strict=True)):
        at = sum(1 for end in range(1, len(wanted) + 1) if said[:end] == wanted[:end])
        assert said == wanted, f"request {request} differs from plain decoding at position {at}: {said}, not {wanted}"
    for request, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = _texts(decoder, [prompt], [seed], free)
        assert alone == [have[request]], f"request {request} says something else when it is alone"
    _check_stops(decoder, plain, prompts, seeds, want)


def check_law(
    decoder: Decoder[State],
    target: LanguageModel,
    warp: Warp,
    *,
    prompt: tuple[int, ...] = (0, 1),
    length: int = 3,
    draws: int = 20_000,
) -> None:
    """The first `length` tokens have the joint law of the warped target.

    For a target of a few tokens that scores trees. With 64 outcomes an effect (see `chi_square`) of 0.008 is caught
    with power above 0.99.
    """
    prompt_BT = torch.tensor([prompt]).expand(draws, -1)
    state = decoder.start(prompt_BT, Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64)))
    said_BC = torch.full((draws, length + 1), PAD)
    while (said_BC[:, :length] == PAD).any():
        state, step = decoder.step(state)
        assert (step.tokens_BC != PAD).any(), "a step must settle something"
        # What lies behind the tested length is written into the last column, which nobody reads.
        slot_BC = step.positions_BC.where(step.tokens_BC != PAD, length).clamp_max(length)
        said_BC = said_BC.scatter(1, slot_BC, step.tokens_BC)
    outcome_B = torch.zeros(draws, dtype=torch.int64)
    for slot in range(length):
        outcome_B = outcome_B * target.vocab + said_BC[:, slot]
    assert_distributed_as(outcome_B, joint_law(target, warp, prompt_BT, length), f"the first {length} tokens")


def _texts(decoder: Decoder[State], prompts: list[list[int]], seeds: list[int], stopping: Stopping) -> list[list[int]]:
    last = generate(decoder, right_pad(prompts), Noise.of(seeds), [stopping] * len(prompts))
    return [output.tokens for output in last.outputs]


def _check_stops(
    decoder: Decoder[State], plain: Decoder, prompts: list[list[int]], seeds: list[int], want: list[list[int]]
) -> None:
    """Ends inside an accepted block cut it; the length is never exceeded; requests end one by one."""
    letters = want[0]
    middle = len(letters) // 2
    for stopping in (
        *(Stopping(most) for most in (1, middle)),
        *(Stopping(len(letters), ends=frozenset({token})) for token in sorted(set(letters))[:2]),
        Stopping(len(letters), strings=(_spell(letters[middle : middle + 2]),), decode=_spell),
    ):
        have = _texts(decoder, prompts, seeds, stopping)
        assert have == _texts(plain, prompts, seeds, stopping), f"ends elsewhere than plain decoding under {stopping}"
        assert max(map(len, have)) <= stopping.max_tokens, f"more than {stopping.max_tokens} tokens"


def _spell(ids: list[int]) -> str:
    return "".join(chr(ord("a") + token) for token in ids)
