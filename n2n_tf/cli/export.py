"""Export a trained network for serving: a SavedModel folder and a float TFLite file.

  n2n-export --model runs/mine --output exported/

Both take images of any height and width, under the signature denoise(noisy) -> denoised. Each is
run and compared with the network before its files appear.
"""

import pathlib
import sys

from absl import app, flags

from n2n_tf import cli

MODEL = flags.DEFINE_string("model", None, "Folder of a training, .keras or .pth file.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write into.", short_name="o")
FORMATS = flags.DEFINE_multi_enum(
    "formats", ["saved_model", "tflite"], ["saved_model", "tflite"], "What to write."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace exports that exist.")


def main(arguments):
    """Exports in every format asked for and reports sizes and differences."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}.")

    from n2n_tf.denoiser import Denoiser
    from n2n_tf.export import export_saved_model, export_tflite

    denoiser = Denoiser.load(MODEL.value)
    if denoiser.network is None:
        raise ValueError(f"{MODEL.value}: is an export already; give the trained network.")
    output = pathlib.Path(OUTPUT.value)
    targets = {
        "saved_model": (export_saved_model, output / "saved_model"),
        "tflite": (export_tflite, output / "model.tflite"),
    }
    for name in FORMATS.value:
        export, path = targets[name]
        difference = export(denoiser.network, path, denoiser.info, OVERWRITE.value)
        files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
        size = sum(f.stat().st_size for f in files) / 1e6
        print(f"{path}: {size:.1f} MB, differs from the network by at most {difference:.1e}")


def run():
    """Entry point of `n2n-export`."""
    flags.mark_flags_as_required(["model", "output"])
    cli.start(main, "n2n-export", sys.modules[__name__])


if __name__ == "__main__":
    run()
