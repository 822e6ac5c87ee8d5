"""Denoise image files or folders of them with a trained network.

Without --model one of the models that come with the program is taken, by the kind of image: for
gray and RGB pictures one for Gaussian noise of any strength, for camera raws one for raws:

  n2n-denoise noisy.png -o denoised.png
  n2n-denoise raws/ -o dngs/

With another of them (n2n-denoise --list_models), or one of your own:

  n2n-denoise --model unet_rgb_poisson30 noisy.png -o denoised.png
  n2n-denoise --model runs/mine noisy.png -o denoised.png
  n2n-denoise --model runs/mine photos/ more.tif -o denoised/
  n2n-denoise --model model.pth night.jpg -o night.png     (the authors' checkpoints)

Camera raws give DNGs, which raw developers open like the original; --preview shows both, developed
alike. A folder that holds raws gives its raws only. With a model trained on raw:

  n2n-denoise --model runs/raw photo.NEF -o photo_denoised.dng --preview side_by_side.png
  n2n-denoise --model runs/raw raws/ -o dngs/

A sensor dump without any header (integers, row by row) needs its description:

  n2n-denoise --model runs/raw frame.bin -o frame.dng --raw_shape 3000,4000 \\
      --raw_dtype uint16 --raw_pattern RGGB --black 64 --white 1023

Pixels keep their type: 8-bit files give 8 bits, 16-bit files 16; size and transparency stay. Into a
folder, files keep their names, and their places below the folder they were found in; JPEGs and BMPs
become PNGs. Nothing is overwritten without --overwrite, and no input ever is.
"""

import functools
import os
import pathlib
import sys

import tqdm
from absl import app, flags

