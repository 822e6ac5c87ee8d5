"""Runs a command-line program inside the test process: seconds less than a new process each time.

The programs share flag names (--model, --output), so only one of them can have its flags registered
at a time: `run` imports the program anew and takes its flags away afterwards.
"""

import contextlib
import dataclasses
import importlib
import logging
import sys

from absl import flags

CLI = "n2n_tf.cli"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended: exit status, standard output, standard error.

    The output is without n2n-denoise's first line, which says what runs the network: that depends
    on the machine.
    """

    status: int
    out: str
    err: str


@contextlib.contextmanager
def imported(name):
    """The module `n2n_tf.cli.<name>`, with its flags registered and parsed from no arguments."""
    aside = _take_flags()
    sys.modules.pop(f"{CLI}.{name}", None)
    try:
        module = importlib.import_module(f"{CLI}.{name}")
        flags.FLAGS([name])
        yield module
    finally:
        _take_flags()
        flags.FLAGS.unparse_flags()
        for flag_name, flag in aside.items():
            flags.FLAGS[flag_name] = flag


def _take_flags():
    """Unregisters the flags of all programs and returns them."""
    taken = {}
    for module, held in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(f"{CLI}.") and module != f"{CLI}.program":
            names = {n: flag for flag in held for n in (flag.name, flag.short_name) if n}
            taken |= {name: flag for name, flag in names.items() if name in flags.FLAGS}
    for name in taken:
        delattr(flags.FLAGS, name)
    return taken


def run(capsys, monkeypatch, name, *arguments):
    """Runs a program's entry point with these arguments, as its console script does."""
    capsys.readouterr()
    with imported(name) as module:
        monkeypatch.setattr(sys, "argv", [f"n2n-{name}", *map(str, arguments)])
        try:
            module.run()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            logging.captureWarnings(False)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines(True) if not line.startswith("Run by ")]
    return Ended(status, "".join(lines), err)
