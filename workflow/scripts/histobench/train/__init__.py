"""Keras and TensorFlow: from records to trained weights and predictions."""
