"""Digests of code: what makes a result out of date, and what does not."""

import shutil

import pytest

from histobench.core import code
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
MODEL = {"train/models", "core/modes", "core/recipes"}
READ = {"core/features", "core/prepared"}
TRAINING = {
    *("train/fit", "train/checkpoints", "train/calibration", "train/batches", "train/augmentation"),
    *("train/random_state", "train/fresh", "core/searches", "core/decision", *MODEL, *READ),
}
DEPENDS_ON = {
    "train": {"train/run", "core/state", *TRAINING},
    "tune": {
        *("train/search", "train/trials", "train/oracle", "train/outcome", "core/state"),
        *(TRAINING - {"train/checkpoints"}),
    },
    "extract_features": {
        *("train/extract", "train/calibration", "train/batches", "train/random_state", "core/state", *MODEL, *READ),
    },
    "predict": {"train/predict", "train/batches", "core/searches", *MODEL, *READ},
    "explain": {
        *("train/explain", "train/calibration", "train/batches", "train/random_state", "core/decision", *MODEL, *READ),
    },
    "describe_models": {"train/anatomy", *MODEL},
    "simulate": {"core/simulation", "core/formats", "core/prepared"},
}


def modules(script, *further):
    """Names below the library of what a script's result depends on."""
    script, *found = code.files(script, *further)
    return {path.relative_to(code.LIBRARY).with_suffix("").as_posix() for path in found}


@pytest.mark.parametrize("script", DEPENDS_ON)
def test_what_results_of_days_depend_on(script):
    assert modules(script) == DEPENDS_ON[script]


@pytest.mark.parametrize("kind", ["pcam", "idc", "folder"])
def test_prepared_patches_depend_on_one_reader(kind):
    reader = f"core/datasets/{kind}"
    found = modules("prepare", reader)
    assert {reader, "core/datasets/__init__", "train/records"} <= found
    assert not {f"core/datasets/{other}" for other in ("pcam", "idc", "folder") if other != kind} & found


def test_exceptions_are_modules_that_scripts_import():
    """One that is gone, or no longer imported, would let an import of the same name pass."""
    for name in code.EXEMPT:
        assert (code.LIBRARY / f"{name}.py").exists(), name
    for script, names in code.WITHOUT_EFFECT.items():
        kept = modules(script)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(code, "WITHOUT_EFFECT", {})
            assert names <= modules(script) - kept


def test_comments_docstrings_dates_and_places_do_not_count(library):
    before = code.digest("train")
    module = library() / "histobench" / "train" / "fit.py"
    text = module.read_text()
    assert '"""Compile a model' in text
    module.write_text("# a new comment\n\n" + text.replace('"""Compile a model', '"""Say better: compile a model'))
    assert code.digest("train") == before


def test_a_text_that_is_no_docstring_counts(library):
    before = code.digest("train")
    module = library() / "histobench" / "train" / "fit.py"
    text = module.read_text()
    assert '"val_loss"' in text
    module.write_text(text.replace('"val_loss"', '"val_lost"'))
    assert code.digest("train") != before


def test_a_module_that_is_gone_is_an_error():
    with pytest.raises(HistobenchError, match=r"datasets/gone\.py.*does not exist"):
        code.digest("prepare", "core/datasets/gone")


@pytest.mark.parametrize(
    "edited",
    [
        "table_speed.py",
        "histobench/results/speed.py",
        "histobench/results/statistics.py",  # by way of claims
        "histobench/results/table.html.j2",  # a template of tables
        "histobench/results/parts.html.j2",  # that this one imports
    ],
)
def test_an_edit_of_what_is_imported_near_or_far_counts(library, edited):
    before = code.digest("table_speed")
    root = library()
    assert code.digest("table_speed") == before
    code._imports.cache_clear()
    code._digest.cache_clear()
    path = root / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest("table_speed") != before


@pytest.mark.parametrize(
    "edited",
    ["histobench/core/files.py", "histobench/results/figures/size.py", "table_models.py"],
)
def test_an_edit_of_what_is_not_imported_or_exempt_does_not(library, edited):
    before = code.digest("table_speed")
    path = library() / edited
    path.write_text(path.read_text() + "\nx = 1\n")
    assert code.digest("table_speed") == before
