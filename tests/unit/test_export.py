"""An exported model: files that stock Keras and ONNX open, what is told of them, and the card."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core.errors import HistobenchError
from histobench.core.files import digest, read_sealed, write_sealed
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.core.runs import read_rows, write_rows
from histobench.results import exported_model, model_card
from histobench.train import export, predict
from support import jobs
from support.paper import study
from support.small import prepare, specification

RUN = "pcam/b2/full/paper/cpu/seed-1"
OTHER = RUN.replace("b2", "b6")
BLOCK = {
    "datasets": ["pcam"], "models": ["b2", "b6"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"],
    "seeds": [1],
}  # fmt: skip


def test_a_data_set_has_one_exported_model():
    assert study(matrix=[BLOCK], export=["best", RUN]).chosen["models"].best
    with pytest.raises(HistobenchError, match="export: a data set has one exported model, and pcam stands there twice"):
        study(matrix=[BLOCK], export=[RUN, OTHER])
    with pytest.raises(HistobenchError, match=r"export: .*seed-2: the matrix makes no such run"):
        study(matrix=[BLOCK], export=[RUN.replace("seed-1", "seed-2")])


def test_micrometres_are_those_of_the_published_patches_or_what_the_user_says_of_his_own():
    assert study(matrix=[BLOCK]).microns_per_pixel("pcam") == 0.972
    own = {"format": "folder", "path": "mine", "patch_size": 64}
    for said, expected in (({}, None), ({"microns_per_pixel": 0.5}, 0.5)):
        sources, datasets = {"own": own | said}, {"own": {"source": "own"}}
        made = study(matrix=[BLOCK | {"datasets": ["own"]}], sources=sources, datasets=datasets)
        assert made.microns_per_pixel("own") == expected
    with pytest.raises(HistobenchError, match=r"sources\.pcam: microns_per_pixel is for `format: folder`"):
        study(matrix=[BLOCK], sources={"pcam": {"format": "pcam", "microns_per_pixel": 1}}, datasets={})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs on the same patches, by another seed each."""
    folder = tmp_path_factory.mktemp("export")
    data = prepare(folder / "small", {"train": 16, "valid": 24, "test": 11})
    for seed in (1, 2):
        spec = specification("b2", "full", epochs=1, batch_size=8, seed=seed)
        jobs.train(data, folder / f"run-{seed}", spec)
        predict.predict(
            Task(spec, data, weights=folder / f"run-{seed}/best.weights.h5"), folder / f"run-{seed}/predictions.csv"
        )
    return data, folder / "run-1", folder / "run-2"


def exported(data, run, target, **options):
    target.mkdir()
    write_rows(target / "chosen.csv", [{"run": str(run), "why": "best", "better": ""}])
    export.export(
        chosen=target / "chosen.csv",
        folder=target,
        about=target / "exported.json",
        **({"abouts": [run / "run.json"], "data": {"small": data}, "weights": {"b2": None}} | options),
    )
    return read_sealed(target / "exported.json")


def valid(data, run):
    part = Records(data, "valid")
    rows = {row["patch_id"]: float(row["score"]) for row in read_rows(run / "predictions.csv")}
    return part.take(np.arange(len(part))), np.array([rows[name] for name in part.ids])


# As a colleague would: Keras and another backend, neither TensorFlow nor this library.
OPEN = """
import sys
import numpy as np
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "histobench"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import keras
assert keras.backend.backend() == "jax"
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
patches = np.load(sys.argv[2])
scores = [model.predict(some, verbose=0) for some in (patches, patches[:1], patches.astype("float32"))]
assert [each.shape for each in scores] == [(len(patches), 1), (1, 1), (len(patches), 1)]
np.save(sys.argv[3], np.concatenate(scores))
"""


def test_the_files_give_the_scores_of_the_run_also_to_who_has_keras_alone(trained, tmp_path, monkeypatch):
    data, run, _ = trained
    about = exported(data, run, tmp_path / "model")
    patches, expected = valid(data, run)
    assert np.ptp(expected) > 1e-3
    np.save(tmp_path / "patches.npy", patches)
    files = [str(tmp_path / name) for name in ("model/model.keras", "patches.npy", "scores.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", OPEN, *files], check=True, cwd=tmp_path, env=environment | {"KERAS_BACKEND": "jax"}
    )
    found = np.load(tmp_path / "scores.npy")[:, 0]
    np.testing.assert_allclose(found, np.concatenate([expected, expected[:1], expected]), atol=1e-5)
    session = onnxruntime.InferenceSession(tmp_path / "model/model.onnx")
    for some in (slice(None), slice(1)):
        (scores,) = session.run(None, {"patches": patches[some].astype(np.float32)})
        np.testing.assert_allclose(scores[:, 0], expected[some], atol=1e-5)
    assert (about["compared"], about["patch_size"]) == (24, 40)
    # Also by the lines of the card.
    (lines,) = re.findall(r"```python\n(.*?)```", model_card.markdown(described(patch_size=40), [], []), re.DOTALL)
    assert "(n, 40, 40, 3)" in lines
    monkeypatch.chdir(tmp_path / "model")
    exec(lines, names := {"patches": patches})
    np.testing.assert_allclose(names["scores"], expected, atol=1e-5)
    for name, file in about["files"].items():
        assert file["sha256"] == digest(tmp_path / "model" / name)
        assert file["largest_difference"] < 1e-5


