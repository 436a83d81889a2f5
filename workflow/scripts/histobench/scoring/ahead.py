"""Reading ahead of the network, so that neither waits for the other by turns."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
Found = TypeVar("Found")

# Batches that are read, or being read, while the network works on one, for each thread that reads.
AHEAD = 2


def read_ahead(read: Callable[[T], Found], items: Sequence[T], threads: int) -> Iterator[Found]:
    """Yield what is read of each item, in order, while the next ones are read by threads.

    Memory holds no more than `AHEAD` of them for each thread.
    """
    with ThreadPoolExecutor(threads) as pool:
        left = iter(items)
        waiting: deque[Future[Found]] = deque(pool.submit(read, item) for item in islice(left, AHEAD * threads))
        try:
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(read, item) for item in islice(left, 1))
                yield found
        finally:
            for each in waiting:
                each.cancel()
