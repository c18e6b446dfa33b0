"""What can be wrong with labels, with a head, or with the data they meet."""


class LabelsError(ValueError):
    """A table of labels that cannot be used; one line that says which row or class and what to do."""


class HeadError(ValueError):
    """A head that cannot be trained, loaded or used as asked; one line that says why and what to do."""
