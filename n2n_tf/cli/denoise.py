"""Denoise image files or folders of them with a trained network.

  n2n-denoise --model runs/mine noisy.png -o denoised.png
  n2n-denoise --model runs/mine photos/ more.tif -o denoised/
  n2n-denoise --model model.pth night.jpg -o night.png     (the authors' checkpoints)

Pixels keep their type: 8-bit files give 8 bits, 16-bit files 16; size and transparency stay. Into a
folder, files keep their names, and their places below the folder they were found in; JPEGs become
PNGs. Nothing is overwritten without --overwrite.
"""

import pathlib
import sys

from absl import app, flags

from n2n_tf import cli

MODEL = flags.DEFINE_string(
    "model", None, "Folder of a training, .keras, .pth or .tflite file, SavedModel."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "File to write, or folder for several.", short_name="o"
)
TILE = flags.DEFINE_integer(
    "tile", 1024, "Side in pixels of the window denoised at once; smaller needs less memory.", 64
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
        output: a file's path, if `inputs` is one file and `output` has an image's suffix and is no
            folder; else a folder.

    Returns:
        list of (input, output).

    Raises:
        ValueError: for a missing input, two inputs that would give one output, or an output that is
            its own input.
    """
    from pipelines.image_files import SUFFIXES, list_images

    inputs, output = [pathlib.Path(path) for path in inputs], pathlib.Path(output)
    single = len(inputs) == 1 and not inputs[0].is_dir()
    if single and output.suffix.lower() in SUFFIXES and not output.is_dir():
        pairs = [(inputs[0], output)]
    else:
        found = [(p, f) for p in inputs for f in (list_images(p) if p.is_dir() else [p])]
        pairs = [(f, output / _name(f, p if p.is_dir() else p.parent)) for p, f in found]
    taken = {}
    for source, target in pairs:
        if not source.exists():
            raise ValueError(f"{source}: no such file or folder.")
        if target.exists() and target.samefile(source):
            raise ValueError(f"{source}: would be replaced by its own result; give another output.")
        if target in taken:
            raise ValueError(f"{taken[target]} and {source} would both be written to {target}.")
        if target.exists() and not OVERWRITE.value:
            raise FileExistsError(f"{target} exists already; --overwrite replaces it.")
        taken[target] = source
    return pairs


def _name(file, root):
    """Name below the output folder; a result is never stored with a lossy format unasked."""
    relative = file.relative_to(root)
    return relative.with_suffix(".png") if file.suffix.lower() in (".jpg", ".jpeg") else relative


def main(inputs):
    """Denoises every input; a file that fails is named and does not stop the others."""
    if not inputs:
        raise app.UsageError("No input: name image files or folders.")
    pairs = plan(inputs, OUTPUT.value)

    import tqdm

    from n2n_tf.denoiser import Denoiser

    denoise = Denoiser.load(MODEL.value, TILE.value)
    failed = []
    with tqdm.tqdm(total=len(pairs), unit="img", disable=len(pairs) == 1) as bar:
        for source, target in pairs:
            try:
                _denoise_file(denoise, source, target, quiet=len(pairs) > 1)
            except (ValueError, OSError) as error:
                failed.append(f"{source}: {str(error).removeprefix(f'{source}: ')}")
            bar.update()
    for line in failed:
        print(f"n2n-denoise: {line}", file=sys.stderr)
    print(f"{len(pairs) - len(failed)} of {len(pairs)} images denoised into {OUTPUT.value}")
    return 1 if failed else 0


def _denoise_file(denoise, source, target, quiet):
    import tqdm

    from pipelines.image_files import check_format, read_image, write_image

    picture = read_image(source)
    check_format(target, picture.pixels.dtype, picture.alpha is not None)
    with tqdm.tqdm(unit="tile", leave=False, disable=quiet) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(1)

        denoised = denoise(picture.pixels, WHITE_LEVEL.value, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, denoised, picture.alpha, OVERWRITE.value)


def run():
    """Entry point of `n2n-denoise`."""
    flags.mark_flags_as_required(["model", "output"])
    cli.start(main, "n2n-denoise", sys.modules[__name__])


if __name__ == "__main__":
    run()
