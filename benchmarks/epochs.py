"""What an epoch costs on a CPU, beside another version of the workflow, in one run.

    git clone . ../before && git -C ../before checkout v0.9.0
    .venv/bin/python benchmarks/epochs.py --before ../before

The patches are made up and the weights random: neither changes what a step costs. Both versions do each case in turn,
in processes of their own, as jobs of the workflow do; of an epoch's seconds the least over all epochs but the first
counts. Without --before this version is measured alone.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

SIDE = 96  # of PCam's patches

# The work of a case in a version: a Python of its own, whose path leads to that version.
JOB = """
import json, sys, time
from pathlib import Path
from histobench.core import job
job.pin({threads}, "")
from support import small
from histobench.core.job import Task
from histobench.train import extract, run
what, folder, recipe = json.loads(sys.argv[1])
data, target = Path(folder, "data-%d" % what["patches"]), Path(folder, what["name"])
if not data.exists():
    small.prepare(data, {{"train": what["patches"], "valid": 32, "test": 32}}, ({side}, {side}, 3))
if what["mode"] == "extract":
    spec = small.features_specification(what["model"], side={side})
    extract.extract(Task(spec, data, threads={threads}), target)
else:
    cached = what["mode"] == "cached"
    mode = "tl" if cached else "full"
    spec = small.specification(what["model"], mode, side={side}, batch_size=32, epochs=what["epochs"], **recipe)
    features = Path(folder, "features")
    if cached and not features.exists():
        extract.extract(Task(small.features_specification(what["model"], side={side}), data, threads={threads}),
        features)
    run.train(Task(spec, data, features if cached else None, threads={threads}), target)
"""

CASES: list[dict[str, Any]] = [
    {"name": "b2", "model": "b2", "patches": 1024},
    {"name": "b6", "model": "b6", "patches": 1024},
    {"name": "mobilenet", "model": "mobilenet", "patches": 512},
    {"name": "inceptionv3", "model": "inceptionv3", "patches": 256},
    {"name": "heads", "model": "mobilenet", "patches": 4096, "mode": "cached", "epochs": 6},
    {"name": "extraction", "model": "mobilenet", "patches": 1024, "mode": "extract"},
    {"name": "b2, d4", "model": "b2", "patches": 1024, "recipe": {"augmentation": ["d4"]}},
    {"name": "b2, d4 and stain", "model": "b2", "patches": 1024, "recipe": {"augmentation": ["d4", "stain"]}},
]


def seconds(root: Path, case: dict[str, Any], folder: Path, threads: int) -> float:
    """Return the seconds of an epoch of training, or of the extraction, of a case in the version at `root`."""
    what = {"mode": "full", "epochs": 3} | {key: value for key, value in case.items() if key != "recipe"}
    arguments = json.dumps([what, str(folder), case.get("recipe", {})])
    path = os.pathsep.join(str(root / part) for part in ("workflow/scripts", "tests"))
    command = [sys.executable, "-c", JOB.format(threads=threads, side=SIDE), arguments]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True)
    target = folder / what["name"]
    if what["mode"] == "extract":
        taken = json.loads((target / "features.json").read_text())["extraction_seconds"]["train"]
    else:
        with (target / "timing.csv").open() as file:
            taken = min(float(row["training_seconds"]) for row in list(csv.DictReader(file))[1:])
    shutil.rmtree(target)
    return float(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--cases", nargs="+", default=[case["name"] for case in CASES])
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of patches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    versions = {"before": given.before, "after": common.ROOT} if given.before else {"after": common.ROOT}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case["name"] not in given.cases:
                continue
            scaled = case | {"patches": max(64, int(case["patches"] * given.scale))}
            best = dict.fromkeys(versions, float("inf"))
            for _ in range(given.repeats):
                for name, root in versions.items():
                    Path(folder, name).mkdir(exist_ok=True)
                    taken = seconds(root.resolve(), scaled, Path(folder, name), given.threads)
                    best[name] = min(best[name], taken)
            ratio = f", {best['after'] / best['before']:.3f} of before" if given.before else ""
            told = ", ".join(f"{name} {taken:.3f} s" for name, taken in best.items())
            print(f"{case['name']}, {scaled['patches']} patches: {told}{ratio}", flush=True)


if __name__ == "__main__":
    main()
