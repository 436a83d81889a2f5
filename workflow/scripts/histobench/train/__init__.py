"""Training, prediction and feature extraction with Keras and TensorFlow."""
