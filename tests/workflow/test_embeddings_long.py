"""Real features of MobileNetV2, written in every format and imported: the same bits, and the same scores of a head."""

import numpy as np
import pandas as pd
import pytest
import yaml

from histobench.core import prepared
from support import embeddings
from support.project import snakemake
from support.real import SHORT, short_study

pytestmark = pytest.mark.real

FEATURES, RUN = "results/real/features/idc/{}/native/cpu", "results/real/runs/idc/{}/tl/idc/cpu/seed-1"


@pytest.fixture(scope="module")
def study(real_data, tmp_path_factory):
    folder = short_study(tmp_path_factory.mktemp("real") / "clone", real_data, "idc")
    config = yaml.safe_load((folder / "short.yaml").read_text())
    config["matrix"][0] |= {"models": ["mobilenetv2"], "modes": ["tl"]}
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, *SHORT, "--", f"{FEATURES.format('mobilenetv2')}/features.json")
    index = prepared.index(folder / "results/data/idc")
    features = embeddings.cached(folder / FEATURES.format("mobilenetv2"), index)
    for kind, write in embeddings.WRITERS.items():
        path = str(write(folder / "theirs" / kind, index, features))
        block = {"format": kind, "path": path, "encoder": "MobileNetV2", "microns_per_pixel": embeddings.MICRONS}
        config["models"][kind] = {"embeddings": block}
    config["matrix"][0]["models"] = ["mobilenetv2", *embeddings.WRITERS]
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, *SHORT)
    return folder


@pytest.mark.parametrize("kind", embeddings.WRITERS)
def test_features_and_scores_are_those_of_our_own(kind, study):
    for split in prepared.SPLITS:
        ours, theirs = (np.load(study / FEATURES.format(model) / f"{split}.npy") for model in ("mobilenetv2", kind))
        expected = ours.astype(np.float16).astype(np.float32) if kind == "stamp" else ours
        np.testing.assert_array_equal(theirs.view(np.uint32), expected.view(np.uint32))
    for name in ("metrics.json", "predictions.csv"):
        ours, theirs = ((study / RUN.format(model) / name).read_bytes() for model in ("mobilenetv2", kind))
        assert (ours == theirs) == (kind != "stamp"), name


def test_they_stand_beside_ours_in_every_table(study):
    tables = study / "results/real/tables"
    performance = pd.read_csv(tables / "performance_idc.csv").set_index("model")
    assert performance.loc["stamp", "auc"] == pytest.approx(performance.loc["mobilenetv2", "auc"], abs=0.01)
    for kind in set(embeddings.WRITERS) - {"stamp"}:
        assert performance.loc[kind, "auc"] == performance.loc["mobilenetv2", "auc"]
    encoders = pd.read_csv(tables / "encoders.csv").set_index("model")
    assert sorted(encoders.index) == sorted(embeddings.WRITERS)
    assert set(encoders["features"]) == {1280}
    assert pd.read_csv(tables / "models.csv")["model"].tolist() == ["mobilenetv2"]
    assert (study / "results/real/report.html").exists()
