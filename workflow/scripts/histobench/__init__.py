"""Train, tune and compare CNNs on breast-cancer histology patches.

:mod:`histobench.core` is what every job and the Snakefile import: it imports no TensorFlow, pandas or matplotlib at
import time. :mod:`histobench.train` uses Keras, :mod:`histobench.results` pandas, scikit-learn and matplotlib. These
two never import each other: they meet in the run folder.
"""
