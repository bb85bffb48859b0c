"""Reading of files of `torch.save` without running code from them.

In: an open file of `torch.save`. Out: its tensors and plain values, with empty dicts in place of other objects.
Next: `lab4_checkpoint.py` finds the weights in them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import torch
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    safe_globals,
)


class _StandIn:
    """Class in place of any other, so that no code of it is run: a dict, which torch gives the items and attributes.

    A complete module has its weights in its attributes.
    """

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class _NumpyStandIn:
    """Class in place of one of numpy, whose state is a tuple."""

    def __init__(self, *_: Any) -> None:
        """Keep nothing."""

    def __setstate__(self, _: Any) -> None:
        """Keep nothing."""


def load_with_stand_ins(file: BinaryIO) -> Any:
    """Return the content of a file of `torch.save`, on the CPU.

    Objects of classes that torch does not load safely become dicts of their attributes; their code is not run. A file
    in the format before torch 1.6 may have no such objects.

    Args:
        file: The file, open at its begin.

    Raises:
        Exception: Almost any, if the file is damaged or could run code.
    """
    is_zip = file.read(4) == b"PK\3\4"
    file.seek(0)
    with _nothing_allowed():
        classes = get_unsafe_globals_in_checkpoint(file) if is_zip else []
        file.seek(0)
        stand_ins: list[Any] = [(_NumpyStandIn if name[:6] == "numpy." else _StandIn, name) for name in classes]
        with safe_globals(stand_ins):
            return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def _nothing_allowed() -> Iterator[None]:
    """Suspend the list of functions and classes that other code in this process allows in files of `torch.save`."""
    allowed = get_safe_globals()
    clear_safe_globals()
    try:
        yield
    finally:
        add_safe_globals(allowed)
