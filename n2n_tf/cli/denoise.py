"""Denoise image files or folders of them with a trained network.

Without --model, one of the shipped models is chosen by the kind of image: for gray and RGB pictures
one for Gaussian noise of any strength, for camera raws one for raws:

  n2n-denoise noisy.png -o denoised.png
  n2n-denoise raws/ -o dngs/

With another shipped model (see --list_models), or one of your own:

  n2n-denoise --model mobile_rgb_gauss5_50 noisy.png -o denoised.png
  n2n-denoise --model runs/mine noisy.png -o denoised.png
  n2n-denoise --model runs/mine photos/ more.tif -o denoised/
  n2n-denoise --model model.pth night.jpg -o night.png     (the authors' checkpoints)

Camera raws become DNGs, which raw developers open like the original; --preview shows both,
developed alike. Of a folder, every image is denoised by the model for its kind, but for pictures
beside a raw of the same name, which were made of it. With a model trained on raw:

  n2n-denoise --model runs/raw photo.NEF -o photo_denoised.dng --preview side_by_side.png
  n2n-denoise --model runs/raw raws/ -o dngs/

A sensor dump without a header (integers, row by row) needs a description:

  n2n-denoise --model runs/raw frame.bin -o frame.dng --raw_shape 3000,4000 \\
      --raw_dtype uint16 --raw_pattern RGGB --black 64 --white 1023

Stacks (TIFF of any axes, MetaMorph .stk, .npy) are denoised plane by plane and channel by channel,
and need the memory of one plane; only what the file calls RGB is denoised as a colour image. With
--stack_window frames that show the same help one another:

  n2n-denoise cells/ -o denoised/ --skip_existing --summary denoised/run.json
  n2n-denoise movie.npy -o denoised.npy --axes TYX --stack_window

A result is a file of the same kind: its type of pixels, pages, axes, compression, colour profile,
EXIF, resolution, transparency and the metadata of ImageJ, OME and GeoTIFF stay; a message says what
cannot be kept. In an output folder, files keep their names and their subfolders. Nothing is
overwritten without --overwrite, and no input ever is.
"""

import concurrent.futures
import contextlib
import ctypes
import functools
import os
import pathlib
import sys
import threading
import time

from absl import app, flags

