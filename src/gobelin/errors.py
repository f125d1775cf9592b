"""Errors that are meant for people.

The command line shows a ``UserError`` as one line and ends with exit code 2. Any other exception is a defect of
gobelin: it ends with exit code 1 and says where the traceback lies. So whoever raises one of these has checked what
was given.
"""

from __future__ import annotations


class UserError(ValueError):
    """What was given cannot be used; the message says what it is, why, and what to do."""


class DataError(UserError):
    """A data set is not what it should be; the message names the file or folder."""


class MissingDataError(DataError):
    """A data set that should be there is not, or not all of it; the message names its folder."""
