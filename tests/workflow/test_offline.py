"""Compute nodes have no internet: once the weights are there, no job opens a connection."""

import subprocess
import sys

import pytest
import yaml

from histobench.core.files import digest
from histobench.core.runs import read_json
from support.project import NO_CONNECTION, TINY, TINY_CONFIG, at_startup, plan, snakemake
from support.small import model_specification

pytestmark = pytest.mark.slow

RUN = "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-1"
RUN_FILE = f"{RUN}/metrics.json"


def test_training_from_pretrained_weights_opens_no_connection(copy, tmp_path):
    from histobench.train import models

    weights = tmp_path / "mobilenet_1_0_224_tf_no_top.weights.h5"
    models.backbone(model_specification("mobilenet"), (50, 50, 3), seed=2).save_weights(weights)
    words = {"models": {"mobilenet": {"weights": {"path": str(weights), "origin": "ImageNet"}}}}
    (copy / "offline.yaml").write_text(yaml.safe_dump(words))
    (copy / "results/data/idc-simulated/manifest.json").unlink()  # so that this data set is prepared again
    no_network = at_startup(tmp_path / "guard", NO_CONNECTION)
    snakemake(copy, *TINY, "offline.yaml", "--", RUN_FILE, env=no_network)
    about = read_json(copy / RUN / "run.json")
    assert about["specification"]["model"]["weights_origin"] == "ImageNet"
    assert about["random_backbone_calibrated"] is False
    # The backbone's weights file stands behind it by its features.
    assert about["features"]["inputs_sha256"]["weights"] == digest(weights)

    models.backbone(model_specification("mobilenet"), (50, 50, 3), seed=3).save_weights(weights)
    assert {"fetch_weights", "extract_features", "train"} <= set(
        plan(copy, *TINY_CONFIG, "offline.yaml", "--", RUN_FILE)
    )


def test_the_guard_guards(tmp_path):
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    env = at_startup(tmp_path / "guard", NO_CONNECTION)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode
    assert "a connection is opened" in done.stderr
