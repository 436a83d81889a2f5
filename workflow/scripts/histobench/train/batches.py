"""Batches of patches or features: their order in an epoch, and their way to Keras."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.features import Features
from histobench.core.prepared import Records
from histobench.train.hardware import Machine
from histobench.train.keras_backend import BACKEND, PyDataset
from histobench.train.model_size import outputs

# Batches that are read while the device works on one before, and the threads that read them.
AHEAD, READERS = 4, 2
# Patches in a batch, from which on its size changes no bit of a patch's result on a CPU: seen in TensorFlow 2.14 and
# 2.21, and in JAX 0.10.
SMALLEST = 16 if BACKEND == "jax" else 2
# Batches of extraction and prediction, which take no gradients: on a CPU, or a card of unknown memory, and the largest
# on a card, which is as many patches as keep it busy by an estimate.
CPU_BATCH, LARGEST_BATCH = 128, 1024


def order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the order of `n` training patches in an epoch: a permutation that depends on (seed, epoch) alone.

    So a run that is resumed at an epoch has the order of an uninterrupted run, and a head on cached features has the
    order of end-to-end training.
    """
    return np.random.default_rng([seed, epoch]).permutation(n)


def spans(n: int, size: int) -> list[tuple[int, int]]:
    """Return starts and ends of parts of `size` out of `n` patches, of which the last may be shorter.

    Fewer than `SMALLEST` last patches are added to the part before: batch norm has no variance over one patch, and few
    patches are computed by other kernels, with other last bits. In larger batches, the result for a patch does not
    depend on the others.
    """
    starts = list(range(0, n, size))
    if len(starts) > 1 and n - starts[-1] < min(SMALLEST, size):
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


def size_without_gradients(network: keras.Model, machine: Machine) -> int:
    """Return the batch size for extraction and prediction: on a card a power of two, as large as its memory allows.

    On a CPU no bit of the results depends on it, see :func:`spans`, on a card they do by rounding.
    """
    if machine.output_bytes is None:
        return CPU_BATCH
    fitting = machine.output_bytes // (outputs(network) * np.dtype(np.float32).itemsize)
    return min(max(1 << fitting.bit_length() - 1 if fitting else 0, SMALLEST), LARGEST_BATCH)


class Batches(PyDataset):  # type: ignore[misc]
    """Batches of patches or features, in a given order, as a model of :func:`histobench.train.inputs.join` takes them.

    A batch is a tuple: inputs by name, labels, (n, 1) float32, and, if patches weigh differently, their weights, (n,)
    float32. The inputs are either "patches", (n, *part.shape) of
    `part.dtype`, which are read ahead, or, where the patches lie on the device, their "positions", (n,) int32; and the
    random numbers of augmentation.

    Parameters
    ----------
    part : patches, or the features that a backbone made of them.
    positions : (n,) int64, in `part`.
    batch_size : of all batches but the last, see :func:`spans`.
    resident : whether the patches lie on the device.
    draws : of every kind of augmentation an array with a row for each patch of `part`, see
        :func:`histobench.train.augmentation.draw`.
    weights : (len(part),) float32, of each patch in the loss; None where all weigh the same.
    """

    def __init__(
        self,
        part: Records | Features,
        positions: npt.NDArray[np.int64],
        batch_size: int,
        *,
        resident: bool = False,
        draws: Mapping[str, npt.NDArray[Any]] | None = None,
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self._part, self._resident, self._spans = part, resident, spans(len(positions), batch_size)
        self._arrays = {"positions": positions.astype(np.int32)}
        self._arrays |= {kind: values[positions] for kind, values in (draws or {}).items()}
        # What the loss compares and weighs.
        self._targets = [part.labels[positions, None], *([] if weights is None else [weights[positions]])]
        self._reader = None if resident else ThreadPoolExecutor(READERS)
        self._being_read: dict[int, Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        """Return a batch; read the next ones in the background."""
        if self._reader is None:
            return self._batch(number)
        for ahead in range(number, min(number + AHEAD, len(self))):
            if ahead not in self._being_read:
                self._being_read[ahead] = self._reader.submit(self._batch, ahead)
        batch: tuple[Any, ...] = self._being_read.pop(number).result()
        return batch

    def _batch(self, number: int) -> tuple[Any, ...]:
        chosen = slice(*self._spans[number])
        inputs: dict[str, Any] = {name: values[chosen] for name, values in self._arrays.items()}
        if not self._resident:
            inputs["patches"] = self._part.take(inputs.pop("positions"))
        return inputs, *(values[chosen] for values in self._targets)

    def for_keras(self) -> Any:
        """Return what `fit` and `evaluate` are to be given: under TensorFlow a data set of its own, with equal batches.

        Keras would make one, too, but with TensorFlow's tuning thread, for which there is nothing to tune and which
        delays the end of an epoch up to twofold: it sleeps for 10, 20, 40 ms and so on, and an iterator ends only after
        it has woken up (seen in TensorFlow 2.21). Here nothing but the reading of patches needs Python.
        """
        if BACKEND != "tensorflow":
            return self
        import tensorflow as tf

        arrays = {name: tf.constant(values) for name, values in self._arrays.items()}
        targets, (starts, ends) = list(map(tf.constant, self._targets)), zip(*self._spans, strict=True)

        def batch(start: Any, end: Any) -> tuple[Any, ...]:
            inputs = {name: values[start:end] for name, values in arrays.items()}
            if not self._resident:
                patches = tf.numpy_function(
                    self._part.take, [inputs.pop("positions")], self._part.dtype, stateful=False
                )
                inputs["patches"] = tf.ensure_shape(patches, (None, *self._part.shape))
            return inputs, *(values[start:end] for values in targets)

        options = tf.data.Options()
        options.autotune.enabled = False
        data = tf.data.Dataset.from_tensor_slices((list(starts), list(ends)))
        return data.map(batch, num_parallel_calls=READERS, deterministic=True).prefetch(AHEAD).with_options(options)
