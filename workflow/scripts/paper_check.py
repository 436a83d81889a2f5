"""Rule `paper_check`: the paper's tests, claims, and Figures 3 and 4, from its printed tables alone."""

from histobench import job

with job.start(snakemake):
    from pathlib import Path

    from histobench.results import claims, paper, tables
    from histobench.results.figures import modes, size, style

    published = paper.read(Path(snakemake.input[0]).parent)
    folder = Path(snakemake.output[0]).parent
    note = (
        "Published values alone: Bonnet 2024, Tables 1 to 4. Nothing was measured by us; depth in layers is our count."
    )

    tests = paper.tests(published)
    tables.write(tests, folder / "tests", "Transfer learning against full training", [note, *paper.TEST_NOTES])
    found = claims.check(claims.of_the_paper(published, snakemake.params.names))
    tables.write(found, folder / "claims", "Claims of the paper", [note, claims.ROUNDING])

    frame = paper.for_figures(published, snakemake.params.names)
    style.save(size.auc_against_size(frame[frame["mode"] == "full"]), folder / "auc_against_size", [note])
    style.save(modes.auc_by_mode(frame), folder / "auc_by_mode", [note])
    paper.check_tests(tests, published)
