"""Planning needs no data, no network and none of the heavy packages."""

import re

import pytest

from support.project import ROOT, jobs, snakemake

# Found by Python at start-up, in every process that Snakemake starts.
GUARD = """
import socket, sys

def of_a_plugin(frame):
    # Snakemake imports every plugin that is installed; that for SLURM imports pandas.
    while frame and not str(frame.f_globals.get("__name__")).startswith("snakemake_executor_plugin_"):
        frame = frame.f_back
    return frame is not None

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"tensorflow", "keras", "pandas", "matplotlib", "sklearn", "scipy"}:
            return
        if not of_a_plugin(sys._getframe()):
            raise AssertionError(f"planning imports {name}")

sys.meta_path.insert(0, Refuse())

def refuse(*arguments):
    raise AssertionError(f"planning opens a connection: {arguments[1:]}")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture
def guarded(tmp_path):
    folder = tmp_path / "guard"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(GUARD)
    return {"PYTHONPATH": str(folder)}


def test_the_guard_guards(project, guarded):
    with (project / "workflow" / "Snakefile").open("a") as file:
        file.write("\nimport matplotlib\n")
    done = snakemake(project, "-n", env=guarded, check=False)
    assert done.returncode
    assert "planning imports matplotlib" in done.stdout


def test_a_bare_dry_run_plans_the_papers_study(project, guarded):
    planned = jobs(snakemake(project, "-n", env=guarded).stdout)
    # 22 cells on PCam and 20 on each IDC data set by the paper's protocol; 4 of `timing` on each of four cards, of
    # `fast` on each of two, and of `timing-cpu`; two models tuned in two ways.
    assert planned["train"] == 22 + 20 + 20 + 4 * (4 + 2 + 1) + 2 * 2
    assert planned["tune"] == 2 * 2
    # Those of `timing` and so on are there for their seconds: nobody asks for their scores.
    assert planned["predict"] == planned["evaluate"] == 22 + 20 + 20 + 2 * 2
    assert planned["prepare"] == planned["controls"] == 3
    # Seven backbones on PCam, all but InceptionV3 on both of IDC; EfficientNetV2 is trained end to end.
    assert planned["extract_features"] == 7 + 6 + 6
    assert planned["download_pcam"] == 9
    assert planned["download_idc"] == 4
    assert planned["fetch_weights"] == 10
    # One for each data set.
    assert planned["table_performance"] == planned["figure_curves"] == planned["explain"] == 3
    assert planned["table_controls"] == planned["table_claims"] == planned["report"] == 1


def test_what_is_left_out_is_said_once(project, guarded):
    output = snakemake(project, "-n", env=guarded).stdout
    line = (
        "Left out: full, tl of InceptionV3 on idc, idc-random by paper: "
        "it needs patches of at least 75 px, not of 50 px.\n"
    )
    assert output.count(line) == 1


README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Targets")[2].partition("\n## ")[0]
README_TARGETS = re.findall(r"^\| `(?:snakemake )?([\w/.-]+)` \|", README, re.MULTILINE)


def test_the_readme_lists_targets():
    assert {"all", "tables", "figures", "report"} <= set(README_TARGETS)


@pytest.mark.parametrize("target", README_TARGETS)
def test_every_target_of_the_readme_can_be_planned(project, guarded, target):
    output = snakemake(project, "-n", "--quiet", "rules", "--", target, env=guarded).stdout
    assert "Error" not in output


def test_an_impossible_cell_asked_for_by_name(project):
    target = "results/paper/runs/idc/inceptionv3/full/paper/a100/seed-1/metrics.json"
    done = snakemake(project, "-n", target, check=False)
    assert done.returncode
    assert "idc/inceptionv3/full/paper/a100/seed-1 cannot run: it needs patches of at least 75 px" in done.stdout


def test_a_cell_outside_the_matrix_can_be_asked_for(project):
    target = "results/paper/runs/pcam/vgg19/full/timing/v100/seed-7/metrics.json"
    assert jobs(snakemake(project, "-n", target).stdout)["train"] == 1


def test_a_misspelt_key_is_named(project):
    path = project / "config" / "config.yaml"
    path.write_text(path.read_text().replace("    epochs: 15", "    epoch: 15"))
    done = snakemake(project, "-n", check=False)
    assert done.returncode
    assert "recipes.paper: unknown key 'epoch'; did you mean 'epochs'?" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture
def three_workers(project) -> tuple[str, str]:
    """Arguments by which three jobs share every search."""
    (project / "three.yaml").write_text("recipes: {tuned: {search: {workers: 3}}}")
    return "--configfile", "three.yaml"


@pytest.mark.parametrize(
    ("cell", "reads"),
    [
        ("b2/full", "/train-00000-of-00004.tfrecord"),
        ("vgg19/tl", "results/paper/features/pcam/vgg19/paper/a100/train.npy"),
    ],
)
def test_training_and_searching_never_get_the_test_patches(project, three_workers, cell, reads):
    target = f"results/paper/runs/pcam/{cell}/tuned/a100/seed-1/best.weights.h5"
    output = snakemake(project, "-n", *three_workers, "--", target).stdout
    for rule in ("tune", "tune_worker", "train"):
        inputs = output.partition(f"rule {rule}:")[2].partition("input: ")[2].partition("\n")[0]
        assert reads in inputs
        assert "/test" not in inputs


def test_a_search_is_shared_by_as_many_jobs_as_the_recipe_says(project, three_workers):
    target = "results/paper/runs/pcam/vgg19/full/tuned/a100/seed-1/run.json"
    assert jobs(snakemake(project, "-n", *three_workers, "--", target).stdout)["tune_worker"] == 2


def test_a_search_of_a_recipe_without_one_is_refused(project):
    done = snakemake(project, "-n", "--", "results/paper/searches/pcam/vgg19/full/paper/a100/recipe.yaml", check=False)
    assert "recipes.paper has no `search`" in done.stdout


def test_heads_of_all_seeds_and_recipes_of_one_scaling_share_their_features(project):
    folder = "results/paper/runs/pcam/vgg19/tl"
    targets = [f"{folder}/{recipe}/a100/seed-{seed}/run.json" for recipe in ("paper", "native") for seed in (1, 2, 3)]
    planned = jobs(snakemake(project, "-n", "--", *targets).stdout)
    assert (planned["train"], planned["extract_features"]) == (6, 2)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("features/idc/inceptionv3/paper/cpu/train.npy", "cannot be extracted: it needs patches of at least 75 px"),
        ("features/pcam/b2/paper/cpu/train.npy", "cannot be extracted: it has no backbone"),
        ("runs/pcam/vgg19/finetune/paper/cpu/seed-1/run.json", "cannot run: the recipe does not say `finetune`"),
        ("runs/pcam/b6/tl/native/cpu/seed-1/run.json", "cannot run: it has no pretrained backbone to transfer from"),
    ],
)
def test_what_is_impossible_is_said_before_anything_runs(project, target, message):
    done = snakemake(project, "-n", "--", f"results/paper/{target}", check=False)
    assert done.returncode
    assert message in done.stdout


def test_scratch_fetches_no_weights(project):
    planned = [
        jobs(snakemake(project, "-n", "--", f"results/paper/runs/pcam/vgg19/{mode}/paper/a100/seed-1/run.json").stdout)
        for mode in ("full", "scratch")
    ]
    assert [plan.get("fetch_weights", 0) for plan in planned] == [1, 0]
