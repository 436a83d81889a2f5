"""Tensors in files of `torch.save`, read without torch and without executing anything.

Such a file is a zip archive: `data.pkl` is a pickle of how tensors lie in the storages `data/0`, `data/1` and so on,
which are raw numbers. A pickle is a program, so only the few instructions and names that tensors need are known here;
any other is refused.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.core.errors import HistobenchError

# Of `torch.*Storage`: the type of the numbers in the file. NumPy has no bfloat16: its 16 bits are the upper half of a
# float32.
STORAGES = {"FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "u2", "DoubleStorage": "f8"}
BFLOAT16 = "BFloat16Storage"
# Instructions that make lists, tuples, texts, numbers, calls of what `find_class` lets through, and storages. Not those
# that set an object's state or make instances.
KNOWN = {
    *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BINPERSID"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MEMOIZE"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "NEWTRUE", "NEWFALSE", "NONE"),
}
# Bytes of the longest program that is read: lists of a thousand tensors.
LONGEST = 2**20
ADVICE = "load it with torch and save the tensors alone, torch.save([tensor], path)"


def load(path: Path) -> Any:
    """Return what a file of `torch.save` holds: a tensor as an array, or a list or tuple of such.

    Arrays are float16, float32 or float64; bfloat16 comes as float32, which holds each of its values.

    Raises
    ------
    HistobenchError
        if the file is damaged, of a torch before 1.6, or holds anything but dense tensors of these types.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _load(path, archive)
    except zipfile.BadZipFile as error:
        raise HistobenchError(
            f"{path}: expected a zip archive, as torch.save has written since torch 1.6, found: {error}; copy it anew, "
            f"or, if it is of an older torch, {ADVICE}"
        ) from error
    except OSError as error:
        raise HistobenchError(f"{path}: cannot be read: {error.strerror or error}") from error


def _load(path: Path, archive: zipfile.ZipFile) -> Any:
    members = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in members or archive.getinfo(members["data.pkl"]).file_size > LONGEST:
        raise HistobenchError(f"{path}: expected data.pkl of at most {LONGEST} bytes, as torch.save writes it")
    program = archive.read(members["data.pkl"])
    order = archive.read(members["byteorder"]).decode(errors="replace") if "byteorder" in members else "little"
    try:
        for instruction, _, _ in pickletools.genops(program):
            if instruction.name not in KNOWN:
                raise _refused(path, f"the instruction {instruction.name}")
        return _Reader(program, path, lambda key: archive.read(members[f"data/{key}"]), order).load()
    except HistobenchError:
        raise
    except Exception as error:  # whatever a damaged program raises
        raise HistobenchError(
            f"{path}: expected tensors as torch.save writes them, found: {error or type(error).__name__}; write or "
            "copy it anew"
        ) from error


def _refused(path: Path, what: str) -> HistobenchError:
    return HistobenchError(
        f"{path}: expected nothing but tensors, found {what}, which is refused, since such a file is a program; "
        f"{ADVICE}"
    )


class _Reader(pickle.Unpickler):
    """A reader of the programs that :func:`load` knows.

    Parameters
    ----------
    program : the pickle.
    path : of the file, for errors.
    storage : returns the bytes of a storage by its key.
    order : "little" or "big".
    """

    def __init__(self, program: bytes, path: Path, storage: Callable[[str], bytes], order: str) -> None:
        super().__init__(io.BytesIO(program))
        self._path, self._storage = path, storage
        self._order = {"little": "<", "big": ">"}[order]

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the program stands for."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict  # the hooks of a tensor, none
        if module == "torch" and name in STORAGES:
            return name
        raise _refused(self._path, f"{module}.{name}")

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        """Return the numbers of a storage, (n,), known as ("storage", type, key, device, n)."""
        _, kind, key, _, count = pid
        values = np.frombuffer(self._storage(key), self._order + STORAGES[kind])
        if len(values) != count:
            raise ValueError(f"storage {key} of {len(values)} numbers instead of {count}")
        if kind == BFLOAT16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(values.dtype.newbyteorder("="))


def _tensor(
    storage: npt.NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> npt.NDArray[Any]:
    """Return a tensor as an array of its own: numbers of a storage from `offset` on, `stride` numbers apart."""
    if not isinstance(storage, np.ndarray) or len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
        raise ValueError(f"a tensor at {offset} of size {size} and stride {stride}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= len(storage):
        raise ValueError(f"a tensor that ends at {last} of {len(storage)} numbers")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()
