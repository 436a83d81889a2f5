"""The configuration as a study: its data sets, models and recipes, and which runs its matrix makes.

Imported by the Snakefile, so it stays cheap: no TensorFlow, pandas or NumPy.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from histobench.core import (
    applied,
    averaged,
    catalogue,
    devices,
    embeddings,
    paths,
    prepared,
    recipe_checks,
    recipes,
    runs,
    scale,
    source_files,
    sources,
)
from histobench.core.cells import Cell, Run
from histobench.core.errors import AS_TEXT, HistobenchError, named, nearest, number_as_text
from histobench.core.files import Remote
from histobench.core.formats import FORMATS, Dataset
from histobench.core.modes import ENSEMBLE, MODES, TRAINED
from histobench.core.selections import Selection
from histobench.tuning import search_settings

# Environment variable: where the Snakefile writes the configuration as Snakemake merged it, for `make plan`.
WRITE_TO = "HISTOBENCH_CONFIGURATION"
# Of `robustness` and `export`: of each data set the best run on the validation patches.
BEST = "best"
# Facts about a device's card that the configuration may give.
CARD = ("year", "cuda_cores", "gflops")
# Precisions that may have a peak rate: Keras's dtype policies, and TF32, a way to compute in float32.
PEAKS = ("float32", "tf32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Chosen:
    """Runs whose networks a study goes on with.

    Attributes
    ----------
    best : whether the best run of each data set on its validation patches is among them.
    named : those that the configuration names.
    """

    best: bool
    named: tuple[Run, ...]


class Study:
    """A validated configuration.

    Attributes
    ----------
    configuration : what it is made of, without the keys that are null.

    Raises
    ------
    HistobenchError
        if the configuration names something that it does not define, or has a key that the schema does not know.
    """

    def __init__(self, config: Mapping[str, Any], schema: Path) -> None:
        _validate(config, yaml.safe_load(schema.read_text(encoding="utf-8")))
        self.configuration = config = _without_nulls(config)
        self.name: str = config["study"]
        if self.name.lower() in map(str.lower, paths.RESERVED):
            raise HistobenchError(
                f"configuration: study: {self.name!r} is taken by what all studies share in {paths.RESULTS}/ and "
                f"{paths.LOGS}/; choose another name than {', '.join(paths.RESERVED)}"
            )
        self.paths = paths.StudyPaths(self.name)
        self.mirror: str | None = config.get("downloads", {}).get("mirror")
        self.recipes: dict[str, dict[str, Any]] = dict(config["recipes"])
        for name, recipe in self.recipes.items():
            recipe_checks.check(name, recipe)
        # By the recipes of results that are averages of others.
        self.averages: dict[str, averaged.Averaged] = {}
        self.devices: dict[str, dict[str, Any]] = dict(config["devices"])
        self.models = catalogue.models(config.get("models", {}))
        self.sources = {name: sources.source(name, block) for name, block in config["sources"].items()}
        # Of patches of one's own; those of published ones stand in `scale`.
        self._microns = {name: block.get("microns_per_pixel") for name, block in config["sources"].items()}
        self.applied = {
            name: applied.applied(name, block, self.devices) for name, block in config.get("apply", {}).items()
        }
        self.datasets: dict[str, Dataset] = {}
        for name, block in sorted(config["datasets"].items(), key=lambda each: "subset_of" in each[1]):
            self.datasets[name] = self._subset(name, block) if "subset_of" in block else self._dataset(name, block)
        for name, model in self.models.items():
            if model.weights_run:
                self._check_origin(name, model.weights_run)
            if model.embeddings and not isinstance(model.embeddings.path, str):
                for dataset in model.embeddings.path:
                    named(f"models.{name}.embeddings.path", dataset, self.datasets)
                    if whole := self.subset_of(dataset):
                        raise HistobenchError(
                            f"configuration: models.{name}.embeddings.path: {dataset} has a part of the patches of "
                            f"{whole} and uses its embeddings; name {whole} instead"
                        )
        for name, recipe in self.recipes.items():
            if "tuned_from" in recipe:
                named(f"recipes.{name}.tuned_from", recipe["tuned_from"], self.recipes)
        # Of tables of embeddings, by path, since the study was read.
        self._digests: dict[str, str] = {}
        self.missing_runs: str = config.get("missing_runs", "train")
        # The seeds of each cell, in the order of the matrix.
        self.cells: dict[Cell, list[int]] = {}
        # Cells that cannot run, and why.
        self.left_out: dict[Cell, str] = {}
        asked: dict[Cell, set[str]] = {}
        # By cells, the other data sets on whose test patches their runs are to be scored.
        self.external: dict[Cell, list[str]] = {}
        for number, block in enumerate(config["matrix"]):
            for cell in self._expand(number, block):
                asked.setdefault(cell, set()).update(block.get("average_scores", ()))
                elsewhere = self.external.setdefault(cell, [])
                elsewhere += [name for name in block.get("external", ()) if name not in (cell.dataset, *elsewhere)]
        self._add_averages(asked)
        # By their names, which stand for a model.
        self.ensembles: dict[str, tuple[averaged.Member, ...]] = {}
        for name, texts in config.get("ensembles", {}).items():
            self._add_ensemble(name, averaged.members(f"ensembles.{name}", texts))
        self.ablation: dict[str, str] = dict(config.get("ablation", {}))
        self._check_ablation()
        self.contrasts = [averaged.members("contrasts", pair) for pair in config.get("contrasts", [])]
        self._check_contrasts()
        self._check_names()
        # Of each run that has a row in the results those that are trained for it: itself, or one for each fold.
        self.trained_for = {
            run: self.trained(run)
            for run in (
                Run(**vars(cell), seed=seed)
                for cell, seeds in self.cells.items()
                for seed in seeds
                if cell not in self.left_out
            )
        }
        self.runs = list(dict.fromkeys(itertools.chain.from_iterable(self.trained_for.values())))
        if not self.runs:
            raise HistobenchError(
                "configuration: the matrix makes no run; "
                + "; ".join(f"{cell}: {reason}" for cell, reason in self.left_out.items())
            )
        # Whose networks score changed patches, and whose are exported, by the folders of what comes of it.
        self.chosen = {"robustness": self._chosen("robustness", config), "models": self._chosen("export", config)}
        exported = [run.dataset for run in self.chosen["models"].named]
        if twice := {name for name in exported if exported.count(name) > 1}:
            raise HistobenchError(
                f"configuration: export: a data set has one exported model, and {min(twice)} stands there twice; name "
                "one run of it"
            )

    def why_not(self, cell: Cell) -> str:
        """Return why a cell cannot run, "" if it can."""
        if cell.mode == ENSEMBLE:
            return self._why_no_ensemble(cell)
        if average := self.averages.get(cell.recipe):
            return self._why_no_average(cell, average)
        model, mode, recipe = self.models[cell.model], MODES[cell.mode], self.recipes[cell.recipe]
        if self.gathered(cell.dataset) and self.timing_only(cell.recipe):
            return "seconds are measured on a data set with one split"
        if model.embeddings:
            return self._why_not_on(model.embeddings, cell) or self._lacks_precision(cell)
        if reason := self._unfit_side(model, self.input(cell.dataset, cell.model, recipes.scaling(recipe))):
            return reason
        if reason := self._foreign_weights(cell):
            return reason
        if mode.frozen and model.application is None:
            return "it has no pretrained backbone to transfer from"
        if not mode.pretrained and model.application is None:
            return "it has no pretrained weights, so `full` is from scratch already"
        if "knn" in recipe and not mode.cacheable:
            return "k nearest neighbours are those of a frozen backbone's features: mode `tl` alone has them"
        if recipes.standardize(recipe) and not self.cached(cell.mode, cell.recipe):
            return "`standardize` is for heads on cached features: mode `tl` alone has them"
        if model.application is None:
            if cell.model in catalogue.WITHOUT_DENSE_LAYER:
                searched = recipe.get("search", {}).get("space", {})
                if said := [key for key in ("dense_units", "dropout") if key in recipe or key in searched]:
                    return f"it has no dense layer but its output: {' and '.join(said)} is for others"
            elif recipe.get("dense_units") == 0:
                return "its dense layer is a part of it: `dense_units: 0` is for models with a backbone"
        if mode.unfreezes and mode.key not in recipe:
            return f"the recipe does not say `{mode.key}`"
        return self._lacks_precision(cell)

    def _why_no_average(self, cell: Cell, average: averaged.Averaged) -> str:
        """Return why there are no scores to average, "" if there are."""
        if reason := self.why_not(replace(cell, recipe=average.recipe)):
            return reason
        if self.timing_only(average.recipe):
            return "it is there for its seconds"
        if averaged.D4 in average.kinds and self.cached(cell.mode, cell.recipe):
            return "a turned patch has no cached features: say `transfer: end_to_end`"
        return ""

    def why_not_external(self, cell: Cell, dataset: str) -> str:
        """Return why the runs of a cell cannot be scored on the test patches of another data set, "" if they can."""
        if reason := self.why_not(cell):
            return reason
        if self.timing_only(cell.recipe):
            return "it is there for its seconds"
        if not self.has_network(cell):
            return "it has no network that could score other patches"
        for trained in (cell.dataset, *(run.dataset for run in self._origins(cell))):
            if self.datasets[trained].source.same_patches(self.datasets[dataset].source):
                return f"it has learned from {trained}, whose patches are of the same source as those of {dataset}"
        return ""

    def _why_no_ensemble(self, cell: Cell) -> str:
        """Return why there is no ensemble, "" if there is one."""
        if cell.model not in self.ensembles:
            return "an ensemble is a result of cells that `ensembles` names"
        for member in self.ensembles[cell.model]:
            if reason := self.why_not(member.on(cell.dataset)):
                return f"{member} cannot run: {reason}"
            if self.timing_only(member.recipe):
                return f"{member} is there for its seconds"
        return ""

    def _averaged_from(self, cell: Cell) -> tuple[averaged.Member, ...]:
        """Return the cells whose scores are averaged for a cell; none for one that is trained."""
        if cell.mode == ENSEMBLE:
            return self.ensembles[cell.model]
        average = self.averages.get(cell.recipe)
        return (averaged.Member.of(replace(cell, recipe=average.recipe)),) if average else ()

    def _check_origin(self, key: str, run: Run) -> None:
        """Refuse weights of a run that does not train a backbone, or that this study cannot have."""
        where = f"configuration: models.{key}.weights.run"
        for of, names in (
            ("datasets", self.datasets),
            ("recipes", self.recipes),
            ("devices", self.devices),
            ("modes", TRAINED),
        ):
            named(f"models.{key}.weights.run, {of}", getattr(run, of[:-1]), names)
        reason = self.why_not(run.cell)
        if MODES[run.mode].cacheable:
            reason = f"in mode {run.mode} it trains no backbone"
        elif self.timing_only(run.recipe):
            reason = f"{run.recipe} is there for its seconds"
        elif self.gathered(run.dataset):
            reason = f"{run.dataset} has a run for each of its parts; name a data set with one split"
        elif "dense_units" in self.recipes[run.recipe].get("search", {}).get("space", {}):
            reason = f"{run.recipe} searches for dense_units; write what it has found into a recipe of its own"
        if reason:
            raise HistobenchError(f"{where}: {run} cannot be started from: {reason}")

    def _origins(self, cell: Cell) -> Iterator[Run]:
        """Yield the run whose weights a cell starts from, if any, then the one that this started from, and so on."""
        while MODES[cell.mode].pretrained and (run := self.models[cell.model].weights_run):
            yield run
            cell = run.cell

    def _foreign_weights(self, cell: Cell) -> str:
        """Return why a cell cannot start from what a run has learned, "" if it can, or starts from something else."""
        origins = list(self._origins(cell))
        here = self.datasets[self.stored(cell.dataset)]
        for run in origins:
            there = self.datasets[self.stored(run.dataset)]
            if here.source.same_patches(there.source) and (here != there or here.folds):
                return (
                    f"its weights are of a run on {run.dataset}, which may have trained on test patches of "
                    f"{cell.dataset}"
                )
        if not origins:
            return ""
        run = origins[0]
        ours, theirs = (
            self.input(each.dataset, each.model, recipes.scaling(self.recipes[each.recipe]))["preprocessing"]
            for each in (cell, run)
        )
        if ours != theirs:
            return f"its weights are of a run with `input_scaling: {self.recipes[run.recipe]['input_scaling']}`"
        return ""

    def _lacks_precision(self, cell: Cell) -> str:
        """Return that a cell's device does not support the precision of its recipe, "" if it does."""
        precision = recipes.precision(self.recipes[cell.recipe])
        peaks = self.devices[cell.device].get("peak_tflops")
        if peaks is not None and precision not in peaks:
            return f"{cell.device} has no {precision} (devices.{cell.device}.peak_tflops)"
        return ""

    def _why_not_on(self, embeddings: catalogue.Embeddings, cell: Cell) -> str:
        """Return why a head cannot be trained on embeddings of others, "" if it can."""
        recipe = self.recipes[cell.recipe]
        if not MODES[cell.mode].cacheable:
            return "it is a table of embeddings, on which heads alone can be trained (mode `tl`)"
        if recipes.transfer(recipe) != "cached":
            return "it is a table of embeddings, without a network for `transfer: end_to_end` or `augmentation`"
        if "resize" in recipe:
            return "it is a table of embeddings, without patches to `resize`"
        if embeddings.path_for(self.stored(cell.dataset)) is None:
            return f"no embeddings of this data set (models.{cell.model}.embeddings.path)"
        return ""

    def has_network(self, cell: Cell) -> bool:
        """Say whether a network of this study, or one for each fold, made the scores of the runs of a cell."""
        average = cell.recipe in self.averages
        return not (average or self.models[cell.model].embeddings or "knn" in self.recipes[cell.recipe])

    def _chosen(self, key: str, config: Mapping[str, Any]) -> "Chosen":
        """Return what a key of the configuration names."""
        texts = config.get(key, [BEST])
        return Chosen(BEST in texts, tuple(self._with_network(key, text) for text in texts if text != BEST))

    def _with_network(self, key: str, text: str) -> Run:
        """Return the run that a key of the configuration names; refuse one that cannot score other patches."""
        where = f"configuration: {key}: {text}"
        try:
            run = Run.of(text)
        except ValueError as error:
            raise HistobenchError(f"configuration: {key}: {error}, or {BEST}") from None
        if run not in self.trained_for:
            why = self.left_out.get(run.cell)
            near = "" if why else nearest(text, map(str, self.trained_for))
            raise HistobenchError(
                f"{where}: {f'it cannot run: {why}' if why else f'the matrix makes no such run{near}'}"
            )
        if not self.scored(run):
            raise HistobenchError(f"{where}: it is there for its seconds; name a run with scores")
        if not self.has_network(run):
            raise HistobenchError(
                f"{where}: other patches are scored by a trained network, which averages, nearest neighbours and heads "
                "on embeddings of others are not; name another run"
            )
        return run

    def left_out_in_words(self) -> list[str]:
        """Return a line for each model and reason: which cells of the matrix are left out, and why."""
        lines: dict[tuple[str, str], list[Cell]] = {}
        for cell, reason in self.left_out.items():
            lines.setdefault((cell.model, reason), []).append(cell)
        return [
            f"Left out: {', '.join(dict.fromkeys(cell.mode for cell in cells))} of {self.models[model].name} "
            f"on {', '.join(dict.fromkeys(cell.dataset for cell in cells))} "
            f"by {', '.join(dict.fromkeys(cell.recipe for cell in cells))}: {reason}."
            for (model, reason), cells in lines.items()
        ]

    def asked_for(self, gaps: Mapping[Run, str]) -> list[dict[str, Any]]:
        """Return what the matrix asks for, a mapping per cell in its order, those that cannot run included.

        Runs that have no result are among the `gaps`, which say why.

        Returns
        -------
        dataset, format : the data set, and the format of its patches.
        model, model_name : the model's key, and its name in print.
        mode, recipe, device : names of the configuration.
        gpu : whether the device is a GPU; its facts are in `CARD` and, for each of `PEAKS`, in `peak_tflops_<name>`, ""
            where unknown.
        seeds : how many.
        gap : why some or all of them have no result, "" where they have.
        left_out : whether the cell cannot run.
        end_to_end : whether every epoch runs over patches, not over cached features.
        timing_only, tuned_from, classifier : see :mod:`histobench.core.recipes`.
        averaged_from : the cells whose scores are averaged, printed as :class:`histobench.core.averaged.Member`, ""
            where none are; `averaged_over`: over what.
        subset_of : the data set of whose training patches this one has a part, "" if it has all of its own.
        subset_by : "train_fraction" or "train_groups", by which that part is given, or "".
        """
        cells = []
        for cell, seeds in self.cells.items():
            reasons = {seed: reason for seed in seeds if (reason := gaps.get(Run(**vars(cell), seed=seed)))}
            device, out = self.devices[cell.device], self.left_out.get(cell)
            gap = runs.LEFT_OUT + out if out else "; ".join(dict.fromkeys(reasons.values()))
            if 0 < len(reasons) < len(seeds):
                gap = f"seed {' and '.join(map(str, reasons))}: {gap}"
            cells.append(
                asdict(cell)
                | {
                    "format": self.datasets[cell.dataset].source.format,
                    "model_name": self.models[cell.model].name,
                    "gpu": "gpu_model" in device,
                    **{fact: device.get(fact, "") for fact in CARD},
                    **{f"peak_tflops_{name}": device.get("peak_tflops", {}).get(name, "") for name in PEAKS},
                    "seeds": len(seeds),
                    "gap": gap,
                    "left_out": cell in self.left_out,
                    "end_to_end": not self.cached(cell.mode, cell.recipe),
                    "timing_only": self.timing_only(cell.recipe),
                    "tuned_from": self.recipes[cell.recipe].get("tuned_from", ""),
                    "averaged_from": " ".join(map(str, self._averaged_from(cell))),
                    "averaged_over": " ".join(self.averages[cell.recipe].kinds) if cell.recipe in self.averages else "",
                    "subset_of": self.subset_of(cell.dataset),
                    "subset_by": self.datasets[cell.dataset].subset_by,
                    "classifier": recipes.classifier(self.recipes[cell.recipe], cell.mode),
                }
            )
        return cells

    def timing_only(self, recipe: str) -> bool:
        """Say whether a recipe is there for the seconds of its runs alone."""
        return bool(self.recipes[recipe].get("timing_only", False))

    def scored(self, run: Run) -> bool:
        """Say whether a run is there for its scores, not for its seconds alone."""
        return not self.timing_only(run.recipe)

    def gap(self, run: Run) -> str:
        """Return why a run has no current result, in words, "" if it has one; see :func:`histobench.core.runs.gap`."""
        reasons = [self._gap(each) for each in (*self.trained_for.get(run, (run,)), *self._turned(run))]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    def _gap(self, run: Run) -> str:
        data = paths.of(paths.DATA, run)
        patches = None
        if all((data / name).exists() for name in ("index.parquet", "manifest.json")):
            try:
                manifest = prepared.manifest(data)
            except HistobenchError as error:
                return f"its data set is damaged: {error}"
            differences = self.datasets[run.dataset].differences(manifest.get("definition"))
            differences.pop("folder", None)  # results are looked at on other machines, too
            if differences:
                return f"out of date: its data set was prepared otherwise: {'; '.join(differences.values())}"
            patches = manifest["patches_sha256"]
        try:
            content = self._content_of_embeddings(run)
        except (HistobenchError, OSError) as error:
            return f"its embeddings cannot be read: {error}"
        return runs.gap(
            paths.of(self.paths.run, run),
            self.specification(run),
            patches,
            scored=self.scored(run),
            features=self.features_folder(run) if self.cached(run.mode, run.recipe) else None,
            embeddings=content,
        )

    def external_gap(self, run: Run, dataset: str) -> str:
        """Return why a run has no current result on another data set, "" if it has one."""
        try:
            patches = prepared.manifest(paths.of(paths.DATA, dataset=dataset))["patches_sha256"]
        except HistobenchError:
            patches = None
        there = paths.of(self.paths.external, run, tested_on=dataset)
        return runs.external_gap(there, paths.of(self.paths.run, run), patches)

    def features_folder(self, cell: Cell) -> Path:
        """Return the folder of the cached features that runs of a cell are trained on."""
        names = vars(cell) | {"dataset": self.stored(cell.dataset)}
        return Path(self.paths.features.format(**names, scaling=recipes.scaling(self.recipes[cell.recipe])))

    def _content_of_embeddings(self, run: Run) -> str:
        """Return the digest of the embeddings that a run's features come from; "" for none, or where they are gone."""
        table = self.models[run.model].embeddings
        path = table.path_for(self.stored(run.dataset)) if table else None
        if table is None or path is None or not Path(path).exists():
            return ""
        if path not in self._digests:
            self._digests[path] = content_of_embeddings(table.format, path)
        return self._digests[path]

    def cached(self, mode: str, recipe: str) -> bool:
        """Say whether runs of this mode and recipe train a head on cached features."""
        return MODES[mode].cacheable and recipes.transfer(self.recipes[recipe]) == "cached"

    def specification(self, run: Run) -> dict[str, Any]:
        """Return the configuration that a run's result depends on, apart from code, data and weights.

        A change of anything in it trains the run again, so what a result does not depend on (a name in print, how a
        scheduler calls a card, what the recipe says for other modes) stays out.

        Returns
        -------
        run : the names of the cell, and the seed.
        backend : of Keras, on the run's device; left out where it is TensorFlow.
        model : key, application and origin of the weights.
        recipe : what it says for the run's mode, see :func:`histobench.core.recipes.relevant`.
        input : how patches become inputs of the CNN, see :meth:`input`; None where the inputs are cached features.

        Raises
        ------
        HistobenchError
            if the run's cell, which need not stand in the matrix, cannot run.
        """
        if reason := self.why_not(run):
            raise HistobenchError(f"{run.cell} cannot run: {reason}")
        recipe = self.recipes[run.recipe]
        if run.mode == ENSEMBLE:
            # Their own specifications are those of the files that it is made of.
            first, *_ = members = self.ensembles[run.model]
            return {
                "run": asdict(run),
                "model": self._model(run.model),
                "recipe": {"average_scores": [str(member) for member in members]},
                "input": self.input(run.dataset, first.model, recipes.scaling(self.recipes[first.recipe])),
            }
        return {
            "run": asdict(run),
            **self._backend(run.device),
            "model": self._model(run.model, pretrained=MODES[run.mode].pretrained),
            "recipe": recipes.relevant(recipe, run.mode),
            "input": None
            if self.cached(run.mode, run.recipe)
            else self.input(run.dataset, run.model, recipes.scaling(recipe)),
        }

    def _backend(self, device: str) -> dict[str, str]:
        backend = devices.backend(self.devices[device])
        return {} if backend == "tensorflow" else {"backend": backend}

    def search_specification(self, cell: Cell) -> dict[str, Any]:
        """Return what the search of a recipe depends on, apart from code, data and weights.

        It is like that of a run, see :meth:`specification`, with the seed of the search, see "Seeds" in
        config/README.md, and without what concerns only the training that follows.
        """
        if not self.searched(cell.recipe):
            raise HistobenchError(f"recipes.{cell.recipe} has no `search`")
        spec = self.specification(Run(**vars(cell), seed=self.recipes[cell.recipe]["search"]["seed"]))
        return spec | {"recipe": search_settings.relevant_recipe(spec["recipe"])}

    def searched(self, recipe: str) -> bool:
        """Say whether a recipe starts with a search."""
        return "search" in self.recipes[recipe]

    def features_specification(self, dataset: str, model: str, scaling: str, device: str) -> dict[str, Any]:
        """Return what a backbone's cached features depend on, apart from code, data and weights.

        Names are those of the configuration, and of :func:`histobench.core.recipes.scaling`. Of embeddings of others
        nothing depends on device and scaling, and `input` is None; instead `embeddings` says how they are read.
        """
        spec, image = self.models[model], self.input(dataset, model, scaling)
        names = {"dataset": dataset, "model": model, "scaling": scaling, "device": device}
        if spec.embeddings:
            # A fact that the user fills in, but for STAMP, whose places are in micrometres.
            microns = spec.embeddings.microns_per_pixel if spec.embeddings.format == "stamp" else None
            settings = {"format": spec.embeddings.format, "microns_per_pixel": microns}
            return {"features": names, "embeddings": settings, "input": None}
        reason = "it has no backbone" if spec.application is None else self._unfit_side(spec, image)
        if reason:
            raise HistobenchError(f"features of {model} on {dataset} ({scaling}) cannot be extracted: {reason}")
        return {
            "features": names,
            **self._backend(device),
            "model": self._model(model),
            "input": image,
        }

    def input(self, dataset: str, model: str, scaling: str) -> dict[str, Any]:
        """Return how patches become inputs of a CNN.

        Returns
        -------
        preprocessing : see :class:`histobench.core.catalogue.Model`; "unit" is x / 255, the scaling "paper".
        side : height and width in pixels, to which patches of another size are resized.
        """
        recipe = next(recipe for recipe in self.recipes.values() if recipes.scaling(recipe) == scaling)
        preprocessing = "unit" if recipe["input_scaling"] == "paper" else self.models[model].preprocessing
        return {
            "preprocessing": preprocessing,
            "side": recipe.get("resize") or self.datasets[dataset].source.patch_size,
        }

    def weights_files(self) -> dict[str, Remote]:
        """Return the weights files of all models, by file name."""
        files: dict[str, Remote] = {}
        for model in self.models.values():
            if model.weights is None or model.weights_file is None:
                continue
            if files.setdefault(model.weights_file, model.weights) != model.weights:
                raise HistobenchError(
                    f"configuration: two models name different weights files called {model.weights_file!r}; "
                    f"rename one, for instance {model.key}-{model.weights_file}"
                )
        return files

    def _check_names(self) -> None:
        """Refuse two models of one name in print: tables and figures would take them for one."""
        keys: dict[str, str] = {}
        for key in dict.fromkeys(cell.model for cell in self.cells):
            name = self.models[key].name
            if keys.setdefault(name, key) != key:
                raise HistobenchError(
                    f"configuration: models {keys[name]} and {key} are both called {name!r} in print; give one of them "
                    f"another name, for instance models.{key}.name: {key}"
                )

    def _unfit_side(self, model: catalogue.Model, image: Mapping[str, Any]) -> str | None:
        side, multiple = image["side"], model.side_multiple
        if side < model.smallest_input:
            return f"it needs patches of at least {model.smallest_input} px, not of {side} px; see `resize`"
        if side % multiple:
            return f"it needs patches of a multiple of {multiple} px, not of {side} px; see `resize`"
        return None

    def _model(self, key: str, *, pretrained: bool = True) -> dict[str, Any]:
        model = self.models[key]
        if not pretrained:
            model = replace(model, weights=None, weights_run=None, weights_origin="scratch")
        spec = {field: getattr(model, field) for field in ("key", "application", "weights_origin")}
        if pretrained and model.weights_run:
            spec["weights_head"] = list(recipes.dense(self.recipes[model.weights_run.recipe]))
        return spec

    def _dataset(self, name: str, block: Mapping[str, Any]) -> Dataset:
        source = named(f"datasets.{name}.source", block["source"], self.sources)
        split, where = block.get("split", "published"), f"configuration: datasets.{name}"
        if drawn := sorted({"train_fraction", "train_groups", "seed"} & set(block)):
            raise HistobenchError(f"{where}: {', '.join(drawn)} is for a data set with `subset_of`")
        if not isinstance(split, str):
            if "folds" in split and split["by"] != "group":
                raise HistobenchError(f"{where}.split: folds are drawn by group; say `by: group`")
            if "folds" not in split:
                total = split["train"] + split["valid"] + split["test"]
                if abs(total - 1) > 1e-9:
                    raise HistobenchError(f"{where}.split: the fractions sum to {total:g}, not to 1")
            if not FORMATS[source.format].can_be_split:
                raise HistobenchError(
                    f"{where}.split: {source.format} is split by its files; only `published` is possible"
                )
        return Dataset(name, source, split)

    def _subset(self, name: str, block: Mapping[str, Any]) -> Dataset:
        """Return a data set that trains on a part of another's training patches."""
        where = f"configuration: datasets.{name}"
        whole: Dataset = named(f"datasets.{name}.subset_of", block["subset_of"], self.datasets)
        if whole.selection is not None:
            raise HistobenchError(
                f"{where}.subset_of: {whole.name} is a subset itself; name {whole.selection.of}, of which it is one"
            )
        if "split" in block:
            raise HistobenchError(f"{where}: its split is that of {whole.name}; leave out `split`")
        if ("train_fraction" in block) == ("train_groups" in block):
            raise HistobenchError(f"{where}: expected one of `train_fraction` and `train_groups`")
        selection = Selection(
            whole.name,
            train_fraction=block.get("train_fraction"),
            train_groups=block.get("train_groups"),
            subset_seed=block.get("seed"),
        )
        return Dataset(name, whole.source, whole.split, selection)

    def microns_per_pixel(self, dataset: str) -> float | None:
        """Return how many micrometres of the slide a pixel of a data set's patches shows; None if nobody has said."""
        source = self.datasets[dataset].source
        return self._microns[source.name] or scale.MICRONS_PER_PIXEL.get(source.format)

    def gathered(self, dataset: str) -> bool:
        """Say whether results on a data set are gathered from runs on others: its folds, or a subset for each seed."""
        selection = self.datasets[dataset].selection
        if selection is None:
            return bool(self.datasets[dataset].folds)
        return not selection.fold and (bool(self.datasets[selection.of].folds) or selection.subset_seed is None)

    def subset_of(self, dataset: str) -> str:
        """Return the data set of whose training patches a data set of the configuration has a part, "" for none."""
        selection = self.datasets[dataset].selection
        return selection.of if selection else ""

    def trained(self, run: Run) -> tuple[Run, ...]:
        """Return the runs that are trained for a result: itself, those on folds, those whose scores are averaged."""
        average = self.averages.get(run.recipe)
        own = replace(run, recipe=average.recipe) if average else run
        return tuple(itertools.chain.from_iterable(map(self.trained, self.members(run)))) or (own,)

    def members(self, run: Run) -> tuple[Run, ...]:
        """Return the results that a result is made of: one for each cell, seed or fold; none for any other."""
        if run.mode == ENSEMBLE:
            return tuple(Run(**vars(each.on(run.dataset)), seed=run.seed) for each in self.ensembles[run.model])
        average = self.averages.get(run.recipe)
        if average and averaged.SEEDS in average.kinds:
            seeds = self.cells[replace(run, recipe=average.recipe).cell]
            return tuple(replace(run, recipe=average.of_each_seed, seed=seed) for seed in seeds)
        if self.gathered(run.dataset):
            return tuple(replace(run, dataset=name) for name in self._selected(run.dataset, run.seed))
        return ()

    def _turned(self, run: Run) -> tuple[Run, ...]:
        """Return the results behind a result that are scored on flipped and turned patches."""
        if members := self.members(run):
            return tuple(itertools.chain.from_iterable(map(self._turned, members)))
        return (run,) if run.recipe in self.averages else ()

    def stored(self, dataset: str) -> str:
        """Return the data set whose records and features a data set uses."""
        selection = self.datasets[dataset].selection
        return selection.of if selection else dataset

    def drawn_anew(self, dataset: str) -> bool:
        """Say whether each seed draws folds, or a part of the training patches, of its own."""
        of, split = self.datasets[dataset], self.datasets[self.stored(dataset)].split
        folds = not isinstance(split, str) and "folds" in split and "seed" not in split
        return folds or bool(of.subset_by and of.selection and of.selection.subset_seed is None)

    def _selected(self, dataset: str, seed: int) -> list[str]:
        """Return the data sets that runs of a seed are trained on for the results on a data set."""
        if not self.gathered(dataset):
            return [dataset]
        of = self.datasets[dataset]
        whole = self.datasets[self.stored(dataset)]
        selection = of.selection or Selection(whole.name)
        split_seed = whole.split.get("seed") if not isinstance(whole.split, str) else None
        own = self.drawn_anew(dataset)
        if of.subset_by and selection.subset_seed is None:
            selection = replace(selection, subset_seed=seed)
        names = []
        for fold in range(1, whole.folds + 1) if whole.folds else (0,):
            name = dataset + (f".seed-{seed}" if own else "") + (f".fold-{fold}" if fold else "")
            chosen = selection
            if fold:
                drawn_by = seed if split_seed is None else split_seed
                chosen = replace(selection, folds=whole.folds, fold=fold, split_seed=drawn_by)
            found = Dataset(name, of.source, of.split, chosen)
            if self.datasets.setdefault(name, found) != found:
                raise HistobenchError(
                    f"configuration: datasets.{name}: this name is that of a part of {dataset}; choose another"
                )
            names.append(name)
        return names

    def _add_averages(self, asked: Mapping[Cell, set[str]]) -> None:
        """Put the cells of averages that the matrix asks for behind those that they are of."""
        trained, self.cells = self.cells, {}
        for cell, seeds in trained.items():
            self.cells[cell] = seeds
            for kinds in averaged.combinations(asked[cell]):
                average = averaged.Averaged(cell.recipe, kinds)
                if average.name in self.recipes and average.name not in self.averages:
                    raise HistobenchError(
                        f"configuration: recipes.{average.name}: this name is that of an average of {cell.recipe} "
                        "(`average_scores`); choose another"
                    )
                # What it is compared with is the recipe itself.
                recipe = {key: value for key, value in self.recipes[cell.recipe].items() if key != "tuned_from"}
                self.averages[average.name] = average
                self.recipes[average.name] = recipe | {"average_scores": list(kinds)}
                found = replace(cell, recipe=average.name)
                reason = self.why_not(found)
                if not reason and averaged.SEEDS in kinds and len(seeds) < 2:
                    reason = "it has one seed, of which there is nothing to average"
                if reason:
                    self.left_out[found] = reason
                self.cells[found] = [min(seeds)] if averaged.SEEDS in kinds else list(seeds)

    def _add_ensemble(self, name: str, members: tuple[averaged.Member, ...]) -> None:
        """Put an ensemble behind the cells of the matrix, for each data set on which it has all of its members."""
        where = f"configuration: ensembles.{name}"
        if name in self.models:
            raise HistobenchError(f"{where}: a model has this name; choose another")
        if ENSEMBLE in self.recipes and ENSEMBLE not in self.averages:
            raise HistobenchError(f"configuration: recipes.{ENSEMBLE}: this name is that of ensembles; choose another")
        if len(set(members)) < len(members):
            raise HistobenchError(f"{where}: a cell stands there twice")
        if foreign := [str(each) for each in members if each.mode == ENSEMBLE]:
            raise HistobenchError(f"{where}: {foreign[0]} is an ensemble itself; name the cells that it is of")
        datasets = list(dict.fromkeys(cell.dataset for cell in self.cells))
        lacking = {dataset: [each for each in members if each.on(dataset) not in self.cells] for dataset in datasets}
        if all(lacking.values()):
            nearest_dataset = min(datasets, key=lambda dataset: len(lacking[dataset]))
            raise HistobenchError(
                f"{where}: the matrix has all of its cells on no data set; on {nearest_dataset} it lacks "
                f"{', '.join(map(str, lacking[nearest_dataset]))}"
            )
        self.ensembles[name] = members
        self.models[name] = catalogue.Model(name, name, smallest_input=1)
        # What rules ask of any recipe; nothing is trained by it.
        first = self.recipes[members[0].recipe]
        self.averages[ENSEMBLE] = averaged.Averaged(ENSEMBLE, (ENSEMBLE,))
        self.recipes.setdefault(ENSEMBLE, {"epochs": 1, "input_scaling": first["input_scaling"]})
        for dataset in (dataset for dataset in datasets if not lacking[dataset]):
            cell = Cell(dataset, name, ENSEMBLE, ENSEMBLE, members[0].device)
            seeds = averaged.seeds_in_common(self.cells, (each.on(dataset) for each in members))
            reason = self.why_not(cell) or ("" if seeds else "its cells have no seed in common")
            if reason:
                self.left_out[cell] = reason
            self.cells[cell] = seeds or [min(self.cells[members[0].on(dataset)])]

    def _check_ablation(self) -> None:
        """Refuse steps that the matrix has not got, or that are added to one further below."""
        there: dict[str, set[tuple[str, ...]]] = {}
        for cell in self.cells:
            if cell.mode != ENSEMBLE and not self.timing_only(cell.recipe):
                there.setdefault(f"{cell.mode}/{cell.recipe}", set()).add((cell.dataset, cell.model, cell.device))
        above = set[str]()
        for step, base in self.ablation.items():
            for name in (step, base):
                if name not in there:
                    raise HistobenchError(
                        f"configuration: ablation: expected the mode and the recipe of cells of the matrix with "
                        f"scores, found {name!r}{nearest(name, there)}; known: {', '.join(there)}"
                    )
            if not there[step] & there[base]:
                raise HistobenchError(
                    f"configuration: ablation.{step}: the matrix has it and {base} on no data set for the same model "
                    "and device"
                )
            if base == step or (base in self.ablation and base not in above):
                raise HistobenchError(
                    f"configuration: ablation.{step}: {base}, which it is added to, must stand above it"
                )
            above.add(step)

    def _check_contrasts(self) -> None:
        """Refuse contrasts whose two cells the matrix has on no data set."""
        scored = {cell for cell in self.cells if not self.timing_only(cell.recipe)}
        datasets = {cell.dataset for cell in scored}
        names = {averaged.Member.of(cell) for cell in scored}
        for pair in self.contrasts:
            if unknown := [each for each in pair if each not in names]:
                raise HistobenchError(
                    f"configuration: contrasts: expected cells of the matrix with scores, found '{unknown[0]}'"
                    f"{nearest(str(unknown[0]), map(str, names))}"
                )
            if not any(all(each.on(dataset) in scored for each in pair) for dataset in datasets):
                raise HistobenchError(
                    f"configuration: contrasts: the matrix has {pair[0]} and {pair[1]} on no data set together"
                )

    def _expand(self, number: int, block: Mapping[str, Any]) -> Iterator[Cell]:
        """Add the cells of a block of the matrix, and yield them."""
        where = f"matrix block {number + 1}"
        known: dict[str, Mapping[str, Any]] = {
            "datasets": self.datasets,
            "models": self.models,
            "modes": TRAINED,
            "recipes": self.recipes,
            "devices": self.devices,
        }
        averages = {
            averaged.Averaged(recipe, kinds).name: (recipe, kinds)
            for recipe in self.recipes
            for kinds in averaged.combinations(averaged.KINDS)
        }
        if asked := [name for name in block["recipes"] if name in averages and name not in self.recipes]:
            recipe, kinds = averages[asked[0]]
            raise HistobenchError(
                f"configuration: {where}, recipes: {asked[0]} is an average, for which nothing is trained; name "
                f"{recipe}, and say `average_scores: [{', '.join(kinds)}]` in the block"
            )
        for key, defined in known.items():
            for name in block[key]:
                named(f"{where}, {key}", name, defined)
        for name in block.get("external", ()):
            named(f"{where}, external", name, self.datasets)
            if whole := self.subset_of(name):
                raise HistobenchError(
                    f"configuration: {where}, external: {name} has the test patches of {whole}; name {whole} instead"
                )
        for cell in itertools.starmap(Cell, itertools.product(*(block[key] for key in known))):
            if reason := self.why_not(cell):
                self.left_out[cell] = reason
            seeds = self.cells.setdefault(cell, [])
            seeds += [seed for seed in block["seeds"] if seed not in seeds]
            yield cell


