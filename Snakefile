# The workflow stands in workflow/Snakefile. Snakemake, started from another folder with `--snakefile`, looks for
# profiles/default beside the Snakefile that it is given: this one.
include: "workflow/Snakefile"


# An include never sets the default target, and `all` stands in the included file.
rule default:
    default_target: True
    input:
        rules.all.input,