def test_of_several_networks_it_is_the_mean_score(trained, tmp_path):
    data, *members = trained
    whole = tmp_path / "whole"
    whole.mkdir()
    write_sealed(whole / "run.json", {"members": [str(each) for each in members]})
    exported(data, whole, tmp_path / "model")
    patches, _ = valid(data, members[0])
    session = onnxruntime.InferenceSession(tmp_path / "model/model.onnx")
    found = session.run(None, {"patches": patches.astype(np.float32)})[0][:, 0]
    scores = [valid(data, each)[1] for each in members]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    np.testing.assert_allclose(found, np.mean(scores, axis=0), atol=1e-5)


def test_what_is_not_the_chosen_run_is_not_exported(trained, tmp_path):
    data, run, other = trained
    with pytest.raises(HistobenchError, match=r"chosen\.csv: expected a run of the study, found .*run-1; delete it"):
        exported(data, run, tmp_path / "foreign", abouts=[other / "run.json"])
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (changed / path.name).write_bytes(path.read_bytes())
    rows = read_rows(run / "predictions.csv")
    write_rows(changed / "predictions.csv", [row | {"score": str(1 - float(row["score"]))} for row in rows])
    with pytest.raises(HistobenchError, match="expected the scores of the network in this folder"):
        exported(data, changed, tmp_path / "other")
    assert not (tmp_path / "other/model.keras").exists()
    write_rows(tmp_path / "none.csv", [{"run": "", "why": "", "better": ""}])
    (tmp_path / "none.csv").write_text("run,why,better\n")
    (tmp_path / ".none.csv.sha256").unlink()
    with pytest.raises(HistobenchError, match="no run with a network has learnt anything"):
        export.export(
            chosen=tmp_path / "none.csv", abouts=[], data={}, weights={}, folder=tmp_path, about=tmp_path / "a.json"
        )


SCORES = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40)


@given(SCORES)
def test_operating_points_keep_what_they_promise_and_no_other_score_does_better(pairs):
    labels = np.array([int(label) for label, _ in pairs])
    scores = np.array([score / 20 for _, score in pairs])
    points = {each["name"]: each for each in exported_model.operating_points((labels, scores), (labels, scores))}
    if len(set(labels.tolist())) < 2:
        assert not points
        return
    for name, kept, other in (
        ("sensitivity 0.95", "sensitivity", "specificity"),
        ("specificity 0.95", "specificity", "sensitivity"),
    ):
        if name not in points:
            assert kept == "sensitivity"
            assert (scores[labels == 1] > 0).mean() < 0.95
            continue
        point = points[name]["valid"]
        assert point[kept] >= 0.95 - 1e-9
        for threshold in np.linspace(0, 1, 41):
            decided = scores > threshold
            rates = {"sensitivity": decided[labels == 1].mean(), "specificity": 1 - decided[labels == 0].mean()}
            assert rates[kept] < 0.95 - 1e-9 or rates[other] <= point[other] + 1e-9
    assert all(0 <= each["threshold"] <= 1 for each in points.values())
    assert points["Youden's J"]["valid"] == points["Youden's J"]["test"]
    both = any(
        (scores[labels == 1] > threshold).mean() >= 0.95 and (scores[labels == 0] <= threshold).mean() >= 0.95
        for threshold in np.linspace(0, 1, 41)
    )
    if both:  # what the card says of the two
        assert points["sensitivity 0.95"]["threshold"] >= points["specificity 0.95"]["threshold"]