from n2n_tf.cli import program
from n2n_tf.pipelines.files import image_limits

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of a shipped model, folder of a training, .keras, .npz, .pth or .tflite file, or "
    "SavedModel folder. A SavedModel can read and write any file when it runs: take one only from "
    "people you trust. [a shipped model, by the kind of image]",
)
LIST_MODELS = flags.DEFINE_bool("list_models", False, "Show the shipped models and end.")
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write for one input file; else a folder, made if there is none. Required.",
    short_name="o",
)
TILE = flags.DEFINE_integer(
    "tile",
    1024,
    "Side in pixels of the window denoised at once; smaller needs less memory. At least what the "
    "network sees around a pixel (352 for the U-Net).",
    64,
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
KEEP_DETAIL = flags.DEFINE_bool(
    "keep_detail",
    None,
    "Give back what the network took away beyond noise, for weak noise, which must be alike in all "
    "places of one brightness. [raws: yes, pictures: no]",
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
    "max_megapixels", 400.0, "Refuse files of more; their pixels would need much memory.", 0.0
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that exist.")


def plan(inputs, output):
    """Pairs every input file with the file to write.

    Args:
        inputs: paths of files and folders.
        output: a file's path, if `inputs` is one file and `output` has a suffix, does not end in
            "/" and is no folder; else a folder.

    Returns:
        list of (input, output).

    Raises:
        ValueError: for a missing input, two inputs that would give one output, an output that is an
            input, or an output of the wrong kind.
        FileExistsError: if an output exists, without --overwrite.
    """
    a_folder = str(output).endswith("/") or pathlib.Path(output).is_dir()
    inputs, output = [pathlib.Path(path) for path in inputs], pathlib.Path(output)
    for path in inputs:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder.")
    single = len(inputs) == 1 and not inputs[0].is_dir()
    suffixes = _output_suffixes(inputs[0] if single else None)
    if single and output.suffix and not a_folder:
        if output.suffix.lower() not in suffixes:
            raise ValueError(_wrong_suffix(inputs[0], output, suffixes))
        pairs = [(inputs[0], output)]
    else:
        if not a_folder and (output.exists() or output.suffix.lower() in suffixes):
            raise ValueError(f"--output={output}: several images go into a folder, not a file.")
        found = [(p, f) for p in inputs for f in (_list(p) if p.is_dir() else [p])]
        pairs = [(f, output / _name(f, p if p.is_dir() else p.parent)) for p, f in found]
    _check(pairs)
    return pairs


def _output_suffixes(source):
    """Suffixes that the result of a file may have; of several files any."""
    from n2n_tf.pipelines.files.image_files import SUFFIXES

    if source is None:
        return (*SUFFIXES, ".dng")
    return (".dng",) if is_raw(source) else SUFFIXES


def _wrong_suffix(source, output, suffixes):
    """What is wrong with an output file of this name, or with its input."""
    if output.suffix.lower() == ".dng":
        return (
            f"{source}: is no camera raw by its name, and only raws give a DNG; a sensor dump "
            "needs --raw_shape."
        )
    told = (
        "a camera raw gives a .dng"
        if is_raw(source)
        else f"files end in one of {', '.join(suffixes)}"
    )
    return f"--output={output}: {told}; for a folder of this name write a / at its end."


def is_raw(path):
    """Whether a file is a camera raw by its suffix, or a sensor dump by the flags."""
    from n2n_tf.pipelines.raw.cache import RAW_SUFFIXES

    return RAW_SHAPE.value is not None or path.suffix.lower() in RAW_SUFFIXES


def _list(folder):
    """The raws below a folder, or its images if it holds none: pictures beside raws are theirs."""
    from n2n_tf.pipelines.files.image_files import list_images
    from n2n_tf.pipelines.files.listing import files_below

    return [path for path in files_below(folder) if is_raw(path)] or list_images(folder)


def _name(file, root):
    """Name below the output folder; a result is never stored with a lossy format unasked."""
    relative = file.relative_to(root)
    if is_raw(file):
        return relative.with_suffix(".dng")
    keeps = (".png", ".tif", ".tiff")
    return relative if file.suffix.lower() in keeps else relative.with_suffix(".png")


def _check(pairs):
    """No output may be an input, another's output, or, without --overwrite, a file that exists."""
    sources = {os.path.realpath(source) for source, _ in pairs}
    taken = {}
    for source, target in pairs:
        if os.path.realpath(target) in sources:
            raise ValueError(
                f"{source}: its result {target} would replace an input; give another output."
            )
        if target in taken:
            raise ValueError(f"{taken[target]} and {source} would both be written to {target}.")
        if target.exists() and not OVERWRITE.value:
            raise FileExistsError(f"{target} exists already; --overwrite replaces it.")
        taken[target] = source


def main(inputs):
    """Denoises every input; a file that fails is named and does not stop the others."""
    if LIST_MODELS.value:
        return _list_models()
    if not inputs:
        raise app.UsageError("No input: name image files or folders.")
    if not OUTPUT.value:
        raise app.UsageError("--output must be given")
    image_limits.MAX_PIXELS = 1e6 * MAX_MEGAPIXELS.value
    pairs = plan(inputs, OUTPUT.value)
    _check_preview(pairs)

    program.import_tensorflow()
    model_for = _model_for()
    done, failed = 0, []
    try:
        with program.progress_bar(total=len(pairs), unit="img", disable=len(pairs) == 1) as bar:
            for source, target in pairs:
                bar.set_postfix_str(source.name, refresh=False)
                try:
                    _denoise_file(model_for, source, target, quiet=len(pairs) > 1)
                    done += 1
                except program.expected_errors() as error:
                    text = program.error_text(error).removeprefix(f"{source}: ")
                    failed.append(f"{source}: {text}")
                bar.update()
    finally:  # also after Ctrl-C
        for line in failed:
            print(f"n2n-denoise: {line}", file=sys.stderr)
        images = "image" if len(pairs) == 1 else "images"
        print(f"{done} of {len(pairs)} {images} denoised into {OUTPUT.value}")
    return 1 if failed else 0


def _list_models():
    from n2n_tf.model_files import shipped

    print("\n".join(shipped.table()))


def _model_for():
    """Returns a callable(kind of image) -> the `Denoiser` for it, loaded once."""
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.model_files.shipped import DEFAULTS

    @functools.cache
    def load(model):
        with program.stderr_held():
            return Denoiser.load(model, TILE.value)

    @functools.cache
    def default(kind):
        denoise = load(DEFAULTS[kind])
        tqdm.tqdm.write(
            f"{DEFAULTS[kind]}: the shipped model for {kind} images, trained with noise "
            f"{denoise.info.noise}; --model chooses another."
        )
        return denoise

    if MODEL.value is None:
        return default
    load(MODEL.value)  # a model that is none is told of before any image is read
    return lambda kind: load(MODEL.value)


def _check_preview(pairs):
    from n2n_tf.pipelines.files.image_files import SUFFIXES

    if not PREVIEW.value:
        return
    if len(pairs) != 1 or not is_raw(pairs[0][0]):
        raise ValueError(f"--preview={PREVIEW.value}: is for one camera raw.")
    if pathlib.Path(PREVIEW.value).suffix.lower() not in SUFFIXES:
        raise ValueError(f"--preview={PREVIEW.value}: must end in one of {', '.join(SUFFIXES)}.")
    if pathlib.Path(PREVIEW.value).exists() and not OVERWRITE.value:
        raise FileExistsError(f"{PREVIEW.value} exists already; --overwrite replaces it.")


def _denoise_file(model_for, source, target, quiet):
    with program.progress_bar(unit="tile", leave=False, disable=quiet) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        (_denoise_raw if is_raw(source) else _denoise_picture)(model_for, source, target, progress)


def _denoise_picture(model_for, source, target, progress):
    from n2n_tf.pipelines.files.image_files import check_format, read_image, write_image

    picture = read_image(source)
    denoise = model_for("gray" if picture.pixels.shape[-1] == 1 else "RGB")
    if denoise.channels == 4:
        raise ValueError("is a picture, and this model denoises camera raws only.")
    check_format(target, picture.pixels.dtype, picture.alpha is not None)
    keep_detail = bool(KEEP_DETAIL.value)
    denoised = denoise(picture.pixels, WHITE_LEVEL.value, progress, keep_detail)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, denoised, picture.alpha, OVERWRITE.value)


def _denoise_raw(model_for, source, target, progress):
    from n2n_tf.denoising.raw_frames import denoise_frame, remaining_noise
    from n2n_tf.pipelines.files.image_files import write_image
    from n2n_tf.pipelines.raw.develop import develop, develop_side_by_side
    from n2n_tf.pipelines.raw.dng import write_dng

    frame = _read_frame(source)
    keeps = KEEP_LEVELS.value, KEEP_DETAIL.value is not False
    mosaic = denoise_frame(model_for("raw"), frame, progress, *keeps)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_dng(
        target,
        frame,
        mosaic,
        compress=COMPRESS.value,
        noise_profile=remaining_noise(frame, mosaic),
        preview=develop(frame, mosaic, half_size=True, rotate=False),
        overwrite=OVERWRITE.value,
    )
    if PREVIEW.value:
        pathlib.Path(PREVIEW.value).parent.mkdir(parents=True, exist_ok=True)
        pair = develop_side_by_side(source if RAW_SHAPE.value is None else frame, target)
        write_image(PREVIEW.value, pair, overwrite=OVERWRITE.value)


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


def run():
    """Entry point of `n2n-denoise`."""
    program.start(main, "n2n-denoise", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
