"""The one error that is the user's to mend.

Raised anywhere, caught once: `main.py` turns it into exit status 2 and one sentence on stderr.
"""

from dataclasses import dataclass


class InputError(ValueError):
    """What the user gave is wrong; the message says what was found, what was expected, what to do."""


class TrainingFailed(RuntimeError):
    """Training cannot go on, although nothing that the user gave is known to be wrong."""


class InterruptedTraining(RuntimeError):
    """A signal asked training to stop; its state is saved. `signal_number` is SIGINT or SIGTERM."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"Stopped by signal {int(signal_number)}; go on with --resume.")
        self.signal_number = int(signal_number)


@dataclass(frozen=True)
class Finding:
    """One sentence, of some kind, about what is wrong or odd in a data set."""

    kind: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))


def some(words: list[str], most: int = 20) -> str:
    """The words, at most so many, then how many more there are."""
    return ", ".join(words[:most]) + f" and {len(words) - most} more" * (len(words) > most)


def printable(text: str) -> str:
    """File names may hold line breaks or bytes that are no text; shown, they become a replacement sign."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
