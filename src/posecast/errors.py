"""The one error that is the user's to mend.

Raised anywhere, caught once: `cli.py` turns it into exit status 2 and one sentence on stderr.
"""


class InputError(ValueError):
    """What the user gave is wrong; the message says what was found, what was expected, what to do."""


class TrainingFailed(RuntimeError):
    """Training cannot go on, although nothing that the user gave is known to be wrong."""


class InterruptedTraining(RuntimeError):
    """A signal asked training to stop; its state is saved. `signal_number` is SIGINT or SIGTERM."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"Stopped by signal {int(signal_number)}; go on with --resume.")
        self.signal_number = int(signal_number)
