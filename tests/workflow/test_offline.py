"""Compute nodes have no internet: once the weights are there, no job opens a connection."""

import subprocess
import sys

import pytest
import yaml

from histobench.core.files import digest
from histobench.core.runs import read_json
from support.project import snakemake
from support.small import model_specification

# Found by Python at start-up, in every process that Snakemake starts.
GUARD = """
import socket

def refuse(*arguments, **options):
    raise AssertionError(f"a job opens a connection: {arguments[1:]}")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
"""
RUN = "results/tiny/runs/idc-simulated/mobilenet/tl/tiny/cpu/seed-1"


@pytest.fixture
def no_network(tmp_path):
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    return {"PYTHONPATH": str(tmp_path / "guard")}


def test_the_guard_guards(no_network):
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    done = subprocess.run([sys.executable, "-c", code], env=no_network, capture_output=True, text=True)
    assert done.returncode
    assert "a job opens a connection" in done.stderr


def test_training_from_pretrained_weights_opens_no_connection(copy, no_network, tmp_path):
    from histobench.train import models

    weights = tmp_path / "mobilenet_1_0_224_tf_no_top.weights.h5"
    models.backbone(model_specification("mobilenet"), (50, 50, 3), seed=2).save_weights(weights)
    config = yaml.safe_load((copy / "tests/configs/tiny.yaml").read_text())
    config["models"] = {"mobilenet": {"weights": {"path": str(weights), "origin": "ImageNet"}}}
    (copy / "results/data/idc-simulated/manifest.json").unlink()  # so that this data set is prepared again
    (copy / "offline.yaml").write_text(yaml.safe_dump(config))
    options = ("--profile", "profiles/local", "--cores", "1", "--configfile", "offline.yaml")
    snakemake(copy, *options, "--", f"{RUN}/metrics.json", env=no_network)
    about = read_json(copy / RUN / "run.json")
    assert about["specification"]["model"]["weights_origin"] == "ImageNet"
    assert about["random_backbone_calibrated"] is False
    # The backbone's weights file stands behind it by its features.
    assert about["features"]["inputs_sha256"]["weights"] == digest(weights)
