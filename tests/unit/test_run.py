"""What training a run does to what lies in its folder already."""

import h5py
import numpy as np
import pytest

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, read_sealed, write_sealed
from histobench.core.job import Task
from histobench.train import predict, run
from support.small import specification


def train(folder, data, **recipe):
    run.train(Task(specification("b2", epochs=1, **recipe), data), folder)


def test_predictions_of_other_weights_go_and_those_of_these_stay(prepared_folder, tmp_path):
    predictions = tmp_path / runs.PREDICTIONS
    predictions.write_text("those of other weights")
    train(tmp_path, prepared_folder)
    assert not predictions.exists()
    predictions.write_text("those of these weights")
    (tmp_path / runs.WEIGHTS).unlink()
    train(tmp_path, prepared_folder)  # from its state
    assert (tmp_path / runs.WEIGHTS).exists()
    assert predictions.exists()
    train(tmp_path, prepared_folder, batch_size=8)
    assert not predictions.exists()


def without_numbers(data, path):
    path.write_bytes(data)
    with h5py.File(path, "a") as file:
        file["layers/dense_1/vars/1"][0] = np.inf


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_numbers, r"but 1 of 1 values of .*bias are none"),
        (lambda data, path: path.write_bytes(data[: len(data) // 2]), "expected an HDF5 file or"),
        (lambda data, path: path.write_bytes(b""), "an empty one"),
    ],
)
def test_damaged_weights_of_a_run_predict_nothing(prepared_folder, tmp_path, damage, message):
    train(tmp_path, prepared_folder)
    weights, scores = tmp_path / runs.WEIGHTS, tmp_path / runs.PREDICTIONS
    data = weights.read_bytes()
    weights.unlink()  # which the state holds, too
    damage(data, weights)
    task = Task(specification("b2", epochs=1), prepared_folder, weights=weights)
    with pytest.raises(HistobenchError, match=r"best\.weights\.h5: expected the sha256 that run\.json tells"):
        predict.predict(task, scores)
    # As if training had written them so.
    about = read_sealed(tmp_path / runs.ABOUT) | {"weights_sha256": digest(weights)}
    write_sealed(tmp_path / runs.ABOUT, about)
    with pytest.raises(HistobenchError, match=rf"best\.weights\.h5: .*{message}"):
        predict.predict(task, scores)
    assert not scores.exists()
