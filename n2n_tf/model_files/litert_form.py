"""The LiteRT form of a network: the same numbers as a `.tflite` file, made once and kept.

It is run without importing TensorFlow, which takes seconds. It lies beside the network's file,
network.tflite beside network.keras and model.pth.tflite beside model.pth, or in the user's cache
where that folder cannot be written to. `form.json` inside tells the checksum of the network that it
was made from, and its own. Forms in 8 bits lie beside it under names of their own.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelError, ModelInfo, first_line
from n2n_tf.model_files.shipped import SHIPPED
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.checksums import file_checksum

FORM_FILE = "form.json"


class FormError(ModelError):
    """A network that cannot be given a LiteRT form; the message says why."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A LiteRT form: where it lies, its bytes, and the network's `ModelInfo`."""

    path: pathlib.Path
    content: bytes
    info: ModelInfo


def _kind(precision):
    """What names the precision in a form's file name."""
    return "" if precision == "float32" else f"_{precision}"


def beside(source: pathlib.Path, precision: str = "float32") -> pathlib.Path:
    """Where the form of a network's file lies if its folder can be written to."""
    stem = source.stem if source.name == NETWORK_FILE else source.name
    return source.with_name(f"{stem}{_kind(precision)}.tflite")


def in_cache(source: pathlib.Path, precision: str = "float32") -> pathlib.Path:
    """Where it lies otherwise."""
    home = {"win32": "LOCALAPPDATA"}.get(sys.platform, "XDG_CACHE_HOME")
    cache = os.environ.get(home) or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "n2n_tf" / f"{file_checksum(source)[:32]}{_kind(precision)}.tflite"


def find_form(source: pathlib.Path, precision: str = "float32") -> Form | None:
    """The form of a network's file, if there is one that is whole and of this very network."""
    for path in (beside(source, precision), in_cache(source, precision)):
        try:
            form, made_from = _read(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            continue
        if made_from == file_checksum(source):
            return form
    return None


def _read(path):
    """A form, and the checksum of its network; raises many types if it is none or damaged."""
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = json.loads(archive.read(FORM_FILE))
        info = ModelInfo.from_json(json.loads(archive.read(INFO_FILE)), path)
        end = min(member.header_offset for member in archive.infolist())
    if hashlib.sha256(content[:end]).hexdigest() != held["graph_sha256"]:
        raise ValueError("its checksum is wrong")
    return Form(path, content, info), held["network_sha256"]


def write_form(path: pathlib.Path, graph: bytes, info: ModelInfo, source: pathlib.Path) -> None:
    """Writes a form, whole or not at all.

    Args:
        path: the file to write; one that is there is replaced.
        graph: the converted network.
        info: the network's `ModelInfo`.
        source: the network's file.
    """
    checksums = {
        "network_sha256": file_checksum(source),
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
    }
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_bytes(graph)
        with zipfile.ZipFile(temporary, "a") as archive:
            for name, held in ((INFO_FILE, info.to_json()), (FORM_FILE, checksums)):
                # A fixed date: equal networks have equal forms.
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, json.dumps(held, indent=2) + "\n")


_MAKERS = {
    "float32": "n2n_tf.model_files.litert_conversion",
    "dynamic": "n2n_tf.export.fast_form",
    "int8": "n2n_tf.export.fast_form",
}


def make_form(source: pathlib.Path, precision: str = "float32") -> Form:
    """Converts a network in a process of its own, which takes some seconds, and keeps the result.

    Args:
        source: the network's file.
        precision: "float32", or for speed "dynamic" or "int8" (`n2n_tf.export.tflite.PRECISIONS`).

    Raises:
        FormError: if that fails, or the result can be kept nowhere.
    """
    try:
        target = _place(source, precision)
    except OSError as error:
        raise FormError(f"no place to keep it ({first_line(error)})") from error
    command = [sys.executable, "-m", _MAKERS[precision], source, target, precision]
    quiet = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=quiet, stdin=subprocess.DEVNULL
    )
    form = find_form(source, precision)
    if done.returncode or form is None:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        why = said[-1][:200].rstrip(".")
        raise FormError(f"the conversion failed ({why}); the engine keras spares the attempt")
    return form


def _place(source, precision="float32"):
    """Where a new form goes: beside the network, unless others' files are there or it must not."""
    path = beside(source, precision)
    ours = precision != "float32" and SHIPPED.resolve() in source.resolve().parents
    if not ours and os.access(path.parent, os.W_OK) and (not path.exists() or _is_form(path)):
        return path
    path = in_cache(source, precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written to")
    return path


def _is_form(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return FORM_FILE in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
