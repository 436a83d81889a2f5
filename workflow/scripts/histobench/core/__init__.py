"""Configuration, paths, files and states of jobs: imported by the Snakefile, so quick to import."""
