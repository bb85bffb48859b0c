"""Errors that the user can correct, and findings about a data set.

Raised anywhere, caught once: `cli/main.py` turns an `InputError` into exit status 2 and one sentence on stderr.
"""

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


def printable(text: str) -> str:
    """Replace what cannot be printed; file names may hold line breaks or bytes that are not text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
