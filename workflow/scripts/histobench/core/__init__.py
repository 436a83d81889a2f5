"""Configuration, paths, files and states of jobs. The Snakefile imports it, so it must be quick to import."""
