"""Train, tune and compare CNNs on breast-cancer histology patches.

The ground floor (the modules here and in :mod:`histobench.datasets`) is cheap to import: the Snakefile uses it, so it
imports no TensorFlow, pandas or matplotlib at import time. :mod:`histobench.train` is the Keras side,
:mod:`histobench.results` the statistics side. Neither wing imports the other: they meet in the run folder.
"""
