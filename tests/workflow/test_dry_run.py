"""Planning needs no data, no network and none of the heavy packages."""

import re

import pytest

from support.project import NO_CONNECTION, ROOT, at_startup, copy_project, jobs, plan, snakemake

NO_HEAVY_IMPORT = """
import sys

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
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """An environment in which connections and heavy imports are errors."""
    return at_startup(tmp_path_factory.mktemp("guard"), NO_CONNECTION + NO_HEAVY_IMPORT)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone that nobody changes."""
    return copy_project(tmp_path_factory.mktemp("clone") / "clone")


@pytest.fixture(scope="module")
def bare(clone, guarded):
    """What a bare dry run says of the paper's study."""
    return snakemake(clone, "-n", env=guarded)


def test_the_guard_guards(project, guarded):
    with (project / "workflow" / "Snakefile").open("a") as file:
        file.write("\nimport matplotlib\n")
    assert "planning imports matplotlib" in snakemake(project, "-n", env=guarded, fails=True)


def test_a_bare_dry_run_plans_the_papers_study(bare):
    planned = jobs(bare)
    # 22 cells on PCam and 20 on each IDC data set by the paper's protocol; 4 of `timing` on each of four cards, of
    # `fast` on each of two, and of `timing-cpu`; two models tuned anew and three by the author's values; two baselines
    # on the features of seven backbones on PCam, and of six on IDC.
    assert planned["train"] == 22 + 20 + 20 + 4 * (4 + 2 + 1) + (2 + 3) + 2 * (7 + 6)
    assert planned["tune"] == 2
    # Those of `timing` and so on are there for their seconds: nobody asks for their scores.
    assert planned["predict"] == planned["evaluate"] == 22 + 20 + 20 + (2 + 3) + 2 * (7 + 6)
    assert planned["prepare"] == planned["audit"] == planned["controls"] == 3
    # Seven backbones on PCam, all but InceptionV3 on both of IDC; EfficientNetV2 is trained end to end.
    assert planned["extract_features"] == 7 + 6 + 6
    assert planned["download"] == 9 + 4
    assert planned["fetch_weights"] == 10
    datasets = ("pcam", "idc", "idc-random")
    assert (
        planned["explain"] == planned["robustness"] == planned["export"] == planned["describe_model"] == len(datasets)
    )
    assert planned["choose_runs"] == 2 * len(datasets)
    assert planned["print_tables"] == planned["draw_figures"] == planned["draw_galleries"] == 1
    assert planned["report"] == 1


def test_the_demo_can_be_planned(clone, guarded):
    planned = plan(clone, "--profile", "profiles/demo", env=guarded)
    assert planned["train"] > 1
    assert planned["report"] == 1


def test_what_is_left_out_is_said_once(bare):
    line = (
        "Left out: full, tl of InceptionV3 on idc, idc-random by paper, linear, knn: "
        "it needs patches of at least 75 px, not of 50 px; see `resize`.\n"
    )
    assert bare.count(line) == 1


README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Targets")[2].partition("\n## ")[0]
README_TARGETS = re.findall(r"^\| `(?:snakemake )?([\w/.-]+)` \|", README, re.MULTILINE)


def test_every_target_of_the_readme_can_be_planned(clone, guarded):
    assert {"all", "tables", "figures", "report"} <= set(README_TARGETS)
    # `apply` needs slides: see test_apply.py.
    targets = [target for target in README_TARGETS if target != "apply"]
    snakemake(clone, "-n", "--quiet", "rules", "--", *targets, env=guarded)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        # What else a study refuses is in unit/test_study.py.
        ("runs/idc/inceptionv3/full/paper/a100/seed-1/metrics.json", "cannot run: it needs patches of at least 75 px"),
        ("searches/pcam/vgg19/full/paper/a100/recipe.yaml", "recipes.paper has no `search`"),
        ("features/pcam/b2/paper/cpu/train.npy", "cannot be extracted: it has no backbone"),
    ],
)
def test_what_is_impossible_is_said_before_anything_runs(clone, target, message):
    assert message in snakemake(clone, "-n", "--", f"results/paper/{target}", fails=True)


def test_a_misspelt_key_is_named(clone):
    output = snakemake(clone, "-n", "--config", "recipes={paper: {epoch: 15, batch_size: 3}}", fails=True)
    assert "recipes.paper: unknown key 'epoch'; did you mean 'epochs'?" in output
    # Which Snakemake, unlike those in files, takes for text.
    assert "recipes.paper.batch_size: '3' is not of type 'integer'; it is text: write 3, without quotes" in output
    assert "Traceback" not in output


def test_a_key_that_a_file_has_twice_is_named(clone, tmp_path):
    (tmp_path / "twice.yaml").write_text("study: one\nstudy: two\n")
    output = snakemake(clone, "-n", "--configfile", str(tmp_path / "twice.yaml"), fails=True)
    assert "twice.yaml, line 2: study stands in line 1 already" in output
    assert "Traceback" not in output


def test_cells_in_the_matrix_or_not_share_what_they_can(clone):
    """Heads of all seeds and recipes of one scaling share their features, and `scratch` fetches no weights."""
    runs = [f"vgg19/tl/{recipe}/a100/seed-{seed}" for recipe in ("paper", "native") for seed in (1, 2)]
    runs += ["vgg19/full/timing/v100/seed-7", "resnet50/scratch/paper/a100/seed-1"]
    targets = [f"results/paper/runs/pcam/{run}/run.json" for run in runs]
    planned = plan(clone, "--", *targets)
    assert planned["train"] == len(targets)
    assert planned["extract_features"] == 2
    assert planned["fetch_weights"] == 1  # of VGG19


@pytest.fixture(scope="module")
def shared_searches(clone, tmp_path_factory):
    """The plan of two searches that three jobs share each: on patches, and on cached features."""
    path = tmp_path_factory.mktemp("config") / "three.yaml"
    path.write_text("recipes: {tuned: {search: {workers: 3}}}")
    targets = [f"results/paper/runs/pcam/{cell}/tuned/a100/seed-1/best.weights.h5" for cell in ("b2/full", "vgg19/tl")]
    return snakemake(clone, "-n", "--configfile", str(path), "--", *targets)


@pytest.mark.parametrize(
    ("model", "reads"),
    [
        ("b2", "/train-00000-of-00004.tfrecord"),
        ("vgg19", "results/paper/features/pcam/vgg19/paper/a100/train.npy"),
    ],
)
def test_training_and_searching_never_get_the_test_patches(shared_searches, model, reads):
    announced = re.split(r"^(?=(?:local)?rule )", shared_searches, flags=re.MULTILINE)
    blocks = [block for block in announced if f", model={model}, " in block]
    for rule in ("tune", "tune_worker", "train"):
        found = [block for block in blocks if block.startswith(f"rule {rule}:")]
        assert found
        for block in found:
            inputs = block.partition("input: ")[2].partition("\n")[0]
            assert reads in inputs
            assert "/test" not in inputs


def test_a_search_is_shared_by_as_many_jobs_as_the_recipe_says(shared_searches):
    planned = jobs(shared_searches)
    assert (planned["tune"], planned["tune_worker"]) == (2, 2 * 2)
