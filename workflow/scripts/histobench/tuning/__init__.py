"""Searches for hyperparameters, by KerasTuner.

The Snakefile imports `search_settings`, `search_files` and `tuned_recipe`, which import neither Keras nor pandas. Jobs
that make tables and figures import `search_tables`, which needs pandas. The other modules need Keras: `worker` is a job
of a search, `oracle` chooses the trials, `chief` serves them, `client` asks for them, `tuner` trains them and `outputs`
writes the result.
"""
