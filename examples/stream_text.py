"""Text as it comes, up to a stop string that is never shown."""

import decant

text = decant.stream("house:target", "def area(width, height):\n", max_tokens=40, temperature=0, stop="\n\n")
for piece in text:
    print(piece, end="", flush=True)
print(f"\n[{text.completion.reason}: {text.completion.acceptance_length:.2f} tokens a step]")
