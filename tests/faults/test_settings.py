"""What a job computes depends on its configuration alone, whatever the settings of whoever starts it."""

import json
import os
import sys

import pytest

from histobench.core.job import AMBIENT, pin
from histobench.core.runs import read_json
from support import jobs
from support.processes import PYTHONPATH, assert_equal_runs, finish, start
from support.small import specification

# Content of ~/.keras/keras.json, and variables.
HOSTILE = {
    "floatx": ({"floatx": "float16"}, {}),
    "epsilon": ({"epsilon": 1e-3}, {}),
    "data format": ({"image_data_format": "channels_first"}, {}),
    "backend": ({"backend": "jax"}, {"KERAS_BACKEND": "torch"}),
    "limits": (
        {"max_epochs": 1, "max_steps_per_epoch": 1},
        {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"},
    ),
    "compiler": (
        {},
        {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit", "XLA_FLAGS": "--xla_cpu_enable_fast_math"},
    ),
    "kernels": ({}, {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "SSE41", "NVIDIA_TF32_OVERRIDE": "0"}),
    "determinism": ({}, {"TF_DETERMINISTIC_OPS": "1", "TF_CUDNN_DETERMINISTIC": "1", "TF_USE_LEGACY_KERAS": "1"}),
    "threads": ({}, {"OMP_NUM_THREADS": "7", "TF_NUM_INTRAOP_THREADS": "7", "MKL_NUM_THREADS": "7"}),
    "tuner": ({}, {"KERASTUNER_TUNER_ID": "chief", "KERASTUNER_ORACLE_IP": "10.0.0.1", "KERASTUNER_ORACLE_PORT": "1"}),
    "keras home": ({}, {"KERAS_HOME": "{home}/.keras"}),
}
EVERYTHING = tuple({key: value for pair in HOSTILE.values() for key, value in pair[place].items()} for place in (0, 1))


@pytest.fixture(scope="module")
def undisturbed(prepared_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings") / "undisturbed"
    jobs.run("train", prepared_folder, folder, spec=specification("tiny", epochs=2))
    return folder


@pytest.mark.parametrize(
    ("keras_json", "variables"),
    [
        pytest.param(*EVERYTHING, id="everything"),
        *(pytest.param(*each, id=name, marks=pytest.mark.long) for name, each in HOSTILE.items()),
    ],
)
def test_settings_of_a_user_change_no_result(prepared_folder, undisturbed, tmp_path, keras_json, variables):
    home = tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras/keras.json").write_text(json.dumps(keras_json))
    variables = {name: value.format(home=home) for name, value in variables.items()}
    command = [sys.executable, "-m", "support.jobs", "train", prepared_folder, tmp_path / "run"]
    options = json.dumps({"spec": specification("tiny", epochs=2)})
    environment = os.environ | variables | {"HOME": str(home), "PYTHONPATH": PYTHONPATH}
    finish(start([*command, options], tmp_path / "log", env=environment))
    assert_equal_runs(tmp_path / "run", undisturbed)
    about = read_json(tmp_path / "run/run.json")
    settings = about["settings"]
    assert (settings["floatx"], settings["image_data_format"], settings["backend"]) == (
        "float32",
        "channels_last",
        "tensorflow",
    )
    assert settings["max_epochs"] is settings["max_steps_per_epoch"] is None
    assert settings["environment"]["TF_NUM_INTRAOP_THREADS"] == str(about["threads"])
    assert settings["environment"].keys().isdisjoint({"TF_XLA_FLAGS", "TF_DETERMINISTIC_OPS", "NVIDIA_TF32_OVERRIDE"})


def test_a_home_that_cannot_be_written_stops_no_job(prepared_folder, undisturbed, tmp_path):
    command = [sys.executable, "-m", "support.jobs", "train", prepared_folder, tmp_path / "run"]
    environment = os.environ | {"HOME": "/proc/none", "PYTHONPATH": PYTHONPATH}
    finish(start([*command, json.dumps({"spec": specification("tiny", epochs=2)})], tmp_path / "log", env=environment))
    assert_equal_runs(tmp_path / "run", undisturbed)


def test_what_a_site_must_say_stays_and_what_changes_results_is_named(monkeypatch):
    for name in list(filter(AMBIENT.fullmatch, os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("TF_GPU_ALLOCATOR", "cuda_malloc_async")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_cuda_data_dir=/opt/cuda --xla_cpu_enable_fast_math")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # of which no result depends
    before = dict(os.environ)
    try:
        assert pin(3, card="") == ["TF_XLA_FLAGS", "XLA_FLAGS"]
        assert os.environ["TF_GPU_ALLOCATOR"] == "cuda_malloc_async"
        assert os.environ["XLA_FLAGS"] == "--xla_gpu_cuda_data_dir=/opt/cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_every_script_pins_its_settings_before_it_imports_a_library():
    """`job.start` does it; a script that imported NumPy or Keras above it would have read the user's settings."""
    from support.project import ROOT

    scripts = sorted((ROOT / "workflow/scripts").glob("*.py"))
    assert scripts
    for script in scripts:
        above = script.read_text().partition("with job.start(")[0]
        assert [line for line in above.splitlines() if line.startswith(("import", "from"))] == [
            "from histobench.core import job"
        ], script
