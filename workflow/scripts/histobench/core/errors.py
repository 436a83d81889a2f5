"""The one exception that is meant for users."""


class HistobenchError(Exception):
    """Something that a user can mend.

    Its message names the file and the item, what was expected, what was found and what to do. Scripts print it without
    a traceback.
    """
