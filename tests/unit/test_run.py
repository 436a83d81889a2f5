"""What training a run does to what lies in its folder already."""

from histobench.core import runs
from histobench.core.job import Task
from histobench.train import run
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
