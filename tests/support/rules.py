"""The jobs of rules in this process: the script of a rule, with its inputs, outputs and params."""

import gc
import runpy
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import keras

from histobench.core import features, job, paths, prepared, runs, source_files, usage
from histobench.core.cells import Run
from histobench.core.study import Study
from histobench.tuning import search_files
from support import jobs, tiny
from support.project import ROOT

CODE = "c"


class Files(list[str]):
    """Inputs or outputs of a job as its script sees them: a list, and by name a path or several."""

    def __init__(self, **named: str | Path | Iterable[str | Path]) -> None:
        self.named = {
            name: [str(path) for path in value] if isinstance(value, list) else str(value)
            for name, value in named.items()
        }
        for value in self.named.values():
            self.extend(value if isinstance(value, list) else [value])

    def __getattr__(self, name: str) -> Any:
        return self.named[name]

    def get(self, name: str) -> Any:
        return self.named.get(name)


@contextmanager
def _started(snakemake: Any, **_: Any):
    """Leave the output of this process where it goes."""
    yield


def run(script: str, inputs: Files, outputs: Files, *, config: Any = None, wildcards: Any = None, **params: Any):
    """Run a script as in a fresh process, but for its log and its settings."""
    tiny.install()
    jobs.keep_what_is_imported()
    keras.backend.clear_session()
    for path in outputs:  # as Snakemake does
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    snakemake = SimpleNamespace(
        input=inputs,
        output=outputs,
        params=SimpleNamespace(**params),
        wildcards=Wildcards(wildcards or {}),
        config=config or {"devices": {}},
        threads=jobs.THREADS,
        resources={"runtime": 30, "mem_mb": 8000},
        log=[f"results/logs/own/{script}.log"],
    )
    with patch.object(job, "start", _started):
        runpy.run_path(str(ROOT / f"workflow/scripts/{script}.py"), {"snakemake": snakemake})
    JOBS.append(script)
    if len(JOBS) % 20 == 0:
        gc.collect()
        gc.freeze()  # TensorFlow keeps some of each job, which collections would go through again and again


JOBS: list[str] = []


class Wildcards(dict[str, str]):
    def __getattr__(self, name: str) -> str:
        return self[name]


