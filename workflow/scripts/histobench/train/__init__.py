"""Training, prediction and feature extraction with Keras."""