def content_of_embeddings(
    kind: str,
    path: str,
    place: Callable[[str], str] = str,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Return a digest of the files of a table of embeddings.

    Parameters
    ----------
    kind : one of :data:`histobench.core.embeddings.FORMATS`.
    path : of the table.
    place : returns where a file of the results lies.
    say : called with a line if many files are to be read.

    Raises
    ------
    HistobenchError
        if there is nothing of that format, or a file cannot be read.
    """
    known = paths.EMBEDDINGS_DIGESTS.format(path=hashlib.sha256(path.encode()).hexdigest()[:16])
    folder, names = embeddings.files(kind, Path(path))
    return source_files.content(folder, Path(place(known)), say, names)


def _is_integer(_: Any, value: Any) -> bool:
    """JSON Schema would take 1.0 for an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    """JSON Schema would take NaN and infinity for numbers."""
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number})
Validator = validators.extend(Draft202012Validator, type_checker=TYPES)  # type: ignore[no-untyped-call]


def _without_nulls(value: Any) -> Any:
    """Return a configuration without its keys that are null, by which an overlay takes away what stands below it."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    if wrong := list(_keys_that_are_no_text(config, "top level")):
        raise HistobenchError("\n".join(wrong))
    # A null takes away a key that may stand there, in whichever case; one that never may is a slip.
    unknown = [error for error in Validator(schema).iter_errors(config) if _is_unknown_in_any_case(error)]
    found = [*unknown, *Validator(schema).iter_errors(_without_nulls(config))]
    if errors := sorted(found, key=lambda error: list(map(str, error.path))):
        lines = dict.fromkeys(line for error in errors for line in _explain(error))
        raise HistobenchError("\n".join(f"configuration: {line}" for line in lines))


def _is_unknown_in_any_case(error: ValidationError) -> bool:
    return error.validator == "additionalProperties" and not {"then", "else"} & set(error.absolute_schema_path)


def check_keys(path: Path) -> None:
    """Refuse a file that has a key twice: of these, YAML takes the last without a word.

    It must be one that Snakemake has read.
    """

    def check(node: yaml.Node | None, where: str) -> None:
        if isinstance(node, yaml.SequenceNode):
            for each in node.value:
                check(each, where)
        if not isinstance(node, yaml.MappingNode):
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if lines.setdefault(name, line) != line:
                raise HistobenchError(
                    f"{path}, line {line}: {where}{name} stands in line {lines[name]} already; keep one of them, or "
                    "put their lines together"
                )
            check(value, f"{where}{name}.")

    check(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), "")


def _keys_that_are_no_text(value: Any, where: str) -> Iterator[str]:
    for key, each in value.items() if isinstance(value, Mapping) else ():
        if not isinstance(key, str):
            yield f"configuration: {where}: the key {key!r} is not text; write it in quotes"
        yield from _keys_that_are_no_text(each, str(key))


def _of_another_type(value: Any, expected: Any) -> str:
    """Return what a value of another type than expected was meant as, and how to write that, "" where it is clear."""
    types = {expected} if isinstance(expected, str) else set(expected)
    if value is None:
        return ": nothing stands there"
    if isinstance(value, str):
        if types & {"integer", "number"} and (hint := number_as_text(value)):
            return hint
        if "boolean" in types and value.lower() in ("true", "false", "yes", "no", "on", "off"):
            return AS_TEXT.format("true or false")
        if types == {"array"} and value[:1] not in ("{", "["):
            return f": write it as a list, [{value}]"
        if types & {"object", "array"} and value[:1] in ("{", "["):
            return ", but text: its braces or quotes don't match, or text in it needs quotes"
    elif types == {"string"} and not isinstance(value, list | Mapping):
        return ": write it in quotes, by which YAML knows it for text"
    return ""


def _place(path: Iterable[str | int]) -> str:
    """Return where something stands in the configuration: blocks of the matrix, and items of lists, count from 1."""
    place, joint = "", ""
    for key in path:
        if isinstance(key, int):
            kind, apart = "block" if place == "matrix" else "item", joint if joint == ", " else " "
            place, joint = f"{place}{apart}{kind} {key + 1}", ", "
        else:
            place, joint = f"{place}{joint}{key}", "."
    return place or "top level"


# Keywords of a schema that say less of what is expected than its description does, if it has one.
SAID_BY_DESCRIPTION = ("pattern", "const", "required", "minItems", "maxItems", "uniqueItems")


def _explain(error: ValidationError) -> Iterator[str]:
    where = _place(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        known, found = error.schema.get("properties", {}), error.instance
        for key in sorted(set(found) - set(known) if isinstance(found, Mapping) else ()):
            start, dot, _ = key.partition(".")
            meant = f"; {start} is a mapping of its own: write a line for each level" if dot and start in known else ""
            yield f"{where}: unknown key {key!r}{meant or nearest(key, known)}; known keys: {', '.join(known)}"
    elif error.validator in SAID_BY_DESCRIPTION and isinstance(error.schema, Mapping) and "description" in error.schema:
        yield f"{where}: expected {error.schema['description']}; found {error.instance!r}"
    elif error.validator in ("exclusiveMinimum", "exclusiveMaximum"):
        side = "above" if error.validator == "exclusiveMinimum" else "below"
        yield f"{where}: expected a number {side} {error.validator_value:g}, found {error.instance!r}"
    elif error.validator == "type":
        yield f"{where}: {error.message}{_of_another_type(error.instance, error.validator_value)}"
    elif error.validator == "oneOf" and error.context and isinstance(error.schema, Mapping):
        # The branch that fits best says more than "not valid under any of the given schemas".
        unlikely = {"const": 0, "type": 1, "additionalProperties": 2}
        best = max(error.context, key=lambda each: (len(each.path), unlikely.get(str(each.validator), 3)))
        if best.validator in ("const", "type") and not best.path:
            yield f"{where}: expected {error.schema['description']}, found {error.instance!r}"
        else:
            yield from _explain(best)
    else:
        yield f"{where}: {error.message}"
