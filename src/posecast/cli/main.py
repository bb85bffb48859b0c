"""The front door: every command, and what its exit status says.

0 done; 2 the user's input is wrong; 130 and 143 after Ctrl-C and SIGTERM; 1 anything else.
The commands themselves are in `commands/`.
"""

from __future__ import annotations

import sys
import traceback
import warnings

from cyclopts import App, CycloptsError, Parameter

from posecast import __version__
from posecast.cli import course, data, evaluate, experiment, machine, train
from posecast.cli.lab4 import lab4_app
from posecast.cli.options import complain, is_verbose, note, set_volume, speaking
from posecast.config.overrides import RENAMED, RENAMED_VALUES
from posecast.errors import InputError, InterruptedTraining, TrainingFailed
from posecast.files import FAILING, FULL

app = App(
    name="posecast",
    version=__version__,
    help="One photo and a sequence of poses go in; a video of that person moving comes out.",
    help_epilogue="A puppet of a real person needs that person's consent.",
    default_parameter=Parameter(negative=()),
)
for command in (
    train.demo,
    machine.doctor,
    data.synth,
    data.extract,
    data.check,
    train.train,
    experiment.experiment,
    evaluate.evaluate,
    evaluate.generate,
    evaluate.report,
    course.submit,
    course.score,
    course.import_lab4,
    course.export_lab4,
):
    app.command(speaking(command))
app.command(lab4_app)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors become one sentence on stderr."""
    # Libraries speak to developers through warnings; a user can do nothing with them.
    warnings.filterwarnings("ignore", module="lightning_fabric|torch|torchmetrics")
    warnings.showwarning = _as_note
    set_volume("normal")
    try:
        for words in answer(arguments) or ():  # a command of `lab4` answers with those that it stands for
            answer(words)
    except (CycloptsError, InputError) as error:
        complain_about(error, " ".join(str(error).split()))
        return 2
    except OSError as error:
        complain_about(error, sentence_of(error))
        return 1
    except TrainingFailed as error:
        complain_about(error, str(error))
        return 1
    except InterruptedTraining as error:
        complain(f"posecast: {error}")
        return 128 + error.signal_number
    except KeyboardInterrupt:
        complain("posecast: stopped.")
        return 130
    return 0


def _as_note(message: Warning | str, *_: object) -> None:
    """A warning as one line, without the place in the code that it comes from."""
    note(f"posecast: {message}")


def complain_about(error: Exception, sentence: str) -> None:
    """One sentence about an error; with --verbose where it arose, too."""
    if is_verbose():
        traceback.print_exception(error)
    complain(f"posecast: {sentence}")


def sentence_of(error: OSError) -> str:
    """Say in one sentence what the operating system refused, where, and what to do about it."""
    if not error.strerror:
        return str(error)
    where = f": {error.filename}" if error.filename else ""
    advice = ""
    if error.errno in FULL:
        advice = " Make room and give the command again; what was saved is whole."
    if error.errno in FAILING:
        advice = " The disk fails, or its connection does; what was saved before is as it was."
    return f"{error.strerror}{where}.{advice}"


def answer(words: list[str] | None) -> list[list[str]] | None:
    """Run one command and return its answer; None stands for the words that the program was called with."""
    words = present_names(sys.argv[1:] if words is None else words)
    return app(words, exit_on_error=False, print_error=False, result_action="return_value")


def present_names(words: list[str]) -> list[str]:
    """The words of a command with the old names of settings and of their choices replaced, and a line for each."""
    found: list[str] = []
    choices: dict[str, str] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        now = RENAMED.get(name.replace("-", "_")) if word.startswith("--") else None
        if now is None:
            found.append(choices.get(word, word))
            choices = {}
            continue
        choices = RENAMED_VALUES.get(now, {})
        note(f"posecast: --{name} is now --{now.replace('_', '-')}; the old name will be gone.")
        found.append(f"--{now.replace('_', '-')}" + (f"={choices.get(value, value)}" if equals else ""))
    return found


def run_and_exit() -> None:
    sys.exit(main())


if __name__ == "__main__":
    run_and_exit()
