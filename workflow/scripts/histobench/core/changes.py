"""Names of changes of patches that share a row of the table; :mod:`histobench.train.changes` makes them."""

UNCHANGED = "unchanged"
# In the order of the numbers of the augmentation "d4", of which 0 changes nothing.
FLIPS_AND_TURNS = (
    *("flipped top to bottom", "flipped left to right", "turned upside down", "flipped along the diagonal"),
    *("turned to the right", "turned to the left", "flipped along the other diagonal"),
)
