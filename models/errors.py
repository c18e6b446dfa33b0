"""The base class of errors that are written for a person."""


class ReelbeamError(Exception):
    """Somebody who is not a programmer can act on this: the message is one line that says what is wrong.

    The command line prints the message without a traceback and exits with code 1.
    """
