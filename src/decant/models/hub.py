"""One small file of a model on the Hub, without its weights."""

from pathlib import Path

from transformers.utils.hub import cached_file

from decant.errors import BadInput


def config_file(name: str, revision: str | None = None) -> Path:
    """The config.json of a Hub id, downloaded once. Raises BadInput where it cannot be had."""
    try:
        found = cached_file(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"the config.json of {name} cannot be had: {reason}") from error
    assert found is not None, "cached_file raises for what is missing"
    return Path(found)
