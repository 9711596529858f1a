"""Text that a schema allows, drawn with samplers of one's own; a drafter changes nothing of it but the speed."""

import json

import decant
from decant.errors import MissingExtra

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "kind": {"enum": ["list", "number", "text"]},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "kind", "size"],
    "additionalProperties": False,
}

try:
    said = decant.generate(
        "house:target", "A value as JSON: ", method="prompt-lookup", max_tokens=64, seed=3,
        sampler=[decant.temperature(0.8), decant.min_p(0.05)], constraint=decant.Json(SCHEMA, compact=True),
    )  # fmt: skip
except MissingExtra as error:  # llguidance: pip install 'decant[grammar]'
    print(error)
else:
    print(json.loads(said.text), f"[{len(said.tokens)} tokens in {said.steps} steps]", sep="\n")