def described(**changes):
    model = {
        "study": "tiny", "dataset": "pcam", "model": "b2", "model_name": "B2", "mode": "full", "recipe": "paper",
        "device": "cpu", "seed": 1, "run": "results/tiny/runs/x", "networks": 1, "chosen": "best", "better": "",
        "patch_size": 96, "microns_per_pixel": 0.972, "parameters": 9494561.0,
        "operating_points": [
            {
                "name": "Youden's J", "threshold": 0.4321, "valid": {"sensitivity": 0.91, "specificity": 0.82},
                "test": {"sensitivity": 0.93, "specificity": None},
            }
        ],
        "metrics": {
            "test": {
                "n": 1234, "positives": 617, "auc": 0.9121, "accuracy": 0.8232, "balanced_accuracy": 0.8343,
                "f1": 0.8454, "loss": 0.3565, "average_precision": 0.8676, "brier": 0.1787,
                "sensitivity": 0.7717, "specificity": 0.8818,
            },
            "intervals": {"unit": "patch", "ignores_clustering": True, "auc": [0.8898, 0.9292]},
            "colour_floor_auc": 0.7911, "calibration_slope": 0.6622, "calibration_intercept": -0.1533,
        },
        "per_group": [{"accuracy": 0.5144, "auc": None}, {"accuracy": 0.9255, "auc": 0.9366}],
        "robustness": [{"change": "blur of 2 px", "auc": 0.5877}],
        "external": [{"tested_on": "idc", "auc": 0.6488, "auc_low": 0.5911, "auc_high": 0.7022, "n": 4321}],
        "data": {
            "format": "pcam", "patches_are": "subset", "split": "published, by slide", "leaky": False,
            "patches": {"train": {"n": 1314, "groups": 216, "tumour_fraction": 0.32}}, "excluded": {"no tissue": 7},
        },
        "training": {
            "recipe": {
                "epochs": 17, "batch_size": 48, "optimizer": {"name": "adamw", "learning_rate": 0.00035},
                "best_epoch": "val_loss", "augmentation": ["d4", "stain"], "finetune": {"head_epochs": 4},
            },
            "best_epoch": 13, "code": "0123456789abcdef", "ended": "2026-11-27T12:40:35+00:00",
        },
        "exported": "2026-11-28T09:10:11+00:00",
        "weights_started_from": "random", "compared_patches": 300,
        "largest_difference": {"model.keras": 2.5e-7}, "versions": {"keras": "3.15.1"},
    }  # fmt: skip
    return json.loads(json.dumps(model | changes))


def test_the_card_tells_every_number_and_what_the_model_is_not_for():
    card = model_card.markdown(described(), ["Subset: pcam."], ["failures.png"])
    for text in (
        *("0.912 (0.890 to 0.929)", "0.823", "0.834", "0.845", "0.356", "0.868", "0.179", "0.791", "0.662", "-0.153"),
        *("1,234", "617", "0.4321", "0.930", "0.910", "0.820", "0.514", "0.925", "0.937", "0.588", "blur of 2 px"),
        *("0.649 (0.591 to 0.702)", "4,321", "1,314", "216", "32%", "7 no tissue", "9,494,561", "2e-07", "3.15.1"),
        *("Not for diagnosis", "CC0", "random weights", "0.972 µm", "results/tiny/runs/x", "> **Subset: pcam.**"),
        *("0.772", "0.882", "17 epochs, batches of 48, optimizer adamw (learning_rate 0.00035), seed 1"),
        *("epoch 13 (best_epoch val_loss)", "augmentation d4 and stain, finetune (head_epochs 4)", "0123456789abcdef"),
        *("Exported on 2026-11-28", "until 2026-11-27", "above 1 too near to one half"),
        *("ignores that patches of one slide are alike", "![", "(failures.png)", "central 32 px"),
    ):
        assert text in card, text


def test_the_card_says_what_is_missing_instead_of_leaving_it_out():
    card = model_card.markdown(
        described(networks=5, robustness=[], external=[], per_group=[], better="results/knn", microns_per_pixel=None),
        [],
        [],
    )
    assert "The mean score of 5 networks" in card
    assert "does not score changed patches" in card
    assert "They are not known" in card
    assert "better is results/knn" in card
    assert "epoch 13, in the median of the folds (best_epoch val_loss)" in card
    assert "µm" not in card
    assert "Other data sets" not in card


def test_the_card_shows_no_picture_of_another_run_and_none_that_is_empty(tmp_path):
    (tmp_path / "mine.csv").write_text("patch_id,run\n1,results/tiny/runs/x\n")
    (tmp_path / "other.csv").write_text("patch_id,run\n1,results/tiny/runs/y\n")
    model = described()
    assert model_card.pictures(model, tmp_path / "mine.csv") == ["failures.png", "calibration.png", "changes.png"]
    assert model_card.pictures(model, tmp_path / "other.csv") == ["calibration.png", "changes.png"]
    assert model_card.pictures(model, None) == ["calibration.png", "changes.png"]
    model["metrics"]["test"]["n"] = 600
    assert model_card.pictures(model | {"robustness": []}, tmp_path / "other.csv") == []


def test_the_card_is_a_table_of_the_report(tmp_path):
    from histobench.results.inputs import Inputs
    from histobench.results.tables.model_card import COLUMNS, model_card_table

    (tmp_path / "model.json").write_text(json.dumps(described()))
    inputs = Inputs({"model": str(tmp_path / "model.json")}, "pcam", {"name": "tiny"})
    inputs.runs = inputs.cells = pd.DataFrame(
        columns=["dataset", "patches", "weights", "model_name", "leaky", "collapsed"]
    )
    inputs.announcements = lambda: ["Subset: pcam."]
    table = model_card_table(inputs)
    assert table.frame["about"].tolist() == [part.heading for part in model_card.parts(described())]
    assert [column.name for column in COLUMNS] == list(table.frame)
    assert "Not for diagnosis" in table.frame.set_index("about")["in_words"]["Intended use"]
