"""Searches for hyperparameters, by KerasTuner. Which module imports what stands in docs/architecture.md."""
