"""Denoise image files or folders of them with a trained network.

  n2n-denoise --model runs/mine noisy.png -o denoised.png
  n2n-denoise --model runs/mine photos/ more.tif -o denoised/
  n2n-denoise --model model.pth night.jpg -o night.png     (the authors' checkpoints)

Pixels keep their type: 8-bit files give 8 bits, 16-bit files 16; size and transparency stay. Into a
folder, files keep their names, and their places below the folder they were found in; JPEGs and BMPs
become PNGs. Nothing is overwritten without --overwrite, and no input ever is.
"""

import pathlib
import sys

from absl import app, flags

from n2n_tf import cli

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Folder of a training, .keras, .pth or .tflite file, SavedModel folder, or the name of a "
    "shipped model. Required.",
)
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
    from pipelines.image_files import SUFFIXES, list_images

    a_folder = str(output).endswith("/") or pathlib.Path(output).is_dir()
    inputs, output = [pathlib.Path(path) for path in inputs], pathlib.Path(output)
    for path in inputs:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder.")
    single = len(inputs) == 1 and not inputs[0].is_dir()
    if single and output.suffix and not a_folder:
        if output.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"--output={output}: files end in one of {', '.join(SUFFIXES)}; for a folder of "
                "this name write a / at its end."
            )
        pairs = [(inputs[0], output)]
    else:
        if not a_folder and (output.exists() or output.suffix.lower() in SUFFIXES):
            raise ValueError(f"--output={output}: several images go into a folder, not a file.")
        found = [(p, f) for p in inputs for f in (list_images(p) if p.is_dir() else [p])]
        pairs = [(f, output / _name(f, p if p.is_dir() else p.parent)) for p, f in found]
    _check(pairs)
    return pairs


def _name(file, root):
    """Name below the output folder; a result is never stored with a lossy format unasked."""
    relative = file.relative_to(root)
    keeps = (".png", ".tif", ".tiff")
    return relative if file.suffix.lower() in keeps else relative.with_suffix(".png")


def _check(pairs):
    """No output may be an input, another's output, or, without --overwrite, a file that exists."""
    sources = {source.resolve() for source, _ in pairs}
    taken = {}
    for source, target in pairs:
        if target.resolve() in sources:
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
    if not inputs:
        raise app.UsageError("No input: name image files or folders.")
    pairs = plan(inputs, OUTPUT.value)

    cli.import_tensorflow()
    from n2n_tf.denoiser import Denoiser

    with cli.stderr_held():
        denoise = Denoiser.load(MODEL.value, TILE.value)
    done, failed = 0, []
    try:
        with cli.progress_bar(total=len(pairs), unit="img", disable=len(pairs) == 1) as bar:
            for source, target in pairs:
                bar.set_postfix_str(source.name, refresh=False)
                try:
                    _denoise_file(denoise, source, target, quiet=len(pairs) > 1)
                    done += 1
                except cli.expected_errors() as error:
                    text = cli.error_text(error).removeprefix(f"{source}: ")
                    failed.append(f"{source}: {text}")
                bar.update()
    finally:  # also after Ctrl-C
        for line in failed:
            print(f"n2n-denoise: {line}", file=sys.stderr)
        images = "image" if len(pairs) == 1 else "images"
        print(f"{done} of {len(pairs)} {images} denoised into {OUTPUT.value}")
    return 1 if failed else 0


def _denoise_file(denoise, source, target, quiet):
    from pipelines.image_files import check_format, read_image, write_image

    picture = read_image(source)
    check_format(target, picture.pixels.dtype, picture.alpha is not None)
    with cli.progress_bar(unit="tile", leave=False, disable=quiet) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        denoised = denoise(picture.pixels, WHITE_LEVEL.value, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, denoised, picture.alpha, OVERWRITE.value)


def run():
    """Entry point of `n2n-denoise`."""
    flags.mark_flags_as_required(["model", "output"])
    cli.start(main, "n2n-denoise", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
