"""Files of a data set or a run that are damaged on disk: the job names the file, and goes on once it is mended."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from histobench.core import prepared, source_files
from histobench.core.errors import HistobenchError, for_user
from histobench.core.job import Task
from histobench.core.prepared import shard_names
from histobench.train import predict
from histobench.tuning import search_files
from support import fault_study, jobs
from support.processes import assert_equal_features, assert_equal_runs
from support.small import features_specification, search_specification, specification

ARGUMENTS = {
    "train": {"spec": specification("tiny", "full", epochs=2)},
    "extract": {"spec": features_specification("tiny")},
    "tune": {"spec": search_specification("tiny", "full", max_epochs=2, factor=2)},
}


@pytest.fixture
def data(prepared_folder, tmp_path) -> Path:
    """A copy of a prepared data set."""
    return Path(shutil.copytree(prepared_folder, tmp_path / "data"))


def damage(path: Path) -> bytes:
    """Invert a byte in the middle of a file and return what it held; its size stays."""
    content = path.read_bytes()
    middle = len(content) // 2 + 20  # not in the frame of a record
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    return content


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_damaged_shard_ends_the_job_and_a_mended_one_lets_it_go_on(data, tmp_path, name):
    folder, shard = tmp_path / "job", data / shard_names("valid")[2]
    whole = damage(shard)
    with pytest.raises((HistobenchError, tf.errors.OpError)) as caught:
        jobs.run(name, data, folder, **ARGUMENTS[name])
    assert str(for_user(caught.value)).startswith(f"{shard}, record ")
    # In one line, as `make status` shows it, and without what TensorFlow adds.
    state = folder / (search_files.worker_folder("worker-1") if name == "tune" else ".state")
    last = (state / "events").read_text().splitlines()[-1]
    assert last.partition("failed: ")[2].startswith(f"{shard}, record ")
    assert not [path for path in folder.iterdir() if not path.name.startswith(".")]

    if name == "tune":
        return  # no trial has ended, so there is nothing to go on from
    shard.write_bytes(whole)
    for place in (folder, tmp_path / "undisturbed"):
        jobs.run(name, data, place, **ARGUMENTS[name])
    {"train": assert_equal_runs, "extract": assert_equal_features}[name](folder, tmp_path / "undisturbed")


def test_weights_that_were_damaged_after_training_give_no_scores(data, tmp_path):
    spec = ARGUMENTS["train"]["spec"]
    jobs.train(data, tmp_path / "run", spec)
    weights = tmp_path / "run/best.weights.h5"
    damage(weights)
    output = tmp_path / "predictions.csv"
    with pytest.raises(HistobenchError, match=rf"{weights}: expected the sha256 that run\.json tells"):
        predict.predict(Task(spec, data, weights=weights), output)
    assert not output.exists()


def test_a_folder_that_changed_after_the_plan_is_not_prepared(tmp_path, monkeypatch):
    """Snakemake would record what it had seen; the folder as it was would then count as prepared."""
    monkeypatch.chdir(tmp_path)
    fault_study.write()
    study = fault_study.jobs()
    seen = source_files.read(Path("own")).sha256
    image = next(Path("own/test/1").iterdir())
    whole = image.read_bytes()
    image.write_bytes(next(Path("own/test/0").glob(f"*{image.suffix}")).read_bytes())
    with pytest.raises(HistobenchError, match=r"^own: has changed since Snakemake looked at it"):
        study.prepare("own", seen)
    assert not (study.data("own") / "manifest.json").exists()
    image.write_bytes(whole)
    study.prepare("own", seen)
    assert prepared.manifest(study.data("own"))["source_files"]["sha256"] == seen
