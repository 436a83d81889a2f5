"""The partition file of a site, as people write it, and what else stops a study before its jobs are submitted."""

import pytest

from histobench.core import submission
from histobench.core.errors import HistobenchError
from support.project import ROOT


def read(folder, text):
    path = folder / "partitions.yaml"
    path.write_text(text)
    return submission.read_partitions(path)


def test_the_partitions_of_the_profile_can_be_read():
    found = submission.read_partitions(ROOT / "profiles" / "slurm" / "partitions.yaml")
    assert {"cpu", "a100"} <= {partition.name for partition in found}


def test_limits_are_read_as_they_are_meant(tmp_path):
    text = """
    partitions:
      cpu: {}
      gpu: &gpu {available_gpu_models: [a100, rtx_6000], max_gpu: 2, max_runtime: 2d12h, max_mem_mb: 180000}
      long: {<<: *gpu, max_runtime: '7-00:00', supports_mpi: false, cluster: other}
    """
    cpu, gpu, long = read(tmp_path, text)
    assert (gpu.limits.max_runtime, long.limits.max_runtime) == (3600, 7 * 24 * 60)
    assert (long.limits.max_mem_mb, long.partition_cluster) == (180000, "other")
    assert [submission.has_card(each, "a100") for each in (cpu, gpu, long)] == [False, True, True]
    assert [submission.has_card(each, "a10") for each in (cpu, gpu, long)] == [False, False, False]
    assert [submission.has_card(each, "") for each in (cpu, gpu, long)] == [True, False, False]
    assert [submission.has_card(each, None) for each in (cpu, gpu, long)] == [False, True, True]


def test_a_partition_or_a_limit_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(HistobenchError, match=r"yaml, line 3: partitions\.a100 stands in line 2 already"):
        read(tmp_path, "partitions:\n  a100: {max_gpu: 1}\n  a100: {max_gpu: 4}\n")
    with pytest.raises(HistobenchError, match=r"yaml, line 4: partitions\.cpu\.max_runtime stands in line 3 already"):
        read(tmp_path, "partitions:\n  cpu:\n    max_runtime: 1h\n    max_runtime: 24h\n")


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ("a100: {max_gpus: 1}", r"partition a100: unknown key 'max_gpus'; did you mean 'max_gpu'\?; known keys: "),
        ("a100: {1: 2}", "partition a100: unknown key 1"),
        ("cpu:", r"partition cpu: expected its limits, found None; .* is `cpu: \{\}`"),
        ("cpu: [24h]", "partition cpu: expected its limits, found"),
        ("1: {}", "partition 1: expected text as its name; write it in quotes"),
        ("' ': {}", "partition ' ': expected text as its name"),
        ("'gpu*': {}", r"partition gpu\*: expected the name of one partition, found 'gpu\*'"),
        ("'a,b': {}", "partition a,b: expected the name of one partition"),
        ("a: {cluster: x, slurm_cluster: y}", r"partition a: expected one of .*, found \['y', 'x'\]"),
        # The plugin takes the cluster out of limits that both share.
        ("a: &a {cluster: x}\n  b: *a", "partition b: expected the cluster 'x', but the plugin reads None"),
        ("a: {max_mem_mb: 180G}", "partition a: max_mem_mb: expected a number of MB, .*found '180G'"),
        ("a: {max_mem_mb: '1'}", "partition a: max_mem_mb: expected a number of MB, .*found '1'"),
        ("a: {max_threads: true}", "partition a: max_threads: expected a number, .*found True"),
        ("a: {max_threads: -1}", "partition a: max_threads: expected a number, .*found -1"),
        ("a: {max_threads:}", "partition a: max_threads: expected a number, .*found None"),
        ("a: {max_mem_mb: .nan}", "partition a: max_mem_mb: expected a number of MB, .*found nan"),
        ("a: {max_gpu: 0.5}", "partition a: max_gpu: expected a whole number, .*found 0.5"),
        ("a: {supports_mpi: 1}", "partition a: supports_mpi: expected true or false, found 1"),
        ("a: {max_gpu: 1, available_gpu_models: xa100x}", r"available_gpu_models: expected a list .*found 'xa100x'"),
        ("a: {max_gpu: 1, available_gpu_models: [1080]}", r"available_gpu_models: expected a list .*found \[1080\]"),
        ("a: {available_gpu_models: [a100]}", "partition a: available_gpu_models names cards, but without a max_gpu"),
        ("a: {max_runtime: 2 weeks 1d}", "partition a: max_runtime: expected minutes, or a time"),
        ("a: {max_runtime: UNLIMITED}", "partition a: max_runtime: expected minutes, or a time"),
        # To YAML a number: that of its seconds.
        ("a: {max_runtime: 24:00:00}", "partition a: max_runtime: expected minutes, .*found 24:00:00, .* 86400"),
        ("a: {<<: {max_runtime: 24:00:00}}", "partition a: max_runtime: .*found 24:00:00, which YAML takes for 86400"),
        ("a: {max_threads: 010}", "partition a: max_threads: expected a number, .*found 010, which YAML takes for 8"),
        ("a: {max_runtime: 0100}", "partition a: max_runtime: .*found 0100, which YAML takes for 64"),
        ("a: {max_gpu: 0b11}", "partition a: max_gpu: .*found 0b11, which YAML takes for 3"),
        # Hours and minutes to the plugin, minutes and seconds to SLURM.
        ("a: {max_runtime: '12:30'}", "partition a: max_runtime: .*found '12:30'"),
    ],
)  # fmt: skip
def test_what_the_plugin_cannot_take_or_would_misunderstand_is_named(tmp_path, partition, message):
    with pytest.raises(HistobenchError, match=f"{tmp_path}/partitions.yaml: .*{message}"):
        read(tmp_path, f"partitions:\n  cpu-only: {{}}\n  {partition}\n")


@pytest.mark.parametrize("text", ["partitions: {}", "partitions:", "cpu: {}", "", "[cpu]", "partitions: [cpu]"])
def test_a_file_without_partitions_is_refused(tmp_path, text):
    with pytest.raises(HistobenchError, match=r"partitions.yaml: expected at least one partition"):
        read(tmp_path, text)


@pytest.mark.parametrize("content", [b"partitions: {", b"\xff\xfe"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path, content):
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(HistobenchError, match=r"p.yaml: expected partitions in YAML"):
        submission.read_partitions(tmp_path / "p.yaml")
    with pytest.raises(HistobenchError, match=r"absent.yaml: expected partitions in YAML"):
        submission.read_partitions(tmp_path / "absent.yaml")


def test_devices_whose_environment_nobody_makes_are_named():
    devices = {"cpu": {}, "k80": {"environment": "tensorflow-k80"}, "old": {"environment": "older"}}
    assert submission.environments_missing(devices, ["cpu"]) == ""
    first, second = submission.environments_missing(devices, devices).splitlines()
    assert first.startswith("device k80 needs the environment envs/tensorflow-k80.yaml")
    assert second.startswith("device old needs the environment envs/older.yaml")
