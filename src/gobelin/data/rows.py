"""Rows of data sets as Python has them: what ``pyarrow`` makes of a row of one of the schemas (``schemas.py``)."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""A row of a data set, or of an index between two steps: column -> value; lists and structs are lists and dicts."""