from n2n_tf.cli import program
from n2n_tf.pipelines.files import image_limits

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of a shipped model, folder of a training run, .keras, .npz, .pth or .tflite file, or "
    "SavedModel folder. A SavedModel can read and write any file when it runs: take one only from "
    "people you trust. [a shipped model, by the kind of image]",
)
LIST_MODELS = flags.DEFINE_bool("list_models", False, "Show the shipped models and exit.")
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write for one input file; else a folder, made if there is none. Required.",
    short_name="o",
)
TILE = flags.DEFINE_integer(
    "tile",
    1024,
    "Side in pixels of the square window denoised at once, or of one of another shape with as many "
    "pixels; smaller needs less memory. At least what the network sees around a pixel (352 for the "
    "U-Net).",
    64,
)
ENGINE = flags.DEFINE_enum(
    "engine",
    "auto",
    ["auto", "litert", "keras"],
    "What runs the network. LiteRT, for CPUs, starts seconds sooner; a network of your own is "
    "converted for it once, and the result kept beside it. Keras uses GPUs.",
)
PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "dynamic", "int8"],
    "Arithmetic of LiteRT: dynamic and int8 are faster and lose a little, which the first line "
    "says. The network is converted and measured once, and the result kept.",
)
WHITE_LEVEL = flags.DEFINE_float(
    "white_level",
    None,
    "Pixel value of white, e.g. 4095 for 12 bits in 16. [the type's largest]",
    1e-9,
)
PREVIEW = flags.DEFINE_string(
    "preview", None, "Picture to write for one raw: source and result side by side, PNG or JPEG."
)
KEEP_LEVELS = flags.DEFINE_bool(
    "keep_levels",
    True,
    "Give denoised raws the local brightness and colour of the source, whatever the network does.",
)
NOISE = flags.DEFINE_string(
    "noise",
    "auto",
    "Noise of the pictures, in their own units (raws: of values in 0..1): auto estimates it (raws: "
    "takes their NoiseProfile, if there is one), gauss:SIGMA, poisson_gaussian:GAIN,READ (variance "
    "= GAIN * level + READ), none for the bare network.",
)
STRENGTH = flags.DEFINE_float(
    "strength", 1.0, "Factor on that noise: below 1 removes less, above 1 more.", 0.0, 1.5
)
ESTIMATE = flags.DEFINE_bool("estimate", False, "Print the noise of the files and exit.")
STRICT = flags.DEFINE_bool(
    "strict", False, "Exit with an error if the noise of a file could only be assumed."
)
COMPRESS = flags.DEFINE_bool("compress", True, "Lossless-JPEG compression of DNGs.")
RAW_SHAPE = flags.DEFINE_list("raw_shape", None, "Height,width of a sensor dump in pixels.")
RAW_DTYPE = flags.DEFINE_enum(
    "raw_dtype", "uint16", ["uint8", "uint16"], "Type of a sensor dump's integers, little-endian."
)
RAW_PATTERN = flags.DEFINE_enum(
    "raw_pattern", None, ["RGGB", "BGGR", "GRBG", "GBRG"], "Bayer pattern of a sensor dump."
)
BLACK = flags.DEFINE_float("black", 0.0, "Black level of a sensor dump.", 0.0)
WHITE = flags.DEFINE_integer("white", None, "White (clip) level of a sensor dump.", 1)
MAX_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", 400.0, "Refuse larger files; their pixels would need a lot of memory.", 0.0
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that exist.")
SKIP_EXISTING = flags.DEFINE_bool(
    "skip_existing", False, "Leave out inputs whose results exist, to continue a batch."
)
OUTPUT_FORMAT = flags.DEFINE_enum(
    "output_format",
    None,
    ["png", "jpg", "bmp", "webp", "jp2", "tif", "npy"],
    "Format of results in a folder. [the input's]",
)
SUFFIX = flags.DEFINE_string("suffix", "", "Text to add to the names of results in a folder.")
SUMMARY = flags.DEFINE_string(
    "summary", None, "JSON file to write, with what was done with each file."
)
REPORT = flags.DEFINE_string(
    "report",
    None,
    "Folder for report.html, a page with source and result of each picture under a slider, the "
    "removed noise, and figures. Of a stack it shows the middle plane.",
)
SELF_ENSEMBLE = flags.DEFINE_bool(
    "self_ensemble",
    False,
    "Denoise pictures in eight orientations and average: eight times the time for about 0.1 "
    "dB (benchmarks/self_ensemble.py).",
)
STACK_WINDOW = flags.DEFINE_bool(
    "stack_window",
    False,
    "Denoise planes of a stack with the help of up to two on each side in time, or else in depth, "
    "where none of them shows anything else: twice the time for 0.3 to 1.0 dB of a stack at rest "
    "(benchmarks/stack_window.py).",
)
ADAPT = flags.DEFINE_integer(
    "adapt",
    None,
    "Steps to train the model further on the very pictures given, before denoising them: for "
    "pictures unlike photographs, or of one texture, whose noise is alike at all levels. The "
    "result is used only if parts held out show that it is better. 100 steps take a minute or "
    "two; benchmarks/adapt.py prints what they gain.",
    1,
)
AXES = flags.DEFINE_string(
    "axes",
    None,
    "Axes of TIFF, FITS and .npy files, one letter each, e.g. ZYX or YXS: Y, X, S for samples (or "
    "gray pages) that are RGB, C for channels, others for planes. [TIFF: what the file says; .npy: "
    "YX]",
)


def _naming():
    from n2n_tf.denoising.batch import Naming

    return Naming(OUTPUT_FORMAT.value, SUFFIX.value, RAW_SHAPE.value is not None)


def main(inputs: list[str]) -> int | None:
    """Denoises every input; a file that fails is named and does not stop the others."""
    if LIST_MODELS.value:
        return _list_models()
    if not inputs:
        raise app.UsageError("No input: name image files or folders.")
    image_limits.MAX_PIXELS = 1e6 * MAX_MEGAPIXELS.value
    if ESTIMATE.value:
        return _print_estimates(inputs)
    if not OUTPUT.value:
        raise app.UsageError("--output must be given")
    from n2n_tf.denoising.batch import Summary, plan
    from n2n_tf.denoising.noise_notes import parse_law

    law = parse_law(NOISE.value)
    if ADAPT.value and PRECISION.value != "float32":
        raise ValueError("--adapt: trains in float32 and cannot go with --precision.")
    if STACK_WINDOW.value and law == "none":
        raise ValueError(
            "--stack_window: needs to know the noise, and cannot go with --noise=none."
        )
    naming = _naming()
    planned = plan(inputs, OUTPUT.value, naming, OVERWRITE.value, SKIP_EXISTING.value)
    pairs, left_out = planned.pairs, [(planned.copies, _COPIES), (planned.unread, _UNREAD)]
    _check_preview(pairs, naming)
    if pairs:
        model_for = _model_for()
        if MODEL.value:
            pairs, others = _of_the_kind(pairs, inputs, naming, model_for(None))
            left_out.append((others, _OTHER_KIND))
        if ADAPT.value:
            pictures = [source for source, _ in pairs if not naming.is_raw(source)]
            _adapt(model_for, pictures, "auto" if law == "none" else law)
    summary = Summary(planned.there, left_out)
    for paths, why in left_out:
        _say_left_out(paths, why)
    report = _report()
    try:
        assumed = _denoise_all(model_for if pairs else None, pairs, naming, summary, report, law)
    finally:  # also after Ctrl-C
        for file in summary.files:
            if file["status"] == "failed":
                print(f"n2n-denoise: {file['source']}: {file['error']}", file=sys.stderr)
        print(summary.line(len(pairs), OUTPUT.value))
        if SUMMARY.value:
            summary.write(SUMMARY.value)
        if report:
            report.write()
    return 1 if summary.count("failed") or (STRICT.value and assumed) else 0


