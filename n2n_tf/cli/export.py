"""Export a trained network for serving: a SavedModel folder and a float TFLite file.

  n2n-export --model runs/mine --output exported/

writes exported/saved_model/ and exported/model.tflite with model.tflite.json beside it. Both take
float images of any height and width, under the signature denoise(noisy) -> denoised. Each is run
and compared with the network before its files appear.
"""

import pathlib
import sys

from absl import app, flags

from n2n_tf import cli

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Folder of a training, .keras or .pth file, or the name of a shipped model. Required.",
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to write into. Required.", short_name="o")
FORMATS = flags.DEFINE_multi_enum(
    "formats",
    ["saved_model", "tflite"],
    ["saved_model", "tflite"],
    "What to write; may be given several times.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace exports that exist.")


def main(arguments):
    """Exports in every format asked for and reports sizes and differences."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}.")

    cli.import_tensorflow()
    from n2n_tf.denoiser import Denoiser
    from n2n_tf.export import check_free, export_saved_model, export_tflite

    output = pathlib.Path(OUTPUT.value)
    targets = {
        "saved_model": (export_saved_model, output / "saved_model"),
        "tflite": (export_tflite, output / "model.tflite"),
    }
    wanted = [targets[name] for name in dict.fromkeys(FORMATS.value)]
    for _, path in wanted:
        check_free(path, OVERWRITE.value)
    with cli.stderr_held():
        denoiser = Denoiser.load(MODEL.value)
    if denoiser.network is None:
        raise ValueError(f"{MODEL.value}: is an export already; give the trained network.")
    for export, path in wanted:
        with cli.stderr_held():
            difference = export(denoiser.network, path, denoiser.info, OVERWRITE.value)
        print(f"{path}: {_size(path)}, differs from the network by at most {difference:.1e}")


def _size(path):
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    size = sum(f.stat().st_size for f in files)
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def run():
    """Entry point of `n2n-export`."""
    flags.mark_flags_as_required(["model", "output"])
    cli.start(main, "n2n-export", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
