"""Simulated patches: the upstream formats, the rule of the label, and how much colour alone gives away."""

import csv
import gzip
import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histobench.core import simulation
from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.core.formats import FORMATS, IDC_ARCHIVE, IDC_PATIENTS, pcam_file

PATCHES = {"train": 600, "valid": 20, "test": 600}
SLIDES = {"train": 12, "valid": 2, "test": 12}
PATIENTS = {"train": 24, "valid": 2, "test": 16}
PER_PATIENT = 40
CENTRE = np.zeros((96, 96), bool)
CENTRE[32:64, 32:64] = True


@dataclass
class Idc:
    images: list[np.ndarray]
    labels: np.ndarray
    patients: np.ndarray
    names: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulation.write_pcam(folder, PATCHES, SLIDES, seed=1)
    simulation.write_idc(folder, PATIENTS, PER_PATIENT, seed=1)
    return folder


@pytest.fixture(scope="module")
def pcam(folder):
    """Per split: patches, labels, rows of the meta file."""
    found = {}
    for split in PATCHES:
        with h5py.File(io.BytesIO(gzip.decompress((folder / pcam_file(split, "x")).read_bytes()))) as file:
            assert list(file) == ["x"]
            assert file["x"].chunks is None and file["x"].dtype == np.uint8
            x = file["x"][:]
        with h5py.File(io.BytesIO(gzip.decompress((folder / pcam_file(split, "y")).read_bytes()))) as file:
            assert list(file) == ["y"]
            assert file["y"].shape == (len(x), 1, 1, 1) and file["y"].dtype == np.uint8
            y = file["y"][:].ravel()
        with (folder / pcam_file(split, "meta")).open(newline="") as file:
            found[split] = x, y, list(csv.DictReader(file))
    return found


@pytest.fixture(scope="module")
def idc(folder):
    images, labels, patients, names = [], [], [], []
    with zipfile.ZipFile(folder / IDC_ARCHIVE) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            image = Image.open(io.BytesIO(archive.read(name)))
            assert image.format == "PNG" and image.mode == "RGB"
            images.append(np.asarray(image))
            patient, label, _ = name.split("/")
            labels.append(int(label))
            patients.append(patient)
            names.append(name)
    return Idc(images, np.array(labels), np.array(patients), names)


def cases(folder, split):
    return (folder / IDC_PATIENTS[split]).read_text().split()


def colour(x):
    """Return mean and standard deviation of every channel; pixels in the second axis."""
    return np.concatenate([x.mean(1), x.std(1)], axis=1)


def auc(train, train_labels, test, test_labels):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_labels)
    return roc_auc_score(test_labels, model.predict_proba(test)[:, 1])


# Files


def digests(folder):
    return {path.name: digest(path) for path in folder.iterdir()}


def write_small(folder, seed):
    simulation.write_pcam(folder, dict.fromkeys(PATCHES, 6), dict.fromkeys(PATCHES, 2), seed)
    simulation.write_idc(folder, dict.fromkeys(PATIENTS, 1), 20, seed)
    return digests(folder)


def test_the_seed_decides_every_byte(tmp_path, monkeypatch):
    first = write_small(tmp_path / "a", 7)
    # The clock may not show.
    monkeypatch.setattr("time.time", lambda: 2e9)
    again = write_small(tmp_path / "b", 7)
    assert first == again
    assert set(first) == {*FORMATS["pcam"].files, *FORMATS["idc"].files}

    other = write_small(tmp_path / "c", 8)
    images = [name for name in first if name.endswith(("_x.h5.gz", "_meta.csv", ".zip"))]
    assert len(images) == 7
    assert all(first[name] != other[name] for name in images)


def test_no_two_patches_are_equal(pcam, idc):
    patches = [patch.tobytes() for x, _, _ in pcam.values() for patch in x]
    assert len(set(patches)) == sum(PATCHES.values())
    assert len({image.tobytes() for image in idc.images}) == len(idc.images)


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    patches, done = simulation.pcam_patch, []

    def fail(*arguments):
        done.append(1)
        if len(done) > 5:
            raise OSError("disk full")
        return patches(*arguments)

    monkeypatch.setattr(simulation, "pcam_patch", fail)
    monkeypatch.setattr(simulation, "idc_patch", fail)
    with pytest.raises(OSError, match="disk full"):
        simulation.write_pcam(tmp_path, dict.fromkeys(PATCHES, 8), dict.fromkeys(PATCHES, 2), 1)
    with pytest.raises(OSError, match="disk full"):
        simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 20, 1)
    assert len(done) > 6
    assert list(tmp_path.iterdir()) == []