_COPIES = "beside a raw of the same name; name them to have them denoised too"
_UNREAD = "of formats that are not read; name them to be told what to convert them to"
_OTHER_KIND = "not of the kind that --model denoises"


def _of_the_kind(pairs, inputs, naming, denoiser):
    """(pairs, sources left out): of a folder, what a model given by the user cannot take."""
    named = set(map(pathlib.Path, inputs))
    others = [s for s, _ in pairs if naming.is_raw(s) != (denoiser.channels == 4)]
    others = set(others) - named
    if len(others) == len(pairs):  # each is told what is wrong
        return pairs, []
    return [pair for pair in pairs if pair[0] not in others], sorted(others)


def _say_left_out(paths, why):
    if paths:
        names = ", ".join(path.name for path in paths[:5])
        more = f" and {len(paths) - 5} more" if paths[5:] else ""
        print(f"n2n-denoise: {len(paths)} left out, {why}: {names}{more}.", file=sys.stderr)


def _adapt(model_for, sources, law):
    """Trains the models that these pictures are denoised with on the pictures themselves."""
    program.import_tensorflow()
    from n2n_tf.denoising.files import visit_planes
    from n2n_tf.training.adapt import Crops, adapt

    crops = {}

    def recorder_for(kind):
        denoiser = model_for(kind)
        return crops.setdefault(id(denoiser), (denoiser, Crops(denoiser)))[1].recorder

    for source in sources:
        try:
            how = {"white_level": WHITE_LEVEL.value, "noise": law}
            visit_planes(source, recorder_for, AXES.value, **how)
        except program.expected_errors():  # told when it is its turn
            continue
    for denoiser, found in crops.values():
        steps = ADAPT.value
        made = adapt(denoiser, found.kept, steps, progress=lambda each: program.progress_bar(each))
        verdict = "kept" if made.kept else "not certainly better: the model stays as it was"
        program.say(
            f"Adapted in {steps} steps on {len(found.kept)} squares: held-out loss "
            f"{made.before:.5g} -> {made.after:.5g}, by {made.certainty:.1f} standard errors, "
            f"{verdict}."
        )


def _report():
    from n2n_tf.denoising.report_page import Report

    return Report(REPORT.value) if REPORT.value else None


def _denoise_all(model_for, pairs, naming, summary, report, law):
    """Denoises the files; one that fails does not stop the others.

    Returns:
        int, of how many the noise was assumed.
    """
    from n2n_tf.denoising.batch import overlapped

    sizes, quiet, finished, assumed = [_megapixels(s) for s, _ in pairs], len(pairs) > 1, {}, []

    def work(pair, go_on):
        told, looks, begun = [], [], time.monotonic()
        how = {"noise": law, "strength": STRENGTH.value, "tell": _into(told)}
        watch = (lambda *look: looks.append(look)) if report else None
        done = _denoise_file(model_for, *pair, naming, watch, quiet, go_on, how, told)
        finished[pair] = *done, time.monotonic() - begun, told, looks

    def tell(pair):
        megapixels, notes, seconds, told, looks = finished.pop(pair)
        if notes:
            program.say(f"{pair[0]}: {'; '.join(notes)}.", file=sys.stderr)
        for look in looks:
            report.add(*look)
        summary.done(*pair, megapixels, notes, seconds)
        assumed.append(any(law.assumed for law, _ in told))

    results = overlapped(work, pairs, 2 if quiet and max(sizes) < _LARGE else 1)
    bar = program.progress_bar(total=sum(sizes), unit="MP", disable=not quiet, bar_format=_BAR)
    try:
        with bar, contextlib.closing(results):
            for pair, size, result in zip(pairs, sizes, results, strict=True):
                bar.set_postfix_str(pair[0].name, refresh=False)
                try:
                    result.result()
                    tell(pair)
                except program.expected_errors() as error:
                    text = program.error_text(error).removeprefix(f"{pair[0]}: ")
                    summary.failed(pair[0], text)
                bar.update(size)
    finally:
        for pair in list(finished):  # after Ctrl-C: what was just being written
            tell(pair)
    return sum(assumed)


