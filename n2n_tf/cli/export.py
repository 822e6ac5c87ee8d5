"""Export a trained network: a SavedModel folder for servers, TFLite files for phones and desktops.

  n2n-export --model runs/mine --output exported

writes exported/saved_model/ and exported/model_dynamic_float32.tflite: float images of any height
and width, under the signature denoise(noisy) -> denoised. For phones, files of fixed sizes, with
only such operations as phones can accelerate:

  n2n-export --model runs/mine --output exported --formats tflite \\
      --sizes 256x256,512x512 --precisions float16,dynamic,int8,int16x8

Weights of other programs, the authors' .pth or an .npz (see docs/formats.md), as a Keras network in
exported/keras/, which keras.models.load_model and all programs here can load:

  n2n-export --model model_gauss25_b4e100r02.pth --output exported --formats keras

8-bit RGB pixels in and out; or, for a camera, the sensor's mosaic in and out, with black and white
level fixed or as inputs of the file:

  n2n-export --model runs/mine --output exported --formats tflite --input rgb_uint8 --sizes 512x512
  n2n-export --model runs/raw --output exported --formats tflite --input bayer_mosaic \\
      --sizes 512x512 --black_level 64 --white_level 1023

Each file is run by LiteRT in a process of its own, on noisy photographs that did not calibrate it,
beside the network. One that loses more than --max_psnr_drop is not written, and the exit status is
1. The figures are printed, kept in x.tflite.json beside each file, and gathered in report.md for
all files of the folder. docs/mobile.md is the guide for a phone's side.
"""

from __future__ import annotations

import pathlib
import re
import sys
from typing import TYPE_CHECKING

from absl import app, flags

from n2n_tf.cli import program

