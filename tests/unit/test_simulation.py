"""Simulated patches: read as the upstream files are, the rule of the label, and how much colour alone gives away."""

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histobench.core import simulation
from histobench.core.datasets import Patches, Tally, read
from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.core.formats import FORMATS, IDC_ARCHIVE, Dataset, Source, pcam_file

PATCHES = {"train": 600, "valid": 20, "test": 600}
SLIDES = {"train": 12, "valid": 2, "test": 12}
PATIENTS = {"train": 24, "valid": 2, "test": 16}
PER_PATIENT = 40
CENTRE = np.zeros((96, 96), bool)
CENTRE[32:64, 32:64] = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulation.write_pcam(folder, PATCHES, SLIDES, seed=1)
    simulation.write_idc(folder, PATIENTS, PER_PATIENT, seed=1)
    return folder


def patches(folder: Path, name: str, simulate: dict) -> tuple[dict[str, Patches], Tally]:
    """The patches of each split, as `prepare` reads them."""
    expected, shares = FORMATS[name].simulated(simulate)
    files, size = FORMATS[name].files, FORMATS[name].patch_size
    source = Source(name, name, str(folder), files, expected, shares, size, "simulated", simulate)
    tally, found = Tally(), {split: [] for split in PATCHES}
    for some in read(Dataset(name, source, "published"), tally):
        found[some.split].append(some)
    arrays = ("images", "labels", "ids", "groups", "places")
    whole = {
        split: Patches(split, *(np.concatenate([getattr(some, array) for some in parts]) for array in arrays))
        for split, parts in found.items()
    }
    return whole, tally


@pytest.fixture(scope="module")
def pcam(folder) -> dict[str, Patches]:
    return patches(folder, "pcam", {"patches": PATCHES})[0]


@pytest.fixture(scope="module")
def idc(folder) -> tuple[dict[str, Patches], Tally]:
    return patches(folder, "idc", {"patients": PATIENTS, "patches_per_patient": PER_PATIENT})


def colour(x):
    """Return mean and standard deviation of every channel of patches, or of some of their pixels."""
    pixels = x.reshape(len(x), -1, 3)
    return np.concatenate([pixels.mean(1), pixels.std(1)], axis=1)


