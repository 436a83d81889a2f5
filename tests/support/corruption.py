"""Random damage to files, by a seeded generator, so that every case can be repeated."""

from collections.abc import Callable
from pathlib import Path
from random import Random

HTML = b"<!DOCTYPE html>\n<html><head><title>503</title></head><body>Service unavailable</body></html>\n"


def _block(data: bytes, rng: Random) -> tuple[int, int]:
    """Draw start and end of a part of a file that is not empty."""
    start = rng.randrange(len(data))
    return start, rng.randrange(start, min(len(data), start + max(1, len(data) // 4))) + 1


def _flip_a_bit(data: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _flip_bytes(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(2, 20)):
        changed[rng.randrange(len(data))] ^= rng.randint(1, 255)
    return bytes(changed)


def _zero_a_block(data: bytes, rng: Random) -> bytes:
    start, end = _block(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(1, len(data))] if len(data) > 1 else b""


def _append(data: bytes, rng: Random) -> bytes:
    return data + rng.randbytes(rng.randint(1, 500))


def _double_a_block(data: bytes, rng: Random) -> bytes:
    start, end = _block(data, rng)
    return data[:end] + data[start:]


def _swap_blocks(data: bytes, rng: Random) -> bytes:
    length = rng.randint(1, max(1, len(data) // 4))
    first = rng.randint(0, max(0, len(data) - 2 * length))
    second = rng.randint(first + length, max(first + length, len(data) - length))
    one, other = data[first : first + length], data[second : second + length]
    return data[:first] + other + data[first + length : second] + one + data[second + length :]


def _empty(data: bytes, rng: Random) -> bytes:
    return b""


def _html(data: bytes, rng: Random) -> bytes:
    return HTML


CHANGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "flip a bit": _flip_a_bit,
    "flip bytes": _flip_bytes,
    "zero a block": _zero_a_block,
    "truncate": _truncate,
    "append": _append,
    "double a block": _double_a_block,
    "swap blocks": _swap_blocks,
    "empty": _empty,
    "HTML": _html,
}
# How often each is drawn.
KINDS = dict.fromkeys(CHANGES, 2) | {"flip a bit": 5, "empty": 1, "HTML": 1, "delete": 1, "exchange": 2}


def corrupt(path: Path, others: list[Path], kind: str, rng: Random) -> list[Path]:
    """Damage a file, in place, by a kind of damage, so that links to it see it, too.

    Parameters
    ----------
    others : files of the same kind, for an exchange.

    Returns
    -------
    files that now have other bytes than before; none if the damage left them as they were.
    """
    if kind == "delete":
        path.unlink()
        return [path]
    before = path.read_bytes()
    if kind == "exchange":
        other = rng.choice(others)
        after, instead = other.read_bytes(), before
        other.write_bytes(instead)
    else:
        other, after = path, CHANGES[kind](before, rng)
    path.write_bytes(after)
    return [] if after == before else list(dict.fromkeys([path, other]))
