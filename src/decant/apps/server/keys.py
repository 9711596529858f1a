"""Who may ask: API keys, and addresses from which anybody may."""

import hashlib
import hmac
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from decant.errors import BadInput

VARIABLE: Final = "DECANT_API_KEYS"
LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """digests: of the keys; none: any key will do."""

    digests: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Keys({len(self.digests)})"

    @classmethod
    def read(cls, file: Path | None) -> "Keys":
        """Of a file, a key a line (# begins a comment), else of the environment, commas between.

        Raises BadInput for a file that cannot be read or holds none, and for a variable that is there and holds none.
        """
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                raise BadInput(f"--api-keys {file} cannot be read: {reason}; give a text file, a key a line") from None
            keys, where = [line.strip() for line in lines if not line.lstrip().startswith("#")], f"--api-keys {file}"
        elif VARIABLE in os.environ:
            keys, where = [one.strip() for one in os.environ[VARIABLE].split(",")], VARIABLE
        else:
            return cls()
        found = tuple(_digest(key) for key in keys if key)
        if not found:
            raise BadInput(f"{where} holds no key; write one a line in a file, or commas between in the environment")
        return cls(found)

    def pass_(self, authorization: str | None) -> bool:
        """Whether the header names a key. Every key is looked at, whichever fits: time tells nothing."""
        if not self.digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        asked = _digest(key.strip())
        fits = [hmac.compare_digest(asked, digest) for digest in self.digests]
        return any(fits) and scheme.lower() == "bearer"


def loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open(host: str, keys: Keys) -> None:
    """Raises BadInput where everybody could ask."""
    if not keys.digests and not loopback(host):
        raise BadInput(
            f"--host {host} is reached from other machines, and without keys anybody could ask; give --api-keys FILE "
            f"or {VARIABLE}, or stay on 127.0.0.1"
        )


def _digest(key: str) -> bytes:
    """Of one length, whatever the key's."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