def auc(features, train: Patches, test: Patches) -> float:
    """The AUC of a logistic regression on what `features` makes of the images."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features(train.images), train.labels)
    return roc_auc_score(test.labels, model.predict_proba(features(test.images))[:, 1])


# Files


def write_small(folder: Path, seed: int) -> dict[str, str]:
    simulation.write_pcam(folder, dict.fromkeys(PATCHES, 6), dict.fromkeys(PATCHES, 2), seed)
    simulation.write_idc(folder, dict.fromkeys(PATIENTS, 1), 20, seed)
    return {path.name: digest(path) for path in folder.iterdir()}


def test_the_seed_decides_every_byte(tmp_path, monkeypatch):
    first = write_small(tmp_path / "a", 7)
    monkeypatch.setattr("time.time", lambda: 2e9)  # which may not show
    assert write_small(tmp_path / "b", 7) == first
    assert set(first) == {*FORMATS["pcam"].files, *FORMATS["idc"].files}
    other = write_small(tmp_path / "c", 8)
    same = {name for name in first if first[name] == other[name]}
    assert same <= {path for path in first if path.startswith("cases_") or path.endswith("_y.h5.gz")}


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    draw, done = simulation.pcam_patch, []

    def fail(*arguments):
        done.append(1)
        if len(done) > 5:
            raise OSError("disk full")
        return draw(*arguments)

    monkeypatch.setattr(simulation, "pcam_patch", fail)
    monkeypatch.setattr(simulation, "idc_patch", fail)
    with pytest.raises(OSError, match="disk full"):
        simulation.write_pcam(tmp_path, dict.fromkeys(PATCHES, 8), dict.fromkeys(PATCHES, 2), 1)
    with pytest.raises(OSError, match="disk full"):
        simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 20, 1)
    assert len(done) > 6
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_cannot_be_written(tmp_path):
    with pytest.raises(HistobenchError, match="split valid: 6 slides for 10 patches"):
        simulation.write_pcam(tmp_path, dict.fromkeys(PATCHES, 10), {"train": 1, "valid": 6, "test": 1}, 1)
    with pytest.raises(HistobenchError, match="1 patches per patient, expected 2 or more"):
        simulation.write_idc(tmp_path, PATIENTS, 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_pcam_is_read(pcam):
    groups = {split: set(part.groups) for split, part in pcam.items()}
    assert {split: len(found) for split, found in groups.items()} == SLIDES
    assert len(set.union(*groups.values())) == sum(SLIDES.values())  # none in two splits
    for split, part in pcam.items():
        assert (len(part.labels), part.labels.sum()) == (PATCHES[split], PATCHES[split] // 2)
        assert len(set(zip(part.groups, part.labels.tolist(), strict=True))) == 2 * SLIDES[split]  # both on each
        assert len({(group, *place) for group, place in zip(part.groups, part.places.tolist(), strict=True)}) == len(
            part.ids
        )
    assert len({image.tobytes() for part in pcam.values() for image in part.images}) == sum(PATCHES.values())
    labels = pcam["train"].labels
    assert 0.4 < np.mean(labels[1:] != labels[:-1]) < 0.6  # in no order


def test_pcam_meta_tells_tumour_outside_the_centre(folder, pcam):
    with (folder / pcam_file("train", "meta")).open(newline="") as file:
        anywhere = np.array([row["tumor_patch"] == "True" for row in csv.DictReader(file)])
    positive = pcam["train"].labels == 1
    assert anywhere[positive].all()
    # About half of the negative patches have tumour in the outer ring.
    assert 0.3 < anywhere[~positive].mean() < 0.6


def test_idc_is_read(idc):
    parts, tally = idc
    assert tally.total == PER_PATIENT * sum(PATIENTS.values())
    assert {split: len(set(part.groups)) for split, part in parts.items()} == PATIENTS
    assert 0.01 < tally.excluded["not 50x50 px, at the edge of the tissue"] / tally.total < 0.06
    shares = [part.labels[part.groups == name].mean() for part in parts.values() for name in set(part.groups)]
    assert min(shares) > 0.1 and max(shares) < 0.5
    assert 0.25 < np.mean(shares) < 0.35
    images = [image.tobytes() for part in parts.values() for image in part.images]
    assert len(set(images)) == len(images)


def test_two_patches_per_patient_are_one_of_each_class(tmp_path):
    simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 2, 3)
    with zipfile.ZipFile(tmp_path / IDC_ARCHIVE) as archive:
        classes = sorted(name.split("/")[:2] for name in archive.namelist())
    assert classes == [[str(patient), label] for patient in (90001, 90002, 90003) for label in "01"]


def test_many_patches_of_one_patient_have_places_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "idc_patch", lambda rng, style, label, height, width: np.zeros((1, 1, 3), np.uint8))
    simulation.write_idc(tmp_path, dict.fromkeys(PATIENTS, 1), 4000, 1)
    with zipfile.ZipFile(tmp_path / IDC_ARCHIVE) as archive:
        places = {name.rsplit("_", 1)[0].split("/")[-1] for name in archive.namelist()}
    assert len(places) == 3 * 4000


# The rule of the label


def both(draw, style, number: int, *size):
    """Pairs of a negative and a positive patch from the same random numbers."""
    for seed in range(number):
        yield tuple(draw(np.random.default_rng(seed), style, label, *size) for label in (0, 1))


def test_the_label_changes_the_pcam_centre_and_nothing_else():
    style = simulation.draw_style(np.random.default_rng(0), simulation.PCAM)
    for (negative, _), (positive, _) in both(simulation.pcam_patch, style, 60):
        assert negative.shape == positive.shape == (96, 96, 3) and negative.dtype == np.uint8
        np.testing.assert_array_equal(negative[~CENTRE], positive[~CENTRE])
        assert np.any(negative[CENTRE] != positive[CENTRE], axis=-1).mean() > 0.15


def test_tumour_anywhere_makes_an_idc_patch_positive_and_a_cut_one_too():
    style = simulation.draw_style(np.random.default_rng(0), simulation.IDC)
    for height in (50, 20):
        changed = np.zeros((height, 50))
        for negative, positive in both(simulation.idc_patch, style, 60, height, 50):
            differs = np.any(negative != positive, axis=-1)
            assert differs.mean() > 0.1
            changed += differs
        assert changed.min() > 0.1 * 60


def test_a_classifier_of_the_outer_ring_is_at_chance(pcam):
    def features(x):
        grey = x.mean(-1)
        steps = np.abs(np.diff(grey, axis=2))
        steps[:, 32:64, 31:64] = 0
        quantiles = np.quantile(grey[:, ~CENTRE], [0.05, 0.25, 0.75, 0.95], axis=1).T
        return np.column_stack([colour(x[:, ~CENTRE]), quantiles, steps.mean((1, 2)), steps.std((1, 2))])

    # The standard error of the AUC of 600 patches at chance is 0.024.
    assert abs(auc(features, pcam["train"], pcam["test"]) - 0.5) < 0.07


def test_colour_tells_more_than_chance_and_less_than_a_network_should(pcam, idc):
    assert 0.58 < auc(lambda x: colour(x[:, CENTRE]), pcam["train"], pcam["test"]) < 0.9
    assert auc(colour, pcam["train"], pcam["test"]) < 0.8
    assert 0.55 < auc(colour, idc[0]["train"], idc[0]["test"]) < 0.8


def test_stain_differs_more_between_slides_or_patients_than_within(pcam, idc):
    for part in (pcam["test"], idc[0]["test"]):
        # The normal of the plane in which the optical densities of each patch lie, whatever its tissue.
        density = -np.log10((part.images.reshape(len(part.images), -1, 3) + 1.0) / 256)
        density -= density.mean(1, keepdims=True)
        normals = np.linalg.eigh(density.transpose(0, 2, 1) @ density)[1][:, :, 0]
        normals *= np.sign(normals[:, [2]])
        members = [normals[part.groups == group] for group in np.unique(part.groups)]
        between = np.var([m.mean(0) for m in members], axis=0).sum()
        assert between > 1.5 * np.mean([m.var(0) for m in members], axis=0).sum()
