"""The command-line programs, and how all of them start and end."""

import contextlib
import logging
import os
import sys
import tempfile

from absl import app, flags

DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def start(main, name, module):
    """Runs a program: errors become one line and exit status 1, Ctrl-C becomes 130.

    Args:
        main: callable(list of positional arguments) -> None or exit status.
        name: the program's name in messages.
        module: `sys.modules[__name__]` of the program, for its --help.
    """

    def guarded(argv):
        try:
            _import_tensorflow()
            return main(argv[1:])
        except KeyboardInterrupt:
            print(f"\n{name}: interrupted.", file=sys.stderr)
            return 130
        except (ValueError, OSError) as error:
            if DEBUG.value:
                raise
            print(f"{name}: error: {_text(error)}", file=sys.stderr)
            return 1

    if {"--help", "-h", "-help", "--helpshort"} & set(sys.argv[1:]):
        print(_help(module))
        return
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    app.run(guarded)


def _help(module):
    """The program's docstring and its flags, whether it runs as a script or with `python -m`."""
    own = [
        holder
        for value in vars(module).values()
        for holder in (value if isinstance(value, list) else [value])
        if isinstance(holder, flags.FlagHolder)
    ]
    lines = [module.__doc__.strip(), "", "Flags:"]
    for holder in own:
        flag = flags.FLAGS[holder.name]
        names = f"--{flag.name}" + (f", -{flag.short_name}" if flag.short_name else "")
        default = "" if flag.default in (None, []) else f" [{flag.default}]"
        lines.append(flags.text_wrap(f"{names}: {flag.help}{default}", 96, "      ", "  "))
    return "\n".join(lines)


def _import_tensorflow():
    """Imports TensorFlow without the lines it prints about absent GPUs before logging is set up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held():
        import keras
        import tensorflow  # noqa: F401

        keras.backend.backend()


@contextlib.contextmanager
def _stderr_held():
    """Holds back what is written to file descriptor 2; shows it if the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _text(error):
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
