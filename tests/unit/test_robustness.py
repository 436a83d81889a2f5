"""Robustness: which runs score changed patches, their scores, and what the table and the figure make of these."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from sklearn.metrics import roc_auc_score

from histobench.core.changes import FLIPS_AND_TURNS, UNCHANGED
from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.core.runs import read_rows, write_rows
from histobench.results.chosen_runs import chosen
from histobench.results.columns import names
from histobench.results.figures.robustness import auc_by_change
from histobench.results.tables import robustness as table_of_changes
from histobench.results.tables.robustness import ALL_WAYS, OUTSIDE, rows_of_run, table_of_runs, tumour_outside
from histobench.train import predict, robustness
from histobench.train.changes import CHANGES
from support import jobs
from support.frames import run
from support.paper import study
from support.small import prepare, specification

RUN = "pcam/b2/full/paper/cpu/seed-1"
BLOCK = {
    "datasets": ["pcam"], "models": ["b2"], "modes": ["full"], "recipes": ["paper"], "devices": ["cpu"], "seeds": [1]
}  # fmt: skip
OTHERS = [BLOCK | {"models": ["vgg19"], "modes": ["tl"], "recipes": ["knn"]}, BLOCK | {"recipes": ["timing"]}]


def configured(*robustness, matrix=(BLOCK, *OTHERS)):
    return study(matrix=list(matrix), robustness=list(robustness))


def test_runs_are_named_by_their_paths_and_the_best_by_that_word():
    made = configured("best", RUN)
    assert made.chosen["robustness"].best
    assert [str(each) for each in made.chosen["robustness"].named] == [RUN]
    nothing = configured()
    assert (nothing.chosen["robustness"].best, nothing.chosen["robustness"].named) == (False, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bets", r"robustness: expected .*seed-1, found 'bets', or best"),
        (RUN.replace("seed-1", "seed-2"), rf"the matrix makes no such run; did you mean '{RUN}'\?"),
        ("pcam/b2/full/timing/cpu/seed-1", "it is there for its seconds; name a run with scores"),
        ("pcam/vgg19/tl/knn/cpu/seed-1", "a trained network, which averages, nearest neighbours and heads"),
        ("pcam/b2/full/paper.d4/cpu/seed-1", "a trained network, which averages"),
        ("pcam/b6/tl/paper/cpu/seed-1", "it cannot run: it has no pretrained backbone"),
    ],
)
def test_runs_that_cannot_score_changed_patches_are_refused(text, message):
    matrix = [BLOCK | {"average_scores": ["d4"]}, *OTHERS, BLOCK | {"models": ["b6"], "modes": ["tl"]}]
    with pytest.raises(HistobenchError, match=message):
        configured(text, matrix=matrix)


def shown(**aucs):
    rows = [run(model, auc=auc, valid_auc=auc) for model, auc in aucs.items()]
    return pd.DataFrame(rows).assign(label=[row["model_name"] for row in rows])


def test_the_best_is_the_first_on_validation_patches_that_has_a_network():
    runs = shown(b2=0.8, knn=0.9, b6=0.7)
    folders = dict(zip(runs["model"], runs["folder"], strict=True))
    found = chosen(runs, [], networks=[folders["b2"], folders["b6"]], best=True)
    assert found.to_dict("records") == [{"run": folders["b2"], "why": "best", "better": folders["knn"]}]
    found = chosen(runs, [folders["b2"], folders["b6"]], networks=list(folders.values())[::2], best=True)
    assert found["run"].tolist() == [folders["b2"], folders["b6"]]  # each once
    found = chosen(runs, [folders["b6"]], networks=list(folders.values()), best=False)
    assert found.to_dict("records") == [{"run": folders["b6"], "why": "named", "better": ""}]
    assert chosen(shown(b2=np.nan), [], networks=list(folders.values()), best=True).empty


N, GROUPS = 60, 12
LABELS = np.arange(N) % 2


def scores(folder="", groups=GROUPS, **changes):
    """Return scores of the same patches, in another order in each change."""
    rng = np.random.default_rng(0)
    frames = []
    for change, values in changes.items():
        frame = pd.DataFrame({"patch_id": [f"test-{number:06d}" for number in range(N)], "label": LABELS})
        frame["group"] = [f"g{number * groups // N:02d}" for number in range(N)] if groups else ""
        frames.append(frame.assign(run=folder, change=change, score=values).sample(frac=1, random_state=rng))
    return pd.concat(frames, ignore_index=True)


RNG = np.random.default_rng(5)
BEFORE = (0.3 * LABELS + RNG.random(N) * 0.7).round(2)
AFTER = (0.1 * LABELS + RNG.random(N) * 0.9).round(2)


@pytest.mark.parametrize("groups", [GROUPS, 0])
def test_numbers_of_a_change_are_those_of_all_its_patches(groups):
    made = rows_of_run(scores(groups=groups, **{UNCHANGED: BEFORE, "blur of 1 px": AFTER}), 0.4, frozenset())
    first, row = made
    assert [each["change"] for each in made] == [UNCHANGED, "blur of 1 px"]
    assert (row["n"], row["positives"], row["unit"]) == (N, N // 2, "group" if groups else "patch")
    pairs = [(a > b) + (a == b) / 2 for a in AFTER[LABELS == 1] for b in AFTER[LABELS == 0]]
    assert row["auc"] == pytest.approx(np.mean(pairs))
    assert first["auc"] == pytest.approx(roc_auc_score(LABELS, BEFORE))
    assert row["difference"] == pytest.approx(row["auc"] - first["auc"])
    assert row["score_change"] == pytest.approx((AFTER - BEFORE).mean())
    assert row["absolute_change"] == pytest.approx(np.abs(AFTER - BEFORE).mean())
    assert row["flipped"] == pytest.approx(100 * ((AFTER > 0.4) != (BEFORE > 0.4)).mean())

    # The interval is that of paired resamples of whole groups, or of patches.
    units = np.arange(N) * groups // N if groups else np.arange(N)
    rng, differences, aucs = np.random.default_rng(0), [], []
    for _ in range(1000):
        times = np.bincount(rng.integers(0, units.max() + 1, units.max() + 1), minlength=units.max() + 1)[units]
        pair = [roc_auc_score(LABELS, values, sample_weight=times) for values in (AFTER, BEFORE)]
        aucs.append(pair[0])
        differences.append(pair[0] - pair[1])
    for name, values in (("auc", aucs), ("difference", differences)):
        expected = np.quantile(values, [0.025, 0.975])
        assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(expected.tolist())


def test_flips_and_turns_are_one_row_of_means():
    turns = {name: np.clip(BEFORE + 0.01 * number, 0, 1) for number, name in enumerate(FLIPS_AND_TURNS)}
    one, *rest = rows_of_run(scores(**{UNCHANGED: BEFORE} | turns | {"JPEG": AFTER}), 0.5, frozenset())
    assert [row["change"] for row in rest] == [ALL_WAYS, "JPEG"]
    aucs = [roc_auc_score(LABELS, values) for values in turns.values()]
    assert rest[0]["auc"] == pytest.approx(np.mean(aucs))
    changes = [(values - BEFORE).mean() for values in turns.values()]
    assert rest[0]["score_change"] == pytest.approx(np.mean(changes))
    flipped = [((values > 0.5) != (BEFORE > 0.5)).mean() for values in turns.values()]
    assert rest[0]["flipped"] == pytest.approx(100 * np.mean(flipped))
    assert "difference" not in one


def test_scores_that_stay_change_nothing_and_without_a_threshold_there_are_no_decisions():
    _, same, squared = rows_of_run(scores(**{UNCHANGED: BEFORE, "a": BEFORE, "b": BEFORE**2}), None, frozenset())
    changes = ("difference", "difference_low", "difference_high", "score_change", "absolute_change")
    assert [same[name] for name in changes] == [0] * 5
    assert [squared[name] for name in changes[:3]] == [0] * 3  # the order is the same
    assert squared["score_change"] < 0
    assert "flipped" not in same


def test_negatives_with_tumour_outside_their_centre_are_set_against_all_positives():
    outside = {f"test-{number:06d}" for number in (0, 2, 4, 6, 100)}
    *_, row = rows_of_run(scores(**{UNCHANGED: BEFORE}), 0.5, outside)
    some = np.isin(np.arange(N), (0, 2, 4, 6))
    assert (row["change"], row["n"], row["positives"]) == (OUTSIDE, N // 2 + 4, N // 2)
    kept = some | (LABELS == 1)
    assert row["auc"] == pytest.approx(roc_auc_score(LABELS[kept], BEFORE[kept]))
    assert row["difference"] == pytest.approx(row["auc"] - roc_auc_score(LABELS, BEFORE))
    assert row["score_change"] == pytest.approx(BEFORE[some].mean() - BEFORE[(LABELS == 0) & ~some].mean())
    assert not {"absolute_change", "flipped"} & row.keys()


def test_of_one_class_there_is_no_auc():
    alike = scores(**{UNCHANGED: BEFORE, "a": AFTER}).assign(label=0)
    first, row = rows_of_run(alike, 0.5, frozenset())
    assert np.isnan([first["auc"], row["auc"], row["difference"], row["auc_low"]]).all()
    assert row["score_change"] == pytest.approx((AFTER - BEFORE).mean())


@pytest.fixture
def metadata(tmp_path):
    def write(*rows, columns="tumor_patch,center_tumor_patch", label=()):
        path = tmp_path / "meta.csv"
        path.write_text("\n".join([f",{columns}", *(f"{number},{row}" for number, row in enumerate(rows))]))
        return tumour_outside(path, dict(label))

    return write


def test_pcams_table_says_which_negatives_show_tumour(metadata):
    labels = {"test-000000": 0, "test-000002": 1}
    assert metadata("True,False", "False,False", "True,True", "true,0", label=labels) == {"test-000000", "test-000003"}
    assert metadata("True,False", columns="tumour,center_tumor_patch") == set()
    with pytest.raises(HistobenchError, match=r"meta\.csv, patch 1: expected True or False in tumor_patch, found 'no'"):
        metadata("True,False", "no,False")
    for labels, found in (({"test-000000": 1}, "0"), ({"test-000009": 1}, "no such row")):
        with pytest.raises(HistobenchError, match=rf"expected 1 in center_tumor_patch of patch {min(labels)}.*{found}"):
            metadata("True,False", label=labels)


def of_two_runs():
    rows = [run("b2"), run("b6")]
    frame = pd.DataFrame(rows).assign(label=["B2, full, seed 1", "B6, full, seed 1"]).set_index("folder")
    changes = {UNCHANGED: BEFORE, "stain 5 % weaker": AFTER, "blur of 1 px": 1 - BEFORE}
    both = pd.concat([scores(folder, **changes) for folder in frame.index], ignore_index=True)
    return table_of_runs(both, frame, dict.fromkeys(frame.index, 0.5))


def test_the_table_has_a_row_for_each_run_and_change_and_the_figure_a_point():
    table = of_two_runs()
    assert list(table) == names(table_of_changes.COLUMNS)
    assert table["model"].tolist() == 3 * ["b2"] + 3 * ["b6"]
    assert table["runs"].nunique() == 2
    figure = auc_by_change(table)
    points = [each.get_offsets() for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    assert np.concatenate(points)[:, 0].tolist() == pytest.approx(table["auc"].tolist())
    heights = np.concatenate(points)[:, 1].round().reshape(2, 3)
    assert heights.tolist() == [[2, 1, 0], [2, 1, 0]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["B2, full, seed 1", "B6, full, seed 1"]
    nothing = auc_by_change(table.head(0))
    assert "collapsed" in nothing.axes[0].texts[0].get_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    data = prepare(folder / "small", {"train": 16, "valid": 6, "test": 11})
    spec = specification("b2", "full", epochs=1, batch_size=8)
    jobs.train(data, folder / "run", spec)
    predict.predict(Task(spec, data, weights=folder / "run/best.weights.h5"), folder / "run/predictions.csv")
    return data, folder / "run"


def score(data, folder, output, **options):
    write_rows(output.with_name("chosen.csv"), [{"run": str(folder), "why": "best", "better": ""}])
    options = {"abouts": [folder / "run.json"], "data": {"small": data}, "weights": {"b2": None}} | options
    robustness.score(chosen=output.with_name("chosen.csv"), output=output, **options)
    return pd.read_csv(output)


def test_scores_are_those_of_the_network_on_changed_patches(trained, tmp_path):
    data, folder = trained
    found = score(data, folder, tmp_path / "scores.csv")
    assert tuple(found) == robustness.COLUMNS
    assert found["change"].unique().tolist() == list(CHANGES)
    part = Records(data, "test")
    places = np.argsort(part.ids)
    images, ids = part.take(places), np.array(part.ids)[places]
    model = predict.network(specification("b2", "full"), specification("b2", "full")["recipe"], part)
    model.load_weights(folder / "best.weights.h5")
    for change, some in found.groupby("change"):
        assert some["patch_id"].tolist() == ids.tolist()
        assert some["label"].tolist() == part.labels[places].tolist()
        expected = model.predict_on_batch(CHANGES[change](images) / np.float32(255))[:, 0]
        np.testing.assert_allclose(some["score"], expected, atol=1e-5)
    before = digest(tmp_path / "scores.csv")
    score(data, folder, tmp_path / "scores.csv")
    assert digest(tmp_path / "scores.csv") == before


def test_of_many_patches_some_are_scored_evenly_spaced_in_the_order_of_their_names(trained, tmp_path):
    found = score(*trained, tmp_path / "scores.csv", most=4)
    ids = sorted(Records(trained[0], "test").ids)
    assert sorted(set(found["patch_id"])) == [ids[place] for place in (0, 3, 7, 10)]
    assert robustness.evenly(ids, 100) == ids


def test_a_run_whose_network_is_another_one_and_a_run_of_another_study_are_refused(trained, tmp_path):
    data, folder = trained
    with pytest.raises(HistobenchError, match=r"chosen\.csv: expected runs of the study, found .*run; delete it"):
        score(data, folder, tmp_path / "scores.csv", abouts=[])
    rows = read_rows(folder / "predictions.csv")
    changed = [row | {"score": "0.99"} if row["patch_id"] == "test-3" else row for row in rows]
    write_rows(folder / "predictions.csv", changed)
    with pytest.raises(HistobenchError, match=r"predictions\.csv: expected the scores .* 1 of 11 differ .*test-3"):
        score(data, folder, tmp_path / "scores.csv")
    write_rows(folder / "predictions.csv", rows)
    assert not (tmp_path / "scores.csv").exists()
