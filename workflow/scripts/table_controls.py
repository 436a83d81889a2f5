"""Rule `table_controls`: colour floor and shuffled-label control of every data set."""

from histobench.core import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import collect, tables
    from histobench.results.announcements import announcements

    runs, cells = (collect.read(Path(path)) for path in (snakemake.input.runs, snakemake.input.cells))
    tables.write(
        collect.controls(
            snakemake.params.datasets,
            [Path(path) for path in snakemake.input.metrics],
            [Path(path) for path in snakemake.input.shuffled],
        ),
        Path(snakemake.output.html).with_suffix(""),
        f"Floor and control on the test set, study {snakemake.params.study}",
        announcements(runs, cells),
        [
            "Colour floor: logistic regression on the mean and standard deviation of each patch's red, green and blue.",
            "Shuffled labels: the same classifier trained on permuted labels; the interval, over permutations, must "
            "hold 0.5, or the evaluation leaks labels.",
        ],
    )
