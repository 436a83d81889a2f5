"""The tables or figures of a study, made one after another by one job: most of the time of a job of its own is imports.

Each is finished in a folder of its own, in `.state` beside the files, with a digest of what it was made of, and then
linked into place. So of a job that runs again, because one of them is to be made anew or has failed, the others are
restored at once.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError, for_user
from histobench.core.files import digest, link
from histobench.results.inputs import Inputs

log = logging.getLogger(__name__)

STATE = ".state"
# Below the folder of an item in `.state`: its files, and the digest of what they were made of.
FILES, MADE_OF = "files", "made_of"
# Bytes of an input up to which its content counts; of larger ones, the scores of runs, size and date do.
SMALL = 1 << 20


def make(
    entries: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, str | Sequence[str]],
    study: Mapping[str, Any],
    folder: Path,
    write: Callable[[Any, Inputs, Path], None],
) -> None:
    """Make the tables or the figures of a study.

    Parameters
    ----------
    entries : by the stems of their files: `module`, `function` and `caption` of the item, see
        :class:`histobench.results.registry.Item`; `dataset`; `inputs`, the names of its inputs to those in `files`;
        `tables`, the names of its inputs to the stems of tables that the same call makes, earlier; and `code`, a
        digest.
    files : paths by name.
    study : see :class:`histobench.results.inputs.Inputs`.
    folder : for the files.
    write : writes what the function returns, in one or more files; the arguments are that, its inputs, and the path of
        the files without suffix.

    Raises
    ------
    HistobenchError
        if some cannot be made. It names them; all others are finished.
    """
    failed: dict[str, str] = {}
    for stem, entry in entries.items():
        state = folder / STATE / stem
        try:
            used: dict[str, str | Sequence[str]] = {name: files[key] for name, key in entry["inputs"].items()}
            for name, stems in entry["tables"].items():
                if missing := [each for each in stems if each in failed]:
                    raise HistobenchError(f"it needs {' and '.join(missing)}")
                used[name] = [str(folder / f"{each}.csv") for each in stems]
            inputs = Inputs(used, entry["dataset"], study)
            made_of = _made_of(entry, inputs, study)
            if not _finished(state, made_of):
                shutil.rmtree(state, ignore_errors=True)
                (state / FILES / "captions").mkdir(parents=True)
                function = getattr(import_module(f"histobench.{entry['module'].replace('/', '.')}"), entry["function"])
                write(function(inputs), inputs, state / FILES / stem)
                (state / FILES / "captions" / f"{stem}.rst").write_text(f"{entry['caption']}\n", encoding="utf-8")
                (state / MADE_OF).write_text(made_of, encoding="utf-8")
                log.info("%s: made", stem)
            _publish(state / FILES, folder)
        except Exception as error:  # that of one must not keep the others from being made
            if not (known := for_user(error)):
                log.exception("%s failed", stem)
            failed[stem] = str(known or f"{type(error).__name__}: {error}")
    if failed:
        raise HistobenchError(
            f"{len(failed)} of {len(entries)} failed:\n"
            + "\n".join(f"{folder / stem}: {message}" for stem, message in failed.items())
            + f"\nThe others are finished, in {folder / STATE}, and will not be made again; Snakemake shows them when "
            "none fails"
        )


def _made_of(entry: Mapping[str, Any], inputs: Inputs, study: Mapping[str, Any]) -> str:
    """Return a digest of all that an item is made of."""
    described = {name: [_description(path) for path in paths] for name, paths in inputs.files.items()}
    return hashlib.sha256(json.dumps([entry, described, study], sort_keys=True).encode()).hexdigest()


def _description(path: Path) -> list[str | int]:
    status = path.stat()
    small = status.st_size <= SMALL
    return [str(path), status.st_size, digest(path) if small else status.st_mtime_ns]


def _finished(state: Path, made_of: str) -> bool:
    try:
        return (state / MADE_OF).read_text(encoding="utf-8") == made_of
    except OSError:
        return False


def _publish(files: Path, folder: Path) -> None:
    for path in sorted(files.rglob("*")):
        target = folder / path.relative_to(files)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.unlink(missing_ok=True)
            link(path, target)
