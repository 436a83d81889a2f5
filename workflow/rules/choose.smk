# Needs: runs.csv. Gives: the runs on a data set whose networks a part of the study goes on with, the best one on validation
# patches and those that the configuration names: results/{study}/{part}/runs/{dataset}.csv.


rule choose_runs:
    input:
        runs=f"{RESULTS}/runs.csv",
        cells=f"{RESULTS}/cells.csv",
    output:
        chosen=STUDY.paths.chosen,
    log:
        f"{LOGS}/choose_runs/{{part}}/{{dataset}}.log",
    wildcard_constraints:
        part=one_of(STUDY.chosen),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        best=best_is_chosen,
        named=named_runs,
        networks=folders_of_candidates,
        code=code.digest("choose_runs"),
    script:
        "../scripts/choose_runs.py"
