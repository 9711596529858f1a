"""Images that methods made, as pictures inside the page; never as addresses of pictures elsewhere."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

PNG: Final = b"\x89PNG\r\n\x1a\n"


def pictures(images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the page shows of each method: its picture, None where the facts hold none that is a PNG file, and its
    numbers."""
    return [{**one, "drawn": _drawn(str(one.get("png_base64") or ""))} for one in images]


def nearest(images: Sequence[Mapping[str, Any]]) -> str:
    """Which method with a single forward comes nearest to real images, beside the one that needs most; a sentence."""
    measured = [one for one in images if one.get("forwards") is not None]
    single = [one for one in measured if one["forwards"] == 1]
    if not single:
        return "No method was measured that makes an image in one forward."
    best = min(single, key=lambda one: one["frechet_distance"])
    most = max(measured, key=lambda one: one["forwards"])
    return (
        f"In one forward {best['method']} comes nearest to real images: a Frechet distance of "
        f"{best['frechet_distance']:.3g}, against {most['frechet_distance']:.3g} of {most['method']} in "
        f"{most['forwards']:.3g} forwards."
    )


def _drawn(text: str) -> Markup | None:
    try:
        picture = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return Markup(base64.b64encode(picture).decode()) if picture.startswith(PNG) else None
