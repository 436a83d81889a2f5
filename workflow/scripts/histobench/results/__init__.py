"""From run folders to what a paper prints: pandas, scikit-learn, scipy and matplotlib, never TensorFlow."""
