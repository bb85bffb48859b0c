"""Entry point of the command line: every command, and the exit status.

Exit status: 0 done; 2 wrong input; 130 and 143 after Ctrl-C and SIGTERM; 1 any other error.
Next: `train.py`, `evaluate.py`, `data.py`, `course.py`, `lab4.py`, `experiment.py` and `machine.py` hold the commands.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings

from cyclopts import App, CycloptsError, Parameter

from posecast import __version__
from posecast.cli import course, data, evaluate, experiment, export, machine, train
from posecast.cli.lab4 import lab4_app
from posecast.cli.options import is_verbose, print_error, print_note, set_verbosity, with_verbosity
from posecast.config.overrides import RENAMED, RENAMED_VALUES
from posecast.errors import InputError, InterruptedTraining, TrainingFailed, printable
from posecast.system.drives import advice_on, is_wrong_name, set_library_folders
from posecast.system.output import lost_output, protect_output

app = App(
    name="posecast",
    version=__version__,
    help="Turn one photo and a sequence of poses into a video of that person moving.",
    help_epilogue="Animating a real person requires that person's consent.",
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
    export.export,
    course.submit,
    course.score,
    course.import_lab4,
    course.export_lab4,
):
    app.command(with_verbosity(command))
app.command(lab4_app)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; an error is printed on stderr as one sentence.

    Args:
        arguments: Words of the command; None: those that the program was started with.
    """
    protect_output()
    # Libraries address developers through these warnings; a user cannot act on them.
    warnings.filterwarnings("ignore", module="lightning_fabric|torch|torchmetrics|PIL")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    warnings.showwarning = _print_warning
    set_verbosity("normal")
    set_library_folders()
    try:
        for words in run_command(sys.argv[1:] if arguments is None else arguments) or ():
            run_command(words)
    except (CycloptsError, InputError) as error:
        print_exception(error, str(error))
        return 2
    except OSError as error:
        print_exception(error, describe_os_error(error))
        return 2 if is_wrong_name(error) else 1
    except TrainingFailed as error:
        print_exception(error, str(error))
        return 1
    except InterruptedTraining as error:
        print_error(f"posecast: {error}")
        return 128 + error.signal_number
    except KeyboardInterrupt:
        print_error("posecast: stopped.")
        return 130
    return 0


def _print_warning(message: Warning | str, *_: object) -> None:
    """Print a warning as one line, without the place in the code that raised it."""
    print_note(f"posecast: {printable(str(message))}")


def print_exception(error: Exception, sentence: str) -> None:
    """Print a sentence about an error; with --verbose print its traceback first."""
    if is_verbose():
        print_error("".join(traceback.format_exception(error)).rstrip("\n"))
    print_error(f"posecast: {printable(' '.join(sentence.split()))}")


def describe_os_error(error: OSError) -> str:
    """Return one sentence: what the operating system refused, for which file, and what to do about it."""
    where = f": {error.filename}" if error.filename else ""
    return f"{(error.strerror or str(error)).removesuffix('.')}{where}. {advice_on(error)}"


def run_command(words: list[str]) -> list[list[str]] | None:
    """Run one command and return the commands to run next, which only those of `lab4` have."""
    return app(replace_old_names(words), exit_on_error=False, print_error=False, result_action="return_value")


def replace_old_names(words: list[str]) -> list[str]:
    """Replace the old names of settings and of their choices, with a note for each."""
    replaced: list[str] = []
    new_choices: dict[str, str] = {}
    for word in words:
        old_name, equals, value = word.removeprefix("--").partition("=")
        name = RENAMED.get(old_name.replace("-", "_")) if word.startswith("--") else None
        if name is None:
            replaced.append(new_choices.get(word, word))
            new_choices = {}
            continue
        new_choices = RENAMED_VALUES.get(name, {})
        flag = f"--{name.replace('_', '-')}"
        print_note(f"posecast: --{old_name} is now {flag}; the old name will be removed.")
        replaced.append(flag + (f"={new_choices.get(value, value)}" if equals else ""))
    return replaced


def run_and_exit() -> None:
    """Run the program's command and exit with its status; 1 if its results could not be printed."""
    status = main()
    error = lost_output()
    if error is not None:
        print_exception(error, describe_os_error(OSError(error.errno, error.strerror, "standard output")))
    sys.exit(status or int(error is not None))


if __name__ == "__main__":
    run_and_exit()
