"""What a plan costs: seconds of `snakemake -n` of a study of thousands of jobs, beside as many jobs of trivial rules.

    .venv/bin/python benchmarks/dry_run.py --seeds 80

The study is all models, both modes and three data sets by the paper's recipe on one device; 80 seeds are 15,000 jobs.
The trivial rules are Snakemake's own minimum: of each job one input and one output, nothing that is a
function. Both are the processor's seconds, the least of several rounds.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT

TRIVIAL = """
rule all:
    input: expand("out/{job}/c", job=range(int(config["chains"])))
rule a:
    output: "out/{job}/a"
    shell: "touch {output}"
rule b:
    input: "out/{job}/a"
    output: "out/{job}/b"
    shell: "touch {output}"
rule c:
    input: "out/{job}/b"
    output: "out/{job}/c"
    shell: "touch {output}"
"""
LIBRARY_CNNS = ("inceptionv3", "vgg19", "resnet50", "mobilenet", "densenet121", "densenet169", "densenet201")
EFFICIENTNETS = ("efficientnetv2b0", "efficientnetv2b1", "efficientnetv2b2")


def study(seeds: int) -> str:
    """Return the overlay of a study with so many runs of each cell."""
    block = {
        "datasets": ["pcam", "idc", "idc-random"],
        "models": ["b2", "b6", *LIBRARY_CNNS, *EFFICIENTNETS],
        "modes": ["tl", "full"],
        "recipes": ["paper"],
        "devices": ["a100"],
        "seeds": list(range(1, 1 + seeds)),
    }
    return json.dumps({"study": "large", "matrix": [block]})  # which is YAML, too


def plan(folder: Path, *options: str) -> tuple[int, float]:
    """Return the number of jobs that a dry run finds, and the processor's seconds that it takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *options],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)[1]), seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=80, help="of every cell")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--projects", type=Path, nargs="+", default=[ROOT], help="clones to plan it with, side by side")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(study(given.seeds))
        (folder / "trivial.smk").write_text(TRIVIAL)
        ours = {project: (0, float("inf")) for project in given.projects}
        for _ in range(given.rounds):
            for project, (_, least) in ours.items():
                jobs, seconds = plan(project, "--configfile", str(folder / "study.yaml"), "--directory", name)
                ours[project] = jobs, min(least, seconds)
        chains = max(jobs for jobs, _ in ours.values()) // 3
        rounds = [
            plan(folder, "--snakefile", "trivial.smk", "--config", f"chains={chains}") for _ in range(given.rounds)
        ]
        trivial_jobs, trivial = min(rounds)
    print(f"{trivial_jobs} jobs of trivial rules: {trivial:.1f} s, {1000 * trivial / trivial_jobs:.2f} ms a job")
    for project, (jobs, seconds) in ours.items():
        named = f" by {os.path.relpath(project)}" if len(ours) > 1 else ""
        print(f"{jobs} jobs of the study{named}: {seconds:.1f} s, {1000 * seconds / jobs:.2f} ms a job")
        print(f"the study takes {seconds / jobs / (trivial / trivial_jobs):.2f} times as long as trivial rules, by job")


if __name__ == "__main__":
    main()
