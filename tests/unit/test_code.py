"""Digests of code: what makes a result out of date, and what does not."""

import ast
import shutil

import pytest

from histobench.core import code
from histobench.core.embeddings import FORMATS
from histobench.core.errors import HistobenchError


@pytest.fixture
def library(tmp_path, monkeypatch):
    def copy():
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(code.SCRIPTS, root, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(code, "SCRIPTS", root)
        monkeypatch.setattr(code, "LIBRARY", root / "histobench")
        return root

    return copy


# What results of days depend on. A module more retrains every study: let it be named here before it is imported.
MODEL = {"train/models", "train/p4m", "train/keras_backend", "core/modes", "core/recipes"}
INPUTS = {"train/batches", "train/inputs"}
READ = {"core/features", "core/prepared"}
TRAINING = {
    "core/augmentations",
    *("train/fit", "train/checkpoints", "train/batch_norm", "train/augmentation", "train/random_state"),
    *("train/average_weights", "train/schedules"),
    *("train/initial_model", "train/standardization", "tuning/tuned_recipe", "core/decision", *MODEL, *READ, *INPUTS),
}
DEPENDS_ON = {
    "train": {"train/heads", "train/run", "train/neighbours", "core/state", *TRAINING},
    "tune": {
        *("tuning/worker", "tuning/chief", "tuning/client", "tuning/oracle", "tuning/tuner", "tuning/outputs"),
        *("tuning/search_settings", "tuning/search_files", "core/state"),
        *(TRAINING - {"train/checkpoints"}),
    },
    "extract_features": {
        *("train/extract", "train/batch_norm", "core/state", *(MODEL - {"train/p4m"}), *READ, *INPUTS),
    },
    "import_features": {"core/embeddings/importing", "core/embeddings/joining", "core/embeddings/__init__", *READ}
    | {"core/datasets/upstream"},
    "predict": {
        *("train/predict", "train/neighbours", "train/standardization", "core/decision", "tuning/tuned_recipe"),
        *MODEL,
        *READ,
        *INPUTS,
    },
    "explain": {
        *("train/explain", "train/whole_network", "train/batch_norm", "core/decision", *MODEL, *READ, *INPUTS),
    },
    "robustness": {
        *("train/robustness", "train/changes", "train/whole_network", "train/batch_norm", "train/augmentation"),
        *("core/changes", "core/augmentations", *MODEL, *READ, *INPUTS),
    },
    "export": {
        *("train/export", "train/stock", "train/whole_network", "train/batch_norm", *MODEL, *READ, *INPUTS),
    },
    "describe_models": {"train/model_size", *(MODEL - {"train/keras_backend"})},
    "simulate": {"core/simulation", "core/formats", "core/prepared"},
}


def modules(script, *further):
    """Names below the library of what a script's result depends on."""
    script, *paths = code.files(script, *further)
    return {path.relative_to(code.LIBRARY).with_suffix("").as_posix() for path in paths}


@pytest.mark.parametrize("script", DEPENDS_ON)
def test_what_results_of_days_depend_on(script):
    assert modules(script) == DEPENDS_ON[script]


@pytest.mark.parametrize("kind", ["pcam", "idc", "folder", "table"])
def test_prepared_patches_depend_on_one_reader(kind):
    reader = f"core/datasets/{kind}"
    needed = modules("prepare", reader)
    assert {reader, "core/datasets/__init__", "train/records"} <= needed
    assert not {f"core/datasets/{other}" for other in ("pcam", "idc", "folder", "table") if other != kind} & needed


@pytest.mark.parametrize("kind", FORMATS)
def test_imported_features_depend_on_one_reader(kind):
    readers = {f"core/embeddings/{each}" for each in FORMATS}
    needed = modules("import_features", f"core/embeddings/{kind}")
    assert readers & needed == {f"core/embeddings/{kind}"}
    assert ("core/embeddings/torch_file" in needed) == (kind == "eva")


def test_exceptions_are_modules_that_scripts_import():
    """One that is gone, or no longer imported, would let an import of the same name pass."""
    for name in code.EXEMPT:
        assert code._module(name).exists(), name
    for script, names in code.WITHOUT_EFFECT.items():
        kept = modules(script)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(code, "WITHOUT_EFFECT", {})
            assert names <= modules(script) - kept


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('"""Compile for', '"""Say better: compile for', False),
        ("import logging", "# a new comment\n\nimport logging", False),
        ('"accuracy", "auc", "loss"', "'accuracy', 'auc',\n'loss',", False),
        ('"val_loss"', '"val_lost"', True),
    ],
)
def test_code_counts_but_not_comments_docstrings_layout_dates_and_places(library, old, new, counts):
    before = code.digest("train")
    module = library() / "histobench" / "train" / "fit.py"
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))
    assert (code.digest("train") != before) == counts


def test_a_field_that_a_newer_python_gives_nodes_changes_nothing(monkeypatch):
    tree = ast.parse("def f(x): return f'{x:>{x}}'")
    before = code._plain(tree)
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "newer"))
    tree.body[0].newer = []
    assert code._plain(tree) == before


def test_imports_are_written_as_the_digest_reads_them():
    """Absolute, by `from`; and what a package executes when it is imported is nothing that a result depends on."""
    for path in code.LIBRARY.rglob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert all(node.level == 0 for node in imports if isinstance(node, ast.ImportFrom)), path
        names = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in names if name.startswith("histobench")], path
        if path.name == "__init__.py" and path.parent.name not in ("datasets", "embeddings", "lease"):
            assert all(isinstance(node, ast.Expr) for node in tree.body), path


def test_a_module_that_is_gone_is_an_error():
    with pytest.raises(HistobenchError, match=r"datasets/gone\.py.*does not exist"):
        code.digest("prepare", "core/datasets/gone")


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("print_tables.py", True),
        ("histobench/results/tables/speed.py", True),
        ("histobench/results/tables/performance.py", True),  # by way of claims
        ("histobench/results/table.html.j2", True),  # a template of printing
        ("histobench/results/parts.html.j2", True),  # that this one imports
        ("histobench/core/files.py", False),  # exempt
        ("histobench/results/figures/auc_against_size.py", False),
        ("draw_figures.py", False),
    ],
)
def test_an_edit_counts_if_the_file_is_imported_near_or_far(library, edited, counts):
    before = code.digest("print_tables", "results/tables/claims")
    root = library()
    assert code.digest("print_tables", "results/tables/claims") == before
    code._imports.cache_clear()
    code._digest.cache_clear()
    path = root / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert (code.digest("print_tables", "results/tables/claims") != before) == counts