if TYPE_CHECKING:
    from n2n_tf.export.tflite import Variant

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of a shipped model, folder of a run, .keras, .npz or .pth file. Required.",
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write into. Required.", short_name="o")
FORMATS = flags.DEFINE_list(
    "formats", ["saved_model", "tflite"], "One or several of saved_model, tflite and keras."
)
PRECISIONS = flags.DEFINE_list(
    "precisions",
    ["float32"],
    "Of the TFLite files: float32, float16, dynamic, int8 (all 8 bits), int16x8 (8-bit weights, "
    "16-bit activations: raw data need them).",
)
SIZES = flags.DEFINE_list(
    "sizes",
    ["dynamic"],
    "Of the TFLite files' input: HEIGHTxWIDTH in pixels, e.g. 512x512, or dynamic for any size.",
)
INPUT = flags.DEFINE_enum(
    "input",
    "image",
    ["image", "rgb_uint8", "bayer_mosaic"],
    "What the TFLite files take and return: float images in [0, 1], 8-bit RGB pixels, or a "
    "sensor's mosaic in raw units, beginning on a red pixel (and the noise of the frame, shot and "
    "read, if the network is one for Gaussian noise).",
)
MOSAIC_DTYPE = flags.DEFINE_enum(
    "mosaic_dtype", "uint16", ["uint16", "float32"], "Type of a mosaic's pixels."
)
BLACK_LEVEL = flags.DEFINE_list(
    "black_level",
    None,
    "Black level of a mosaic in raw units, one or four (R, G1, G2, B). Without it and "
    "--white_level the levels are inputs of the file.",
)
WHITE_LEVEL = flags.DEFINE_float("white_level", None, "White (clip) level of a mosaic.")
CALIBRATION_DIR = flags.DEFINE_string(
    "calibration_dir",
    None,
    "Folder of images for int8 and int16x8: clean ones, which get the model's noise, or noisy ones "
    "if it was trained with --noise=none. [photographs of scikit-image]",
)
MAX_PSNR_DROP = flags.DEFINE_float(
    "max_psnr_drop", 0.1, "By how many dB a TFLite file may be worse than the network.", 0.0
)
FRAME = flags.DEFINE_string(
    "frame", None, "HEIGHTxWIDTH of a camera's frame: print how to cut it for files of each size."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace exports that exist.")


def variants() -> list[Variant]:
    """The TFLite files asked for.

    Raises:
        ValueError: for an unknown format, precision, size or level.
    """
    from n2n_tf.export.tflite import PRECISIONS as KNOWN
    from n2n_tf.export.tflite import Variant

    _check_words("formats", FORMATS.value, ("saved_model", "tflite", "keras"))
    _check_words("precisions", PRECISIONS.value, KNOWN)
    sizes = [_size(text) for text in dict.fromkeys(SIZES.value)]
    return [
        Variant(size, precision, INPUT.value, MOSAIC_DTYPE.value, _levels())
        for size in sizes
        for precision in dict.fromkeys(PRECISIONS.value)
    ]


def _check_words(flag, given, known):
    unknown = [word for word in given if word not in known]
    if unknown or not given:
        raise ValueError(
            f"--{flag}={','.join(given)}: {(unknown or ['nothing'])[0]!r} is unknown; known are "
            f"{', '.join(known)}."
        )


def _size(text, flag="sizes"):
    if text == "dynamic" and flag == "sizes":
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise ValueError(f"--{flag}={text}: write HEIGHTxWIDTH, e.g. 512x512, or dynamic.")
    return int(match[1]), int(match[2])


def _levels():
    black, white = BLACK_LEVEL.value, WHITE_LEVEL.value
    if INPUT.value != "bayer_mosaic":
        if black or white:
            raise ValueError("--black_level and --white_level need --input=bayer_mosaic.")
        return "inputs"
    if black is None and white is None:
        return "inputs"
    if black is None or white is None:
        raise ValueError("--black_level and --white_level belong together: give both or neither.")
    try:
        levels = [float(level) for level in black] * (4 // len(black))
    except ValueError as error:
        raise ValueError(f"--black_level={','.join(black)}: {error}.") from error
    if len(black) not in (1, 4) or not all(0 <= level < white for level in levels):
        raise ValueError(
            f"--black_level={','.join(black)}: give one level or four, all from 0 to below "
            f"--white_level={white:g}."
        )
    if white > 65535:
        raise ValueError(f"--white_level={white:g}: is beyond 16 bits.")
    return {"black_level": levels, "white_level": white}


def main(arguments: list[str]) -> int | None:
    """Exports in every format asked for and reports what each file is worth."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}.")

    program.import_tensorflow()
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.export.replacing import check_free
    from n2n_tf.export.report import tile_plan
    from n2n_tf.export.saved_model import export_keras, export_saved_model
    from n2n_tf.model_files.info import NETWORK_FILE

    frame = _size(FRAME.value, "frame") if FRAME.value else None
    wanted = variants() if "tflite" in FORMATS.value else variants() and []
    output = pathlib.Path(OUTPUT.value)
    paths = [output / variant.name for variant in wanted]
    if "saved_model" in FORMATS.value:
        paths.append(output / "saved_model")
    if "keras" in FORMATS.value:
        paths.append(output / "keras" / NETWORK_FILE)
    for path in paths:
        check_free(path, OVERWRITE.value)
    with program.stderr_held():
        denoiser = Denoiser.load(MODEL.value)
    network, info = denoiser.network, denoiser.info
    if network is None:
        raise ValueError(f"{MODEL.value}: is already an export; give the trained network.")
    described = {variant.size: variant.describe(info) for variant in wanted}
    if "saved_model" in FORMATS.value:
        path = output / "saved_model"
        with program.stderr_held():
            difference = export_saved_model(network, path, info, OVERWRITE.value)
        print(f"{path}: {_size_of(path)}, differs from the network by at most {difference:.1e}")
    if "keras" in FORMATS.value:
        export_keras(network, output / "keras", info, OVERWRITE.value)
        print(f"{output / 'keras'}: {_size_of(output / 'keras')}")
    status = _export_all(wanted, network, info, output) if wanted else None
    print(_cost(network))
    for described_info in described.values() if frame else ():
        if described_info.tile:
            print(f"\n{tile_plan(described_info, *frame)}")
    return status


def _export_all(wanted, network, info, output):
    """Writes all TFLite files that are good enough; status 1 if any is not."""
    from n2n_tf.export.replacing import ExportError
    from n2n_tf.export.report import report
    from n2n_tf.export.tflite import export_tflite

    refused = {}
    for variant in wanted:
        path = output / variant.name
        try:
            with program.stderr_held():
                figures = export_tflite(
                    network,
                    path,
                    info,
                    variant,
                    CALIBRATION_DIR.value,
                    MAX_PSNR_DROP.value,
                    OVERWRITE.value,
                )
        except ExportError as error:
            refused[path.name] = error.figures
            print(f"n2n-export: error: {error}", file=sys.stderr)
            continue
        print(f"{path}: {_size_of(path)}, {figures.summary()}", flush=True)
    table = report(output, {name: figures for name, figures in refused.items() if figures})
    if table:
        print(f"\n{table}")
    return 1 if refused else None


def _cost(network):
    from n2n_tf.networks import NETWORKS
    from n2n_tf.networks.cost import multiply_adds

    text = f"{network.name}: {network.count_params():,} parameters"
    if network.name in NETWORKS:  # others may be built of layers that are not counted
        text += f", {multiply_adds(network):,.0f} multiply-adds per pixel"
    return text


def _size_of(path):
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    size = sum(f.stat().st_size for f in files)
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def run() -> None:
    """Entry point of `n2n-export`."""
    flags.mark_flags_as_required(["model", "output"])
    program.start(main, "n2n-export", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
