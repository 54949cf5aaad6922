"""Text that somebody else may have written: read only from regular files, within limits of size, depth and numbers.

A bundle, a recipe or a run folder may come by mail or from a shared disk. Reading it must give a value or an
`InputError`: it must not wait for a named pipe, exhaust memory, or raise an error of a library.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from ldctpipe.errors import InputError

LARGEST_TEXT_BYTES = 1 << 30  # the manifest of a cohort of ten thousand series
LARGEST_RECIPE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_DEEPEST = 64
_LARGEST_INTEGER = 1 << 64
_LONGEST_NUMBER = 400  # digits; Python refuses more than 4,300 with an error of its own
_MOST_YAML_NODES = 100_000  # counted as if each alias were written out
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: Path, most_bytes: int | None = None) -> BinaryIO:
    """Return the file at `path`, opened to read bytes.

    Raises `InputError` for anything but a file (a pipe would wait for a writer) or beyond `most_bytes`, and
    `OSError` where it can't be opened.
    """
    require_file(path, most_bytes)
    # Non-blocking: the file may be replaced by a pipe between the two lines.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def require_file(path: Path, most_bytes: int | None = None) -> Path:
    """Return `path`, or raise what `open_file` raises; for libraries that open files themselves."""
    status = path.stat()
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise InputError(path, f"is {kind} where a file should be", "replace it by the file itself")
    if most_bytes is not None and status.st_size > most_bytes:
        raise _too_large(path, most_bytes)
    return path


def read_text(path: Path, most_bytes: int = LARGEST_TEXT_BYTES) -> str:
    """Return the text in `path`; raises what `open_file` raises, and `UnicodeDecodeError` where it is not UTF-8."""
    return read_bytes(path, most_bytes).decode("utf-8")


def read_bytes(path: Path, most_bytes: int = LARGEST_TEXT_BYTES) -> bytearray:
    """Return the content of the file at `path`; raises what `open_file` raises."""
    content = bytearray()
    with open_file(path, most_bytes) as stream:
        # In parts: a file in /proc has no known size, and one read would allocate memory for the whole limit.
        while chunk := stream.read(_CHUNK_BYTES):
            content += chunk
            if len(content) > most_bytes:
                raise _too_large(path, most_bytes)
    return content


def _too_large(path: Path, most_bytes: int) -> InputError:
    size = f"{most_bytes >> 20} MiB" if most_bytes >= 1 << 20 else f"{most_bytes} bytes"
    return InputError(
        path, f"holds more than {size}, far more than such a file should", "check that it is the right file"
    )


def json_of(text: str | bytes) -> Any:
    """Return the JSON value in `text`.

    Raises `ValueError` for anything else: NaN, infinity, whole numbers beyond 64 bits, and more than 64 levels too.
    """
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    _refuse_depth(value)
    return value


def yaml_of(text: str) -> Any:
    """Return the value of a YAML document; tags for anything but plain values are refused.

    Raises `ValueError` for invalid YAML, nesting beyond 64 levels, or aliases that grow beyond bounds.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _refuse_growth(node)
        value = None if node is None else loader.construct_document(node)
    except RecursionError:
        raise _too_deep() from None
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # The library raises the latter for tags over values that don't fit them, such as `!!bool maybe`.
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        if loader is not None:
            loader.dispose()
    _refuse_depth(value)
    return value


def read_yaml(path: Path, most_bytes: int = LARGEST_RECIPE_BYTES) -> Any:
    """Return the value of the YAML file at `path`; raises what `read_text` and `yaml_of` raise."""
    return yaml_of(read_text(path, most_bytes))


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or abs(int(text)) >= _LARGEST_INTEGER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number that is too large")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not valid JSON")


def _too_deep() -> ValueError:
    return ValueError(f"nested more than {_DEEPEST} levels deep")


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for each in level for child in _children(each) if isinstance(child, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


class _Loader(yaml.SafeLoader):
    """Loads plain values alone, to a limited depth, with numbers within 64 bits."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Enter "[" or "{"; raises `ValueError` beyond the depth limit, before the library spends seconds."""
        if self.flow_level > _DEEPEST:
            raise _too_deep()
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        """Enter an indented block; raises `ValueError` beyond the limit."""
        if len(self.indents) > _DEEPEST:
            raise _too_deep()
        return bool(super().add_indent(column))

    def construct_yaml_int(self, node: Any) -> int:
        """Return a whole number; raises `ValueError` beyond 64 bits."""
        if len(str(node.value)) > _LONGEST_NUMBER:
            raise ValueError(f"a number of {len(node.value)} digits")
        number = int(super().construct_yaml_int(node))
        if abs(number) >= _LARGEST_INTEGER:
            raise ValueError(f"a number of {len(node.value)} digits")
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _refuse_growth(root: yaml.Node | None) -> None:
    """Raise `ValueError` if aliases expand to far more than the text: "a billion laughs"."""
    sizes: dict[int, int | None] = {}  # None while a node is being counted

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ValueError("an alias that contains itself")
            return known
        sizes[id(node)] = None
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        children = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        sizes[id(node)] = total = 1 + sum(map(size, children))
        if total > _MOST_YAML_NODES:
            raise ValueError(f"aliases that stand for more than {_MOST_YAML_NODES} values")
        return total

    if root is not None:
        size(root)
