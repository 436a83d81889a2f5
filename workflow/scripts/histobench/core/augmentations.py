"""The kinds of augmentation that a recipe can name; :mod:`histobench.train.augmentation` says what they do.

They stand apart from :mod:`histobench.core.recipes`, since a new kind must not extract features anew.
"""

# In the order in which they are applied. A kind's place enters its random numbers.
AUGMENTATIONS = (
    "d4", "author-inceptionv3", "author-b6", "stain-light", "stain", "stain-strong", "colour", "blur"
)  # fmt: skip
