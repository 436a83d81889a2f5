"""The exception for errors that a user can correct."""


class HistobenchError(Exception):
    """An error that a user can correct.

    Its message names the file and the item, what was expected, what was found and what to do. Scripts log it without a
    traceback.
    """
