"""The results wing on the published values alone."""

from support.project import snakemake

TARGET = ("--profile", "profiles/local", "--cores", "1", "--nolock", "paper_check")


def test_it_gives_the_printed_tests_the_claims_and_the_figures(project):
    snakemake(project, *TARGET)
    folder = project / "results/paper_check"
    tests = (folder / "tests.md").read_text(encoding="utf-8")
    for printed in ("-2.5527", "16.285", "0.02108", "-3.5998", "8.4843", "0.006335", "0.0118", "0.0099"):
        assert printed in tests
    assert (folder / "claims.md").read_text(encoding="utf-8").count("does not hold") == 6
    assert {path.suffix for path in folder.glob("auc_*")} == {".svg", ".png"}
    assert not (project / "results/downloads").exists()


def test_it_fails_where_a_printed_test_no_longer_comes_out(project):
    table = project / "config/paper/table3.csv"
    table.write_text(table.read_text().replace("vgg19,full,0.43,0.86,0.95", "vgg19,full,0.43,0.86,0.94"))
    done = snakemake(project, *TARGET, check=False)
    assert done.returncode
    assert "Welch's test on PCam: expected" in done.stdout
    assert "-2.5527" in done.stdout
