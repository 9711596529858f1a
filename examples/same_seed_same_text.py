"""At any temperature a text depends on its seed alone: not on the drafter, and not on its neighbours in a batch."""

import decant

PROMPTS = ["def mean(values):\n", "class Stack:\n", "import json\n"]

target = decant.load("house:target", exact="on")
plain = decant.generate(target, PROMPTS, method="plain", max_tokens=24, temperature=1, seed=7)
drafted = decant.generate(target, PROMPTS, method="prompt-lookup:ngram=2", max_tokens=24, temperature=1, seed=7)
for prompt, one, other in zip(PROMPTS, plain, drafted, strict=True):
    assert one.tokens == other.tokens
    print(prompt.strip(), repr(one.text), sep="\n  ")
