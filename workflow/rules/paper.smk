# Needs: the published values alone. Gives: results/paper_check, what the results wing makes of them; see `make paper_check`.

PAPER_CHECK = "results/paper_check"
PAPER_FILES = sorted(str(path) for path in Path("config/paper").glob("*.csv"))


rule paper_check:
    input:
        ancient(PAPER_FILES),  # by their content, below: a fresh clone's dates say nothing
    output:
        multiext(f"{PAPER_CHECK}/tests", ".csv", ".md", ".html"),
        multiext(f"{PAPER_CHECK}/claims", ".csv", ".md", ".html"),
        multiext(f"{PAPER_CHECK}/auc_against_size", ".svg", ".png"),
        multiext(f"{PAPER_CHECK}/auc_by_mode", ".svg", ".png"),
    log:
        "results/logs/paper_check.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        published=[file_digest(path) for path in PAPER_FILES],
        names={key: model.name for key, model in STUDY.models.items()},
        code=code.digest(
            "paper_check",
            "results/paper",
            "results/statistics",
            "results/claims",
            "results/metrics",
            "results/tables",
            "results/figures/size",
            "results/figures/modes",
            "results/figures/style",
        ),
    script:
        "../scripts/paper_check.py"
