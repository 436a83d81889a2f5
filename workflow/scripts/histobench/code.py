"""Digests of code, by which Snakemake knows what an edit makes out of date."""

import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

from histobench.errors import HistobenchError

LIBRARY = Path(__file__).parent
SCRIPTS = LIBRARY.parent
# Retraining costs days: what cannot change a result is no change.
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}


@cache
def _digest(path: Path) -> str:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise HistobenchError(f"{path}: a rule declares this piece of code, but it does not exist") from None
    code = hashlib.sha256()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type not in IGNORED:
            code.update(f"{token.type} {token.string}\n".encode())
    return code.hexdigest()


def digest(script: str, *modules: str) -> str:
    """Return a digest of a rule's script and of the library modules that its result depends on.

    Parameters
    ----------
    script : name of a file in ``workflow/scripts``, without its suffix.
    modules : names below the library, such as "train/fit".

    Notes
    -----
    Comments and blank lines do not count, nor does where the files lie or when they were written.
    """
    paths = [SCRIPTS / f"{script}.py", *(LIBRARY / f"{module}.py" for module in modules)]
    return hashlib.sha256(" ".join(map(_digest, paths)).encode()).hexdigest()[:16]
