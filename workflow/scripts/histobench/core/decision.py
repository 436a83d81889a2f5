"""The decision that a score makes: tumour where it is greater than the threshold, as in Keras's `BinaryAccuracy`."""

THRESHOLD = 0.5
# The key in `metrics.json` of what is computed of these decisions.
AT_THRESHOLD = f"at_{THRESHOLD}"
