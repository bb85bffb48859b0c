"""Errors that the user can correct, and findings about a data set.

Raised anywhere, caught once: `cli/main.py` turns an `InputError` into exit status 2 and one sentence on stderr.
"""

import reprlib
from dataclasses import dataclass


class InputError(ValueError):
    """Wrong input by the user; the message says what was found, what was expected and what to do."""


class TrainingFailed(RuntimeError):
    """Training that cannot continue, although no input is known to be wrong."""


class InterruptedTraining(RuntimeError):
    """Training stopped by a signal after its state was saved; `signal_number` is SIGINT or SIGTERM."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"Stopped by signal {int(signal_number)}; go on with --resume.")
        self.signal_number = int(signal_number)


@dataclass(frozen=True)
class Finding:
    """An error or a remark about a data set: its kind and one sentence."""

    kind: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))


def join_limited(words: list[str], limit: int = 20) -> str:
    """Join words by commas; after the first `limit` words, say how many more there are."""
    return ", ".join(words[:limit]) + f" and {len(words) - limit} more" * (len(words) > limit)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural; `time` becomes an adverb.

    >>> counted(1, "frame"), counted(2, "frame"), counted(1, "time")
    ('1 frame', '2 frames', 'once')
    """
    if noun == "time" and number == 1:
        return "once"
    return f"{number} {noun}{'s' * (number != 1)}"


def shown(value: object, limit: int = 80) -> str:
    """Return a value as in Python's code, cut after `limit` characters, for an error sentence about a file's content.

    Nested values are abbreviated before they are converted, since a file of a kilobyte can describe gigabytes.

    >>> shown("low"), shown([[[[[0]]]]]), shown("x" * 100, limit=8)
    ("'low'", '[[[[[...]]]]]', "'xxxxxxx...")
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 4, 2 * limit + 8, limit, limit
    short.maxlist = short.maxtuple = short.maxdict = 12
    try:
        text = short.repr(value)
    except ValueError:  # Python converts no integer of more than some thousand digits
        text = "a number of thousands of digits"
    return text if len(text) <= limit else f"{text[:limit]}..."


def printable(text: str) -> str:
    """Replace what cannot be printed; file names may hold line breaks or bytes that are not text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
