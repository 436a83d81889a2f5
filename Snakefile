# The workflow stands in workflow/Snakefile; this file lets `snakemake` find it from the repository's root.
include: "workflow/Snakefile"


# An include never sets the default target, and `all` stands in the included file.
rule default:
    default_target: True
    input:
        rules.all.input,
