"""A decoder is a composition: a target, who guesses, who judges, how much to guess, which warp."""

import decant
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.noise import Noise
from decant.policies.confidence import Confidence
from decant.verifiers.rejection import Rejection

target, draft = decant.load("house:target"), decant.load("house:draft")
decoder = decant.Speculative(
    target=target.model,
    drafter=DraftModel(draft.model, coupled=False),  # rejection wants draws from the draft's own law
    verifier=Rejection(),
    policy=Confidence(depth=8, threshold=0.3),
    warp=decant.chain(decant.temperature(0.8), decant.top_p(0.95)),
    constraint=Unconstrained(),
)
ids = target.encode_chat([{"role": "user", "content": "Begin at 8, then add 5, multiply by 3. What is the result?"}])
last = generate(decoder, right_pad([ids]), Noise.of([0]), [Stopping(64, target.ends)])
print(target.decode(last.outputs[0].tokens), f"[{last.steps} steps]", sep="\n")
