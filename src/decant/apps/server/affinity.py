"""Which calls belong together: those whose prompts begin alike find each other's beginnings in one replica's cache.

A cache shares whole chunks of a prompt, so what counts is the first chunk. Of a conversation it ends with the first
message of the user's: later turns stay where that one was.
Source: Karger et al. 1997, doi:10.1145/258533.258660 (consistent hashing, which Ray Serve's router does with the key).
"""

import hashlib
import json
from typing import Final

from decant.apps.server.asking import Asked, Source
from decant.models.causal import CHUNK

BYTES: Final = 4 * CHUNK  # about a chunk of English: a token is four bytes or so


def session_key(asked: Asked, own: str | None = None) -> str:
    """Equal for calls that should meet. own: the client's `prompt_cache_key`, which parts calls that begin alike."""
    digest = hashlib.blake2b(json.dumps(own).encode(), digest_size=16)
    digest.update(_beginning(asked.prompts[0]))
    return digest.hexdigest()


def _beginning(source: Source) -> bytes:
    if isinstance(source, tuple):
        return json.dumps(source[:CHUNK]).encode()
    if source.text is not None:
        return source.text.encode(errors="surrogatepass")[:BYTES]
    roles = [one["role"] for one in source.messages]
    first = source.messages[: roles.index("user") + 1] if "user" in roles else source.messages[:1]
    return json.dumps([[one["role"], one["content"]] for one in first]).encode()[:BYTES]
