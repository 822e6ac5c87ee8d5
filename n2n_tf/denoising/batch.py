"""A batch of files: which becomes which, and what is said of it at the end."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.pipelines.files.conversions import RESULTS
from n2n_tf.pipelines.files.dicom_planes import START, START_AT
from n2n_tf.pipelines.files.image_files import SUFFIXES, list_images
from n2n_tf.pipelines.files.listing import files_below
from n2n_tf.pipelines.raw import RAW_SUFFIXES

# Pictures of formats that are not read: in a folder they are not passed over in silence.
_UNREAD = (
    *(".gif", ".heic", ".heif", ".avif", ".jxl", ".psd", ".exr", ".hdr", ".tga", ".pgm", ".ppm"),
    *(".czi", ".nd2", ".lif", ".oib", ".oif", ".ims", ".h5", ".mrc", ".nii", ".nrrd"),
)


@dataclasses.dataclass(frozen=True)
class Naming:
    """How results are named.

    Attributes:
        output_format: None for the format of the source, or a suffix without its dot.
        suffix: str put behind the stem, e.g. "_denoised".
        dump: whether all files are sensor dumps, which are raws whatever their name.
    """

    output_format: str | None = None
    suffix: str = ""
    dump: bool = False

    def is_raw(self, path: pathlib.Path) -> bool:
        """Whether a file is a camera raw by its suffix, or a sensor dump."""
        return self.dump or path.suffix.lower() in RAW_SUFFIXES

    def name(self, file: pathlib.Path, root: pathlib.Path, with_kind: bool = False) -> pathlib.Path:
        """Name of a result below the output folder; `with_kind` makes a_jpg.png of a.jpg."""
        relative = file.relative_to(root)
        if file.suffix and _is_dicom(file):  # named by a number with dots
            relative = relative.with_name(f"{relative.name}.dcm")
        suffix = relative.suffix
        if self.is_raw(file):
            suffix = ".dng"
        elif self.output_format:
            suffix = f".{self.output_format}"
        kind = f"_{relative.suffix[1:]}" if with_kind else ""
        return relative.with_name(f"{relative.stem}{kind}{self.suffix}{suffix}")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        pairs: list of (input, output).
        there: inputs left out because their results exist.
        copies: pictures left out of folders, because they have the name of a raw beside them.
        unread: pictures in folders of formats that are not read.
    """

    pairs: list[tuple[pathlib.Path, pathlib.Path]]
    there: list[pathlib.Path]
    copies: list[pathlib.Path]
    unread: list[pathlib.Path]


