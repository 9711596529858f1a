"""Everything that decant raises on purpose.

* DecantError
  - ShapeError         a tensor does not have the shape that its name promises
  - IncompatibleParts  two parts cannot work together (siblings and verifier, trees and model, tokenizers)
  - UnknownMethod      a name that is in no catalogue; lists the nearest ones
  - BadInput           the user can mend it: a prompt, a file, a folder, a value out of range
  - MissingExtra       an optional dependency is absent; the message is the command that installs it
"""


class DecantError(Exception):
    """Catch this to catch every deliberate failure of the package."""


class ShapeError(DecantError, ValueError):
    """A tensor does not have the shape that its name promises."""


class IncompatibleParts(DecantError, ValueError):
    """Two parts cannot work together; the message names both."""


class UnknownMethod(DecantError, LookupError):
    """A method name that is in no catalogue."""


class BadInput(DecantError, ValueError):
    """Something that the user gave is wrong; the message says what, with its value, and the remedy."""


class MissingExtra(DecantError, ImportError):
    """An optional dependency is absent; the message holds the command that installs it."""