def test_pcam_format(pcam):
    for split, (x, y, meta) in pcam.items():
        assert x.shape == (PATCHES[split], 96, 96, 3)
        assert y.sum() == PATCHES[split] // 2
        assert list(meta[0]) == ["", "coord_y", "coord_x", "tumor_patch", "center_tumor_patch", "wsi"]
        assert [row[""] for row in meta] == [str(i) for i in range(len(x))]
        assert [row["center_tumor_patch"] for row in meta] == [str(bool(label)) for label in y]
        places = {(row["wsi"], int(row["coord_y"]), int(row["coord_x"])) for row in meta}
        assert len(places) == len(x)


def test_pcam_labels_follow_no_pattern(pcam):
    _, y, _ = pcam["train"]
    changes = np.mean(y[1:] != y[:-1])
    assert 0.4 < changes < 0.6


def test_no_slide_is_in_two_splits_and_every_slide_has_both_labels(pcam):
    slides = {
        split: Counter((row["wsi"], row["center_tumor_patch"]) for row in rows) for split, (_, _, rows) in pcam.items()
    }
    names = {split: {slide for slide, _ in counts} for split, counts in slides.items()}
    for split, found in names.items():
        assert len(found) == SLIDES[split]
        assert len(slides[split]) == 2 * SLIDES[split]
    assert len(set.union(*names.values())) == sum(SLIDES.values())
    assert "simulated_train_003" in names["train"]


def test_pcam_meta_tells_tumour_outside_the_centre(pcam):
    _, y, meta = pcam["train"]
    anywhere = np.array([row["tumor_patch"] == "True" for row in meta])
    assert anywhere[y == 1].all()
    # About half of the negative patches have tumour in the outer ring.
    assert 0.3 < anywhere[y == 0].mean() < 0.6


def test_idc_format(folder, idc):
    pattern = re.compile(r"(9\d{4})/([01])/(\d+)_idx5_x(\d+)_y(\d+)_class([01])\.png")
    places = set()
    for name in idc.names:
        patient, label, again, x, y, suffix = pattern.fullmatch(name).groups()
        assert again == patient and suffix == label
        assert int(x) % 50 == 1 and int(y) % 50 == 1
        places.add((patient, x, y))
    assert len(places) == len(idc.names) == PER_PATIENT * sum(PATIENTS.values())

    listed = {split: cases(folder, split) for split in PATIENTS}
    assert {split: len(found) for split, found in listed.items()} == PATIENTS
    everybody = [patient for found in listed.values() for patient in found]
    assert len(set(everybody)) == len(everybody)
    assert set(everybody) == set(idc.patients)


def test_every_idc_patient_has_both_classes(idc):
    shares = [idc.labels[idc.patients == patient].mean() for patient in set(idc.patients)]
    assert min(shares) > 0.1 and max(shares) < 0.5
    assert 0.25 < np.mean(shares) < 0.35


def test_two_patches_per_patient_are_one_of_each_class(tmp_path):
    simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 2, 3)
    with zipfile.ZipFile(tmp_path / IDC_ARCHIVE) as archive:
        classes = sorted(name.split("/")[:2] for name in archive.namelist())
    assert classes == [[str(patient), label] for patient in (90001, 90002, 90003) for label in "01"]


def test_a_few_idc_patches_are_cut_by_the_edge(idc):
    shapes = Counter(image.shape for image in idc.images)
    cut = [shape for shape in shapes if shape != (50, 50, 3)]
    assert 0.01 < sum(shapes[shape] for shape in cut) / len(idc.images) < 0.06
    assert all(shape[2] == 3 and max(shape[:2]) == 50 and 20 <= min(shape[:2]) < 50 for shape in cut)
    assert any(shape[0] < 50 for shape in cut) and any(shape[1] < 50 for shape in cut)


def test_numbers_that_cannot_be_written(tmp_path):
    with pytest.raises(HistobenchError, match="split valid: 6 slides for 10 patches"):
        simulation.write_pcam(tmp_path, dict.fromkeys(PATCHES, 10), {"train": 1, "valid": 6, "test": 1}, 1)
    with pytest.raises(HistobenchError, match="1 patches per patient, expected 2 or more"):
        simulation.write_idc(tmp_path, PATIENTS, 1, 1)
    assert list(tmp_path.iterdir()) == []


# The rule of the label


