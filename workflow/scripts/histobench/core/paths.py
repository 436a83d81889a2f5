"""Where results lie, relative to the working directory.

Names in braces are wildcards of Snakemake. :func:`of` fills them in.
"""

from pathlib import Path
from typing import Any

RESULTS = "results"
AUDIT_FILES = ("audit.json", "duplicates.csv", "near_duplicates.csv")
DATA = f"{RESULTS}/data/{{dataset}}"
# What the audit of a data set finds: counts, patches that others equal or show in part, pairs of such.
AUDIT, DUPLICATES, NEAR_DUPLICATES = (f"{DATA}/{name}" for name in AUDIT_FILES)
DOWNLOADS = f"{RESULTS}/downloads/{{source}}"
# What is known of the files of a source of one's own, which lie elsewhere.
SOURCE_DIGESTS = f"{RESULTS}/downloads/.digests/{{source}}.json"
# The same of embeddings of others, by a digest of their path.
EMBEDDINGS_DIGESTS = f"{RESULTS}/downloads/.digests/embeddings/{{path}}.json"
SIMULATED = f"{RESULTS}/simulated/{{source}}"
SIMULATED_SLIDE = f"{RESULTS}/simulated/slides/simulated-{{seed}}.tif"
WEIGHTS = f"{RESULTS}/downloads/weights"
LOGS = f"{RESULTS}/logs"
# What else stands in RESULTS or LOGS: a study of such a name would write among it. SLURM's logs are placed by profiles.
RESERVED = (
    *("data", "downloads", "simulated", "logs", "slurm", "README.md"),
    *("download", "prepare", "select", "audit", "simulate"),
)

CELL = "{dataset}/{model}/{mode}/{recipe}/{device}"
RUN = f"{CELL}/seed-{{seed}}"


class StudyPaths:
    """Where the results of a study lie.

    Attributes
    ----------
    results, logs, tables, figures : folders of the study.
    configuration : file with its configuration, as it was when it started.
    requests : file with resources for a profile, by what finished jobs took.
    run, run_log : folders of a run and of its logs.
    features : folder with the cached features of a backbone.
    search, search_log : folders of a search for hyperparameters and of its logs.
    external, external_log : folders of what a run scores on the test patches of another data set, and of its logs.
    controls : folder with the colour floor and the shuffled-label control of a data set.
    errors, heatmaps : files with the surest errors on a data set, and with Grad-CAM of them.
    chosen : file with the runs on a data set whose networks a part of the study, a folder of its own, goes on with.
    changed_scores : file with scores of changed patches of a data set.
    model : folder of the exported model of a data set.
    exported : file with what the job that exported it found.
    applied : folder of what an exported model scores; slide : of what it scores on a slide; page : file that shows all.
    """

    def __init__(self, study: str) -> None:
        self.results, self.logs = f"{RESULTS}/{study}", f"{LOGS}/{study}"
        self.tables, self.figures = f"{self.results}/tables", f"{self.results}/figures"
        self.configuration = f"{self.results}/study.json"
        self.requests = f"{self.results}/set-resources.yaml"
        self.run, self.run_log = f"{self.results}/runs/{RUN}", f"{self.logs}/{RUN}"
        self.features = f"{self.results}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}"
        self.search, self.search_log = f"{self.results}/searches/{CELL}", f"{self.logs}/searches/{CELL}"
        elsewhere = f"{{tested_on}}/{RUN}"
        self.external, self.external_log = f"{self.results}/external/{elsewhere}", f"{self.logs}/external/{elsewhere}"
        self.controls = f"{self.results}/controls/{{dataset}}"
        self.errors, self.heatmaps = f"{self.results}/errors/{{dataset}}.csv", f"{self.results}/explain/{{dataset}}.npz"
        self.chosen = f"{self.results}/{{part}}/runs/{{dataset}}.csv"
        self.changed_scores = f"{self.results}/robustness/{{dataset}}.csv"
        self.page = f"{self.results}/apply/{{applied}}/index.html"
        self.applied = f"{self.results}/apply/{{applied}}/{{device}}"
        self.slide = f"{self.applied}/{{slide}}"
        self.model, self.exported = (
            f"{self.results}/models/{{dataset}}",
            f"{self.results}/models/exported/{{dataset}}.json",
        )


def of(path: str, names: Any = None, **more: str) -> Path:
    """Return a path with its wildcards filled in, by the attributes of `names`, such as a run, and by `more`."""
    return Path(path.format(**(vars(names) if names is not None else {}), **more))
