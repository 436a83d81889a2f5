"""The search for hyperparameters, by KerasTuner."""
