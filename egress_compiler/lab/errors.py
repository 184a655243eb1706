"""The one exception of the lab."""


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what would help. Nothing is left half done."""
