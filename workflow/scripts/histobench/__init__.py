"""Train, tune and compare CNNs on breast-cancer histology patches.

:mod:`histobench.core` is imported by the Snakefile and by every job, and imports neither TensorFlow nor pandas nor
matplotlib. :mod:`histobench.train` uses Keras; :mod:`histobench.results` uses pandas, scikit-learn and matplotlib.
These two never import each other; files of the run folder connect them. :mod:`histobench.tuning` has modules of each
kind.
"""
