"""Gaps in a text, filled in by a model that settles several tokens a pass; the whole follows a grammar."""

import json

import decant

filled = decant.generate(
    "house:diffusion",
    decant.Infill('{"name": [MASK:6], "size": [MASK:3]}'),
    method="threshold:tau=0.8",
    fill_grammar="json",
)
print(json.loads(filled.text), f"[{len(filled.tokens)} tokens in {filled.steps} passes]", sep="\n")