class Jobs:
    """The jobs of a study, whose results lie in the working folder.

    Each runs with the inputs that the rules give it, and returns the files that it has made.
    """

    def __init__(self, study: Study, config: dict[str, Any]) -> None:
        self.study, self.config = study, config

    def data(self, dataset: str) -> Path:
        return Path(paths.DATA.format(dataset=dataset))

    def folder(self, run: Run) -> Path:
        return paths.of(self.study.paths.run, run)

    def search_folder(self, run: Run) -> Path:
        return paths.of(self.study.paths.search, run)

    def features(self, dataset: str, model: str) -> Path:
        return paths.of(self.study.paths.features, dataset=dataset, model=model, scaling="paper", device="cpu")

    def weights_file(self, model: str) -> list[Path]:
        file = self.study.models[model].weights_file
        return [Path(paths.WEIGHTS, file)] if file else []

    def download(self, source: str) -> Files:
        known, targets = self.study.sources[source], []
        for name, remote in known.files.items():
            outputs = Files(file=Path(known.folder, name))
            wildcards = {"source": source, "file": name}
            run("download", Files(), outputs, config=self.config, wildcards=wildcards, remote=asdict(remote))
            targets += outputs
        return Files(files=targets)

    def fetch_weights(self, model: str) -> Files:
        file = self.study.models[model].weights_file
        outputs, remote = Files(file=Path(paths.WEIGHTS, file)), asdict(self.study.models[model].weights)
        run("fetch_weights", Files(), outputs, config=self.config, wildcards={"file": file}, remote=remote)
        return outputs

    def prepare(self, dataset: str, own_files: str | None = None) -> Files:
        """Prepare a data set; `own_files` is what a look at a folder of one's own has found, by default one of now."""
        known, folder = self.study.datasets[dataset], self.data(dataset)
        source = known.source
        if own_files is None:
            own_files = "" if source.files else source_files.read(Path(source.folder)).sha256
        outputs = Files(
            manifest=folder / "manifest.json",
            index=folder / "index.parquet",
            source_files=folder / prepared.SOURCE_FILES,
            shards=[folder / name for split in prepared.SPLITS for name in prepared.shard_names(split)],
        )
        upstream = [Path(source.folder, file) for file in source.files] or [source.folder]
        params = {"dataset": known, "definition": known.definition(), "own_files": own_files}
        run("prepare", Files(files=upstream), outputs, **params)
        return outputs

    def controls(self, dataset: str) -> Files:
        folder, data = Path(self.study.paths.controls.format(dataset=dataset)), self.data(dataset)
        outputs = Files(
            predictions=folder / runs.PREDICTIONS,
            metrics=folder / runs.METRICS,
            replicates=folder / runs.REPLICATES,
            shuffled=folder / "shuffled_labels.json",
        )
        run("controls", Files(index=data / "index.parquet", manifest=data / "manifest.json"), outputs)
        return outputs

    def extract(self, dataset: str, model: str) -> Files:
        folder = self.features(dataset, model)
        outputs = Files(
            **{split: folder / features.file_name(split) for split in prepared.SPLITS}, about=folder / features.ABOUT
        )
        inputs = Files(manifest=self.data(dataset) / "manifest.json", weights=self.weights_file(model))
        spec = self.study.features_specification(dataset, model, "paper", "cpu")
        run("extract_features", inputs, outputs, wildcards={"device": "cpu"}, config=self.config, spec=spec, code=CODE)
        return outputs

    def _inputs(self, cell: Run) -> dict[str, Any]:
        """Return the inputs of training, searching and prediction in so far as scripts look at them."""
        cached = self.study.cached(cell.mode, cell.recipe)
        inputs: dict[str, Any] = {"manifest": self.data(cell.dataset) / "manifest.json"}
        if cached:
            inputs["features"] = [self.features(cell.dataset, cell.model) / features.ABOUT]
        elif weights := self.weights_file(cell.model):
            inputs["weights"] = weights
        return inputs

    def tune(self, cell: Run) -> Files:
        folder = self.search_folder(cell)
        outputs = Files(
            trials=folder / search_files.TRIALS, about=folder / search_files.ABOUT, recipe=folder / search_files.RECIPE
        )
        spec = self.study.search_specification(cell.cell)
        run(
            "tune", Files(**self._inputs(cell)), outputs, wildcards=vars(cell), config=self.config, spec=spec, code=CODE
        )
        return outputs

    def _tuned(self, cell: Run) -> dict[str, Any]:
        searched = self.study.searched(cell.recipe)
        return {"tuned": [self.search_folder(cell) / search_files.RECIPE]} if searched else {}

    def train(self, cell: Run) -> Files:
        folder = self.folder(cell)
        outputs = Files(
            history=folder / runs.HISTORY,
            timing=folder / runs.TIMING,
            weights=folder / runs.WEIGHTS,
            about=folder / runs.ABOUT,
        )
        inputs, spec = Files(**self._inputs(cell), **self._tuned(cell)), self.study.specification(cell)
        run("train", inputs, outputs, wildcards=vars(cell), config=self.config, spec=spec, code=CODE)
        return outputs

    def predict(self, cell: Run) -> Files:
        folder = self.folder(cell)
        outputs = Files(predictions=folder / runs.PREDICTIONS)
        inputs = self._inputs(cell) | self._tuned(cell) | {"weights": folder / runs.WEIGHTS}
        spec = self.study.specification(cell)
        run("predict", Files(**inputs), outputs, wildcards=vars(cell), config=self.config, spec=spec, code=CODE)
        return outputs

    def evaluate(self, cell: Run) -> Files:
        folder = self.folder(cell)
        outputs = Files(metrics=folder / runs.METRICS, replicates=folder / runs.REPLICATES)
        run("evaluate", Files(predictions=folder / runs.PREDICTIONS), outputs)
        return outputs

    def collect_runs(self, datasets: list[str]) -> Files:
        results = Path(self.study.paths.results)
        made = {"runs": "runs.csv", "cells": "cells.csv", "jobs": "jobs.csv", "requests": "set-resources.yaml"}
        outputs = Files(**{name: results / file for name, file in made.items()})
        controls = [Path(self.study.paths.controls.format(dataset=name), runs.METRICS) for name in datasets]
        run(
            "collect_runs",
            Files(
                about=[self.folder(cell) / runs.ABOUT for cell in self.study.runs],
                manifests=[self.data(name) / "manifest.json" for name in datasets],
                controls=controls,
            ),
            outputs,
            datasets=datasets,
            prepared=datasets,
            encoders={},
            subsets={},
            requests=usage.Requests(()),
            names={key: model.name for key, model in self.study.models.items()},
            timing_only=[],
            cells=self.study.asked_for({}),
        )
        return outputs