_LARGE = 50  # megapixels; of larger files one alone fills the memory


def _into(told):
    return lambda law, given_back: told.append((law, given_back))


_BAR = (
    "{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} MP [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
)


def _megapixels(path):
    """Of a file, for the progress bar only: what is not known is guessed from its bytes."""
    from n2n_tf.pipelines.files.stacks import pixels_of

    try:
        return max(1, pixels_of(path)) / 1e6
    except OSError:
        return 1e-6


def _list_models():
    from n2n_tf.model_files import shipped

    print("\n".join(shipped.table()))


def _model_for():
    """Returns a callable(kind of image) -> the `Denoiser` for it, loaded once."""
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.model_files.shipped import DEFAULTS

    say = functools.cache(program.say)  # once

    lock = threading.RLock()

    @_once(lock)
    def load(model):
        with program.stderr_held():
            denoiser = Denoiser.load(
                model, TILE.value, ENGINE.value, program.import_tensorflow, PRECISION.value
            )
        say(f"Run by {denoiser.engine}.")
        return denoiser

    @_once(lock)
    def default(kind):
        denoise = load(DEFAULTS[kind])
        program.say(
            f"{DEFAULTS[kind]}: the shipped model for {kind} images, trained with noise "
            f"{denoise.info.noise}; --model chooses another."
        )
        return denoise

    if MODEL.value is None:
        return default
    load(MODEL.value)  # a model that is none is told of before any image is read
    return lambda kind: load(MODEL.value)


def _once(lock):
    """Like `functools.cache`, also if several threads ask for the same at once."""

    def decorate(function):
        cached = functools.cache(function)

        def call(argument):
            with lock:
                return cached(argument)

        return call

    return decorate


def _check_preview(pairs, naming):
    from n2n_tf.pipelines.files.image_files import WRITTEN as SUFFIXES

    if not PREVIEW.value:
        return
    if len(pairs) != 1 or not naming.is_raw(pairs[0][0]):
        raise ValueError(f"--preview={PREVIEW.value}: is for one camera raw.")
    if pathlib.Path(PREVIEW.value).suffix.lower() not in SUFFIXES:
        raise ValueError(f"--preview={PREVIEW.value}: must end in one of {', '.join(SUFFIXES)}.")
    if pathlib.Path(PREVIEW.value).exists() and not OVERWRITE.value:
        raise FileExistsError(f"{PREVIEW.value} exists already; --overwrite replaces it.")


def _denoise_file(model_for, source, target, naming, watch, quiet, go_on, how, told):
    """-> megapixels denoised, what is to be said of it."""
    from n2n_tf.denoising.noise_notes import notes_on

    with program.progress_bar(unit="tile", leave=False, disable=quiet) as bar:

        def progress(done, total):
            go_on()
            bar.total = total
            bar.update(done - bar.n)

        target.parent.mkdir(parents=True, exist_ok=True)
        denoise = _denoise_raw if naming.is_raw(source) else _denoise_picture
        megapixels, notes = denoise(model_for, source, target, watch, progress, how)
    return megapixels, [*notes, *notes_on(told)]


def _denoise_picture(model_for, source, target, watch, progress, how):
    from n2n_tf.denoising.files import denoise_file
    from n2n_tf.denoising.self_ensemble import SelfEnsemble

    def watch_plane(plane, before, after):
        watch(f"{source}{plane}", before, after)

    def pictures(kind):
        denoiser = model_for(kind)
        return SelfEnsemble(denoiser) if SELF_ENSEMBLE.value else denoiser

    return denoise_file(
        source,
        target,
        pictures,
        axes=AXES.value,
        overwrite=OVERWRITE.value,
        progress=progress,
        watch=watch_plane if watch else None,
        stack_window=STACK_WINDOW.value,
        white_level=WHITE_LEVEL.value,
        **how,
    )