def plan(
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    naming: Naming | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> Plan:
    """Pairs every input file with the file to write.

    Args:
        inputs: paths of files and folders.
        output: a file's path, if `inputs` is one file and `output` has a suffix, does not end in
            "/" and is no folder; else a folder.
        naming: `Naming`.
        overwrite: whether files that exist are replaced.
        skip_existing: whether inputs whose results exist are left out.

    Returns:
        `Plan`.

    Raises:
        ValueError: for a missing input, two inputs that would give one output, an output that is an
            input, or an output of the wrong kind.
        FileExistsError: if an output exists, without `overwrite` and `skip_existing`.
    """
    naming = naming or Naming()
    a_folder = str(output).endswith("/") or pathlib.Path(output).is_dir()
    inputs, output = [pathlib.Path(path) for path in inputs], pathlib.Path(output)
    for path in inputs:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder.")
    single = len(inputs) == 1 and not inputs[0].is_dir()
    suffixes = _output_suffixes(inputs[0] if single else None, naming)
    copies = []
    if single and output.suffix and not a_folder:
        if output.suffix.lower() not in suffixes:
            raise ValueError(_wrong_suffix(inputs[0], output, suffixes, naming))
        pairs = [(inputs[0], output)]
    else:
        if not a_folder and (output.exists() or output.suffix.lower() in suffixes):
            raise ValueError(f"--output={output}: several images go into a folder, not a file.")
        found = [(p, f) for p in inputs for f in (_list(p, naming) if p.is_dir() else [p])]
        copies = _copies([f for p, f in found if p.is_dir()], naming)
        found = [(p, f) for p, f in found if not (p.is_dir() and f in copies)]
        found = [(p if p.is_dir() else p.parent, f) for p, f in found]
        pairs = [
            (f, output / name) for (_, f), name in zip(found, _names(found, naming), strict=True)
        ]
    _check(pairs)
    there = [source for source, target in pairs if target.exists()] if not overwrite else []
    if there and not skip_existing:
        target = dict(pairs)[there[0]]
        raise FileExistsError(
            f"{target} exists already; --overwrite replaces it, --skip_existing leaves it."
        )
    unread = [f for path in inputs if path.is_dir() for f in files_below(path, _UNREAD)]
    return Plan([pair for pair in pairs if pair[0] not in there], there, sorted(copies), unread)


def _output_suffixes(source, naming):
    """Suffixes that the result of a file may have; of several files any."""
    if source is None:
        return (*RESULTS, ".dng")
    return (".dng",) if naming.is_raw(source) else tuple(dict.fromkeys((*RESULTS, *SUFFIXES)))


def _wrong_suffix(source, output, suffixes, naming):
    """What is wrong with an output file of this name, or with its input."""
    if output.suffix.lower() == ".dng":
        return (
            f"{source}: is not a camera raw by its name, and only raws give a DNG; a sensor dump "
            "needs --raw_shape."
        )
    told = (
        "a camera raw gives a .dng"
        if naming.is_raw(source)
        else f"files end in one of {', '.join(suffixes)}"
    )
    return f"--output={output}: {told}; for a folder of this name write a / at its end."


def _list(folder, naming):
    """The raws and other images below a folder; raises if there are none."""
    found = files_below(folder)
    images = [p for p in found if naming.is_raw(p) or p.suffix.lower() in SUFFIXES or _is_dicom(p)]
    return images or list_images(folder)


def _is_dicom(path):
    """Whether a file without a suffix, or with a number for one, is a DICOM file."""
    if path.suffix.strip(".0123456789") or not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(START_AT + len(START)).endswith(START)
    except OSError:  # nobody asked for this very file
        return False


def _names(found, naming):
    """Names of results; those that files of several kinds would share, say of which each is."""
    names = [naming.name(file, root) for root, file in found]
    kinds = collections.defaultdict(list)
    for name, (_, file) in zip(names, found, strict=True):
        kinds[name].append(file.suffix)
    shared = {name for name, of in kinds.items() if 1 < len(of) == len(set(of))}
    return [
        naming.name(file, root, name in shared)
        for name, (root, file) in zip(names, found, strict=True)
    ]


def _copies(files, naming):
    """Pictures that a camera or a developer made of the raws of the same name beside them."""
    raws = {path.with_suffix("") for path in files if naming.is_raw(path)}
    return {p for p in files if not naming.is_raw(p) and p.with_suffix("") in raws}


def _check(pairs):
    """No output may be an input or another's output."""
    sources = {os.path.realpath(source) for source, _ in pairs}
    taken = {}
    for source, target in pairs:
        if os.path.realpath(target) in sources:
            raise ValueError(
                f"{source}: its result {target} would replace an input; give another output."
            )
        if target in taken:
            raise ValueError(f"{taken[target]} and {source} would both be written to {target}.")
        taken[target] = source


_GRACE = 1.0  # seconds in which work that is to stop may do so by itself
_begun = weakref.WeakSet()  # futures of `overlapped`


class Stopped(BaseException):
    """Ends work on a file of a batch that has ended; no error of the file's."""


def overlapped(
    work: Callable[..., Any], items: Sequence[Any], at_once: int = 2
) -> Iterator[concurrent.futures.Future]:
    """Works on a few files at once, so that one is read or written while another is denoised.

    Args:
        work: callable(item, go_on), run in threads. It calls `go_on()` often, which raises
            `Stopped` when the iterator is closed before its end.
        items: what to work on.
        at_once: how many at a time.

    Yields:
        a future for every item, in their order, whatever is finished first; its `result()` waits,
        and raises what the work raised. Closed before its end, the iterator waits a second for what
        has begun; see `still_working`.
    """
    stop = threading.Event()

    def go_on() -> None:
        if stop.is_set():
            raise Stopped

    waiting, begun = collections.deque(), []
    pool = concurrent.futures.ThreadPoolExecutor(at_once)
    try:
        for item in items:
            waiting.append(pool.submit(work, item, go_on))
            _begun.add(waiting[-1])
            begun = [future for future in (*begun, waiting[-1]) if not future.done()]
            if len(waiting) >= at_once:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    except BaseException:  # it was closed, too
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        concurrent.futures.wait(begun, _GRACE)
        raise
    pool.shutdown()


def still_working() -> bool:
    """Whether work that was told to stop has not done so, and would hold up the program's end."""
    return not all(future.done() for future in list(_begun))


class Summary:
    """What became of the files of a batch.

    Args:
        skipped: inputs that were left out because their results exist.
        left_out: list of (inputs that were left out, why).

    Attributes:
        files: list of dict, one a file: source, target, status, and what is known of it.
    """

    def __init__(
        self,
        skipped: Iterable[pathlib.Path] = (),
        left_out: Iterable[tuple[Iterable[pathlib.Path], str]] = (),
    ) -> None:
        self.files = [{"source": str(path), "status": "skipped"} for path in skipped]
        self.files += [
            {"source": str(path), "status": "left out", "why": why}
            for paths, why in left_out
            for path in paths
        ]
        self._begun = time.monotonic()

    def done(
        self,
        source: pathlib.Path,
        target: pathlib.Path,
        megapixels: float,
        notes: Iterable[str],
        seconds: float,
    ) -> None:
        """Notes a result."""
        self.files.append(
            {
                "source": str(source),
                "target": str(target),
                "status": "done",
                "megapixels": round(megapixels, 6),
                "seconds": round(seconds, 3),
                "notes": list(notes),
            }
        )

    def failed(self, source: pathlib.Path, error: str) -> None:
        """Notes a file that gave none."""
        self.files.append({"source": str(source), "status": "failed", "error": error})

    def count(self, status: str) -> int:
        """How many files are "done", "failed", "skipped" or "left out"."""
        return sum(file["status"] == status for file in self.files)

    @property
    def megapixels(self) -> float:
        """Of all results."""
        return sum(file.get("megapixels", 0) for file in self.files)

    def line(self, total: int, output: str | os.PathLike) -> str:
        """The sentence at the end."""
        images = "image" if total == 1 else "images"
        text = f"{self.count('done')} of {total} {images} denoised into {output}"
        if skipped := self.count("skipped"):
            text += f"; {skipped} skipped, whose results exist"
        return text

    def write(self, path: str | os.PathLike) -> None:
        """Writes all of it as JSON."""
        seconds = time.monotonic() - self._begun
        write_json(
            path,
            {
                "done": self.count("done"),
                "failed": self.count("failed"),
                "skipped": self.count("skipped"),
                "left_out": self.count("left out"),
                "megapixels": round(self.megapixels, 6),
                "seconds": round(seconds, 3),
                "megapixels_per_second": round(self.megapixels / max(seconds, 1e-3), 6),
                "files": self.files,
            },
        )
