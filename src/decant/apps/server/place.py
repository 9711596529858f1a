"""Where a server is reached, and by whom."""

import socket
from dataclasses import dataclass, field
from typing import Final, final

from decant.apps.server.keys import Keys, refuse_open
from decant.errors import BadInput

BACKLOG: Final = 2048  # connections that nobody has taken yet


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Raises BadInput where everybody could ask.

    port: 0 is any that is free. most: bytes of a body. grace: seconds for those that run when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Keys = field(default_factory=Keys)
    most: int = 2 * 2**20
    grace: float = 30.0

    def __post_init__(self) -> None:
        refuse_open(self.host, self.keys)

    def bound(self) -> socket.socket:
        """A socket that listens. Raises BadInput where that cannot be."""
        try:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            return socket.create_server((self.host.strip("[]"), self.port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise BadInput(
                f"--host {self.host} --port {self.port} cannot be listened at: {error.strerror or error}; take another "
                f"port, or 0 for any that is free"
            ) from None