def test_the_label_changes_the_pcam_centre_and_nothing_else():
    style = simulation.draw_style(np.random.default_rng(0), simulation.PCAM)
    for seed in range(60):
        negative, positive = (simulation.pcam_patch(np.random.default_rng(seed), style, label)[0] for label in (0, 1))
        assert negative.shape == positive.shape == (96, 96, 3) and negative.dtype == np.uint8
        np.testing.assert_array_equal(negative[~CENTRE], positive[~CENTRE])
        differs = np.any(negative[CENTRE] != positive[CENTRE], axis=-1)
        assert differs.mean() > 0.15


def test_a_classifier_of_the_outer_ring_is_at_chance(pcam):
    def features(x):
        grey = x.mean(-1)
        steps = np.abs(np.diff(grey, axis=2))
        steps[:, 32:64, 31:64] = 0
        quantiles = np.quantile(grey[:, ~CENTRE], [0.05, 0.25, 0.75, 0.95], axis=1).T
        return np.column_stack([colour(x[:, ~CENTRE]), quantiles, steps.mean((1, 2)), steps.std((1, 2))])

    (train, train_labels, _), (test, test_labels, _) = pcam["train"], pcam["test"]
    # The standard error of the AUC of 600 patches at chance is 0.024.
    assert abs(auc(features(train), train_labels, features(test), test_labels) - 0.5) < 0.07


def test_colour_of_the_centre_tells_more_than_chance_and_less_than_a_network_should(pcam):
    (train, train_labels, _), (test, test_labels, _) = pcam["train"], pcam["test"]
    centre = auc(colour(train[:, CENTRE]), train_labels, colour(test[:, CENTRE]), test_labels)
    assert 0.58 < centre < 0.9
    whole = (colour(x.reshape(len(x), -1, 3)) for x in (train, test))
    assert auc(next(whole), train_labels, next(whole), test_labels) < 0.8


def test_tumour_anywhere_makes_an_idc_patch_positive():
    style = simulation.draw_style(np.random.default_rng(0), simulation.IDC)
    changed = np.zeros((50, 50))
    for seed in range(60):
        negative, positive = (simulation.idc_patch(np.random.default_rng(seed), style, label) for label in (0, 1))
        differs = np.any(negative != positive, axis=-1)
        assert differs.mean() > 0.1
        changed += differs
    assert changed.min() > 0.15 * 60


def test_colour_alone_is_a_weak_classifier_of_idc(folder, idc):
    whole = np.array([image.shape == (50, 50, 3) for image in idc.images])
    features = np.stack([colour(image.reshape(1, -1, 3))[0] for image in idc.images])
    train, test = (whole & np.isin(idc.patients, cases(folder, split)) for split in ("train", "test"))
    assert 0.55 < auc(features[train], idc.labels[train], features[test], idc.labels[test]) < 0.8


def test_stain_differs_more_between_patients_than_within(pcam, idc):
    def stain_plane(images):
        """Return the normal of the plane in which the optical densities of each patch lie, whatever its tissue."""
        density = -np.log10((images.reshape(len(images), -1, 3) + 1.0) / 256)
        density -= density.mean(1, keepdims=True)
        normal = np.linalg.eigh(density.transpose(0, 2, 1) @ density)[1][:, :, 0]
        return normal * np.sign(normal[:, [2]])

    x, _, meta = pcam["test"]
    whole = [i for i, image in enumerate(idc.images) if image.shape == (50, 50, 3)]
    sets = {
        "pcam": (stain_plane(x), np.array([row["wsi"] for row in meta])),
        "idc": (stain_plane(np.stack([idc.images[i] for i in whole])), idc.patients[whole]),
    }
    for name, (normals, groups) in sets.items():
        members = [normals[groups == group] for group in np.unique(groups)]
        between = np.var([m.mean(0) for m in members], axis=0).sum()
        within = np.mean([m.var(0) for m in members], axis=0).sum()
        assert between > 1.5 * within, (name, between, within)


def test_a_cut_patch_shows_tumour_too():
    style = simulation.draw_style(np.random.default_rng(0), simulation.IDC)
    for seed in range(60):
        negative, positive = (
            simulation.idc_patch(np.random.default_rng(seed), style, label, 20, 50) for label in (0, 1)
        )
        assert negative.shape == positive.shape == (20, 50, 3)
        assert np.any(negative != positive, axis=-1).mean() > 0.1


def test_many_patches_of_one_patient_have_places_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "idc_patch", lambda rng, style, label, height, width: np.zeros((1, 1, 3), np.uint8))
    simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 4000, 1)
    with zipfile.ZipFile(tmp_path / IDC_ARCHIVE) as archive:
        places = {name.rsplit("_", 1)[0].split("/")[-1] for name in archive.namelist()}
    assert len(places) == 3 * 4000
