"""The same answer in fewer turns of the large model."""

import decant

QUESTION = [{"role": "user", "content": "Take 54, then add 16, add 7, subtract 20, add 14."}]

target, draft = decant.load("house:target"), decant.load("house:draft")
for method in ("plain", "draft-model", "prompt-lookup", "token-recycling"):
    said = decant.generate(target, QUESTION, draft=draft, method=method, max_tokens=48, temperature=0)
    print(f"{method:16} {len(said.tokens)} tokens in {said.steps} steps: {said.text!r}")
