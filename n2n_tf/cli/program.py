"""How every command-line program starts and ends: flags, help, errors in one line, progress."""

from __future__ import annotations

import ast
import contextlib
import inspect
import logging
import math
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from absl import app, flags

if TYPE_CHECKING:
    import tqdm

DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def start(
    main: Callable[[list[str]], int | None], name: str, module: ModuleType, tensorflow: bool = True
) -> None:
    """Runs a program: an error becomes one line and exit status 1, Ctrl-C 130, SIGTERM 143.

    Args:
        main: callable(list of positional arguments) -> None or exit status.
        name: the program's name in messages.
        module: `sys.modules[__name__]` of the program, for its --help.
        tensorflow: whether to import TensorFlow at once. A program that has inputs to check, which
            takes no time, passes False and calls `import_tensorflow` when it needs it.
    """

    def fail(text):
        print(f"{name}: error: {text}", file=sys.stderr)
        return 1

    def parse(argv):
        try:
            arguments = flags.FLAGS(argv)
            _check_values()
            return arguments
        except flags.Error as error:
            sys.exit(fail(f"{_flag_text(error)} (see {name} --help)"))

    def guarded(argv):
        ends = signal.signal(signal.SIGTERM, _end)  # as with Ctrl-C, nothing half-written stays
        try:
            if tensorflow:
                import_tensorflow()
            status = main(argv[1:])
            sys.stdout.flush()
            return status
        except KeyboardInterrupt as error:
            terminated = isinstance(error, _Ended)
            for kept in _held[:1]:  # another thread keeps from being seen what is written there
                os.dup2(kept, 2)
            print(f"\n{name}: {'terminated' if terminated else 'interrupted'}.", file=sys.stderr)
            status = 128 + (signal.SIGTERM if terminated else signal.SIGINT)
            _end_at_once(status)
            return status
        except BrokenPipeError:  # whoever read the output, such as `head`, has enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except app.UsageError as error:
            return fail(f"{error} (see {name} --help)")
        except expected_errors() as error:
            if DEBUG.value:
                raise
            return fail(error_text(error))
        finally:
            signal.signal(signal.SIGTERM, ends)

    if {"--help", "-h", "-help", "--helpshort", "--helpfull"} & set(sys.argv[1:]):
        print(_help(module))
        return
    logging.captureWarnings(True)
    for log in ("py.warnings", "tifffile"):  # what it finds wrong is told as an error of the file
        logging.getLogger(log).setLevel(logging.CRITICAL)
    app.run(guarded, flags_parser=parse)


class _Ended(KeyboardInterrupt):
    """SIGTERM."""


def _end(number, frame):
    raise _Ended


def _end_at_once(status):
    """Ends the process if work on a file cannot stop, such as the import of TensorFlow."""
    batch = sys.modules.get("n2n_tf.denoising.batch")
    if batch and batch.still_working():
        from n2n_tf.pipelines.files.atomic_files import remove_unfinished

        sys.stdout.flush()
        sys.stderr.flush()
        remove_unfinished()
        os._exit(status)


def _check_values():
    """Refuses what absl's flags let pass and what is meant nowhere: NaN, infinity, "-"."""
    for name in flags.FLAGS:
        name, value = flags.FLAGS[name].name, flags.FLAGS[name].value  # -o is --output
        if isinstance(value, float) and not math.isfinite(value):
            raise flags.IllegalFlagValueError(f"flag --{name}={value}: must be a finite number")
        if "-" in (value if isinstance(value, list) else [value]):
            raise flags.IllegalFlagValueError(
                f"flag --{name}=-: standard input and output are not used; name a file or folder"
            )


def expected_errors() -> tuple[type[BaseException], ...]:
    """Types of errors that come from the user's files and machine and are reported in one line."""
    types = (ValueError, OSError, MemoryError)
    if errors := getattr(sys.modules.get("tensorflow"), "errors", None):  # all of it is imported
        types += (errors.ResourceExhaustedError,)
    return types


def error_text(error: BaseException) -> str:
    """One line for the user."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or not isinstance(error, ValueError | OSError):
        return "not enough memory; a smaller tile or batch needs less."
    return str(error)


def progress_bar(iterable: Iterable | None = None, **arguments: Any) -> tqdm.tqdm:
    """A tqdm bar; in a log file it moves three times a minute instead of ten times a second."""
    import tqdm

    interval = 0.1 if sys.stderr.isatty() else 20
    return tqdm.tqdm(iterable, dynamic_ncols=True, mininterval=interval, **arguments)


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line, to the standard output if no file is given, above what bars there are."""
    import tqdm

    tqdm.tqdm.write(text, file=file)


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines it prints about absent GPUs before logging is set up.

    What a keras.json of the user's says of types and axes does not hold for the programs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with stderr_held():
        import keras
        import tensorflow  # noqa: F401

        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _help(module):
    """The program's docstring and its flags, whether it runs as a script or with `python -m`."""
    own = [
        holder
        for value in vars(module).values()
        for holder in (value if isinstance(value, list) else [value])
        if isinstance(holder, flags.FlagHolder)
    ]
    about = ast.get_docstring(ast.parse(inspect.getsource(module)))  # python -OO keeps no __doc__
    lines = [about, "", "Flags:"]
    for holder in [*own, DEBUG]:
        flag = flags.FLAGS[holder.name]
        names = f"--{flag.name}" + (f", -{flag.short_name}" if flag.short_name else "")
        default = "" if flag.default in (None, [], False) else f" [{_default(flag.default)}]"
        text = flag.help.split(";\n")[0]  # absl adds "repeat this option ..." on a line of its own
        lines.append(flags.text_wrap(f"{names}: {text}{default}", 96, "      ", "  "))
    return "\n".join(lines)


def _default(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _flag_text(error):
    """What absl says, with its two lines for a missing flag said in three words."""
    missing = re.findall(r"Flag --(\w+) must have a value other than None", str(error))
    if missing:
        return " and ".join(f"--{name}" for name in missing) + " must be given"
    return " ".join(str(error).split())


_held: list[int] = []  # descriptors of what was descriptor 2


@contextlib.contextmanager
def stderr_held() -> Iterator[None]:
    """Drops what libraries write to file descriptor 2, unless --debug or an unexpected error."""
    if DEBUG.value:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        _held.append(kept)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception as error:
            if not isinstance(error, expected_errors()):
                held.seek(0)
                os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            _held.remove(kept)
            os.close(kept)