def _denoise_raw(model_for, source, target, watch, progress, how):
    from n2n_tf.denoising.raw_frames import denoise_frame, remaining_noise
    from n2n_tf.pipelines.files.image_files import write_image
    from n2n_tf.pipelines.raw.develop import develop, develop_side_by_side
    from n2n_tf.pipelines.raw.dng import write_dng

    frame = _read_frame(source)
    mosaic = denoise_frame(model_for("raw"), frame, progress, KEEP_LEVELS.value, **how)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        preview = pool.submit(develop, frame, mosaic, half_size=True, rotate=False)
        write_dng(
            target,
            frame,
            mosaic,
            compress=COMPRESS.value,
            noise_profile=remaining_noise(frame, mosaic),
            preview=preview.result,
            overwrite=OVERWRITE.value,
        )
    if watch:
        watch(f"{source}, developed", develop(frame), develop(frame, mosaic))
    if PREVIEW.value:
        pathlib.Path(PREVIEW.value).parent.mkdir(parents=True, exist_ok=True)
        pair = develop_side_by_side(source if RAW_SHAPE.value is None else frame, target)
        write_image(PREVIEW.value, pair, overwrite=OVERWRITE.value)
    return mosaic.size / 1e6, ["it holds one plane, which has no neighbours"] * STACK_WINDOW.value


def _print_estimates(inputs):
    """A table of the noise of every plane of every file; needs no model."""
    from n2n_tf.denoising.noise_level import estimate_noise
    from n2n_tf.denoising.noise_notes import TABLE_HEAD, notes_on, table_rows
    from n2n_tf.denoising.raw_noise import estimate_raw_noise

    failed = 0
    for path in map(pathlib.Path, inputs):
        try:
            estimate = estimate_raw_noise if _naming().is_raw(path) else estimate_noise
            for name, image in _planes_of(path):
                law = estimate(image)
                notes = "; ".join(notes_on([(law, 0.0)]))
                print(f"{name}{': ' if notes else ''}{notes}", TABLE_HEAD, sep="\n")
                print("\n".join(table_rows(law, image)))
                failed += bool(STRICT.value and law.assumed)
        except program.expected_errors() as error:
            print(f"n2n-denoise: {program.error_text(error)}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _planes_of(path):
    """(name, image [height, width, channels]) of every colour of every plane of a file."""
    from n2n_tf.denoising import mosaics
    from n2n_tf.pipelines.files.stacks import open_planes
    from n2n_tf.pipelines.raw.frame import normalised_planes

    if _naming().is_raw(path):
        frame = _read_frame(path)
        yield (
            f"{path} (values in 0..1, R, G, G, B)",
            normalised_planes(frame),
        )
        return
    with open_planes(path, AXES.value) as planes:
        for index in range(len(planes)):
            plane = planes.read(index)
            for colour in plane.colours:
                name, image = f"{path} plane {index}", plane.levels[..., colour]
                if not mosaics.is_mosaic(image):
                    yield name, image
                    continue
                for number, phase in enumerate(mosaics.phases()):
                    yield f"{name}, phase {number} of its mosaic", image[phase]


def _read_frame(source):
    from n2n_tf.pipelines.raw.camera_files import read_raw, read_sensor_dump

    if RAW_SHAPE.value is None:
        return read_raw(source)
    shape = [int(side) for side in RAW_SHAPE.value if side.strip().isdigit()]
    if len(shape) != 2 or len(RAW_SHAPE.value) != 2:
        raise ValueError(f"--raw_shape={','.join(RAW_SHAPE.value)}: must be HEIGHT,WIDTH.")
    if RAW_PATTERN.value is None or WHITE.value is None:
        raise ValueError("a sensor dump needs --raw_pattern and --white too.")
    black = (BLACK.value,) * 4
    return read_sensor_dump(
        source, tuple(shape), RAW_DTYPE.value, RAW_PATTERN.value, black, WHITE.value
    )


def _keep_memory():
    """Has glibc keep the memory of small and middling arrays for the next ones.

    To get new memory takes longer than to compute what goes into it. Threads share it, as one of
    their own would give it back. Arrays of whole large pictures are given back when they go: kept,
    they would fill up with holes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 64 << 20)  # bytes
        allocator.mallopt(_TRIM_THRESHOLD, 256 << 20)
        allocator.mallopt(_ARENA_MAX, 1)


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h


def run() -> None:
    """Entry point of `n2n-denoise`."""
    # Before NumPy is imported: its products are small, and threads that wait for the next one spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_memory()
    program.start(main, "n2n-denoise", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
