"""A model folder as a GGUF file, for the engines that read nothing else."""

from pathlib import Path

from decant.errors import DecantError
from decant.export.gguf_file import write as write_file
from decant.models.load import stored

from .seam import CannotRun


def write(folder: Path, file: Path, kind: str) -> Path:
    """Write the model of `folder` to `file`, its matrices as `kind` (BF16, F16, Q8_0), its norms in float32.

    Raises CannotRun for a model that is not written as GGUF.
    """
    network, tokenizer = stored(str(folder))
    try:
        write_file(network, tokenizer, file, kind.lower())
    except DecantError as error:
        raise CannotRun(str(error)) from error
    return file
