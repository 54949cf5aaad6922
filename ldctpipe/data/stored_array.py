"""Arrays and tables of a training store that somebody else may have written: checked before memory is taken."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ldctpipe.foreign import require_file

_MOST_ROWS = 10**7
_MOST_COLUMNS = 1000
# What numpy raises for an invalid header; the last ones come from parsing it as Python literals.
_DAMAGED = (ValueError, EOFError, TypeError, OverflowError, LookupError, MemoryError, SyntaxError, RecursionError)


def read_array(path: Path, shape: tuple[int | None, ...]) -> npt.NDArray[np.int16]:
    """Return the int16 array in `path`, memory-mapped; None in `shape` stands for any length.

    Nothing in it is executed. Raises `ValueError` for another array, or where the file holds less than its header says,
    and `InputError` or `OSError` for what is no file.
    """
    require_file(path)
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (*_DAMAGED, TokenError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.int16:
        raise ValueError(f"{path.name} does not hold int16")
    fits = [wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=False)]
    if array.ndim != len(shape) or not all(fits):
        raise ValueError(f"{path.name} has the shape {array.shape}")
    return array


def read_table(path: Path, kinds: dict[str, str], optional: dict[str, str]) -> pd.DataFrame:
    """Return the Parquet table in `path`, whose columns have at least these kinds of values (numpy's letters).

    Those of `optional` may be missing. Raises `ValueError` for another table, and `InputError` or `OSError` for what is
    no file.
    """
    import pyarrow.parquet  # what only prepares a store needs none of it

    require_file(path)
    try:
        about = pyarrow.parquet.read_metadata(path)
        if about.num_rows > _MOST_ROWS or about.num_columns > _MOST_COLUMNS:
            raise ValueError("it is too large")
        table = pd.read_parquet(path)
    except (pyarrow.ArrowException, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())[:200]}") from None
    for name, kind in kinds.items():
        if name not in table:
            raise ValueError(f"{path.name} has no column {name}")
        if pd.isna(table[name]).any() or not _is_of(table[name], kind):
            raise ValueError(f"{path.name} has values of another type in its column {name}")
    for name, kind in optional.items():
        if name in table and not _is_of(table[name], kind):
            raise ValueError(f"{path.name} has values of another type in its column {name}")
    return table


def _is_of(column: pd.Series[Any], kind: str) -> bool:
    if kind == "U":
        return all(isinstance(value, str) for value in column)
    return column.dtype.kind in kind
