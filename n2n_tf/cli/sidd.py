"""The raw half of SIDD, the data set of the paper's table 2: prepare it, evaluate on it, submit.

Cut the noisy raws of SIDD_Medium_Raw into sub-images for training, without the scenes of the
validation and benchmark blocks. If it is stopped, run the same command again:

  n2n-sidd prepare --data_dir SIDD_Medium_Raw/Data --output sidd_sub
  n2n-train --preset paper_sidd --data_dir sidd_sub --model_dir runs/sidd

PSNR and SSIM on the validation blocks (ValidationNoisyBlocksRaw.mat, ValidationGtBlocksRaw.mat),
of the noisy blocks and of the denoised ones ('--model noisy' needs no model):

  n2n-sidd evaluate --model runs/sidd --data_dir SIDD_Validation --output results.json

Both compare floats. Raws are dark, so rounding the ground truth to 8 bits, as one does for
photographs, costs a good result decibels, and truncating it, as some code does, even more.
Scored and submitted is the network alone, without the levels and detail that n2n-denoise keeps.

Denoise the benchmark blocks (BenchmarkNoisyBlocksRaw.mat) into SubmitRaw.csv and SubmitRaw.mat:

  n2n-sidd submit --model runs/sidd --data_dir SIDD_Benchmark --output submission

The files of blocks do not say which camera, and so which Bayer pattern, a block has. The published
order of the 40 scenes is assumed unless --scenes gives another.
"""

import functools
import json
import pathlib
import shlex
import sys
import time

from absl import app, flags

from n2n_tf.cli import program
from n2n_tf.pipelines.files.atomic_files import write_json

DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "prepare: folder with the scenes' folders; evaluate, submit: folder with the .mat files of "
    "blocks. Required.",
)
MODEL = flags.DEFINE_string(
    "model",
    None,
    "evaluate, submit: a model of packed camera raw (4 channels), as n2n-denoise takes it; for "
    "evaluate also 'noisy'. Required there.",
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "prepare, submit: folder to write into, required there; evaluate: JSON file with every figure.",
    short_name="o",
)
SIZE = flags.DEFINE_integer("size", 512, "prepare: side of a sub-image in pixels, even.", 2)
STEP = flags.DEFINE_integer(
    "step",
    512,
    "prepare: pixels from one sub-image to the next, even; 256, as the authors' tool has it, "
    "takes four times the space.",
    2,
)
CLEAN = flags.DEFINE_bool(
    "clean",
    False,
    "prepare: cut the clean raws beside the noisy ones too, for what is learned from them.",
)
SCENES = flags.DEFINE_string(
    "scenes",
    None,
    "evaluate, submit: text file with the scene of each row of blocks, one a line, or a folder of "
    "scene folders in that order. [the published order]",
)
FORMAT = flags.DEFINE_enum(
    "format", "both", ["csv", "mat", "both"], "submit: csv is for Kaggle, mat for the older server."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "evaluate, submit: replace files that exist.")

RECORD = "sub_images.json"  # in the folder of sub-images: how they were cut, which scenes are done


def main(arguments: list[str]) -> None:
    """Checks that the flags are those of the action, then does it."""
    if not arguments:
        raise app.UsageError(f"No action: name one of {', '.join(ACTIONS)}")
    name, *more = arguments
    if name not in ACTIONS:
        raise app.UsageError(f"Unknown action {name!r}: it must be one of {', '.join(ACTIONS)}")
    if more:
        raise app.UsageError(f"Unexpected argument {more[0]!r}; files are given by flags")
    action, required, optional = ACTIONS[name]
    for flag in flags.FLAGS.get_key_flags_for_module(sys.modules[__name__]):
        if flag.name in required and not flag.value:
            raise app.UsageError(f"{name}: --{flag.name} must be given")
        if flag.present and flag.name not in required + optional:
            raise app.UsageError(f"{name}: takes no --{flag.name}")
    action()


def prepare() -> None:
    """Cuts all noisy raws into sub-images, scene by scene."""
    if SIZE.value % 2 or STEP.value % 2:
        raise ValueError(
            "--size and --step must be even, so that all sub-images begin on a red pixel. "
            f"Received: --size={SIZE.value} --step={STEP.value}."
        )
    from n2n_tf.pipelines.sidd.scenes import cut_sub_images

    root, folder = pathlib.Path(DATA_DIR.value), _output_folder()
    raws, held_out = _training_raws(root)
    record = _read_record(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, record)
    for scene in program.progress_bar(_scene_folders(raws), desc="Cutting", unit="scene"):
        name = scene.relative_to(root).as_posix()
        if name not in record["scenes"]:
            record["scenes"][name] = cut_sub_images(
                scene, folder, SIZE.value, STEP.value, clean=CLEAN.value
            )
            write_json(folder / RECORD, record)
    print(
        f"{sum(record['scenes'].values())} sub-images of {SIZE.value} x {SIZE.value} pixels from "
        f"{len(raws)} noisy raws in {folder}\n"
        f"{held_out} scenes held out: those of the validation and benchmark blocks\n"
        f"next: n2n-train --preset paper_sidd --data_dir {shlex.quote(str(folder))} "
        "--model_dir runs/sidd"
    )


def _training_raws(root):
    """The noisy raws to cut, and of how many scenes raws are left out."""
    from n2n_tf.pipelines.sidd.scenes import HELD_OUT_SCENES, list_noisy

    found = list_noisy(root, without=())
    raws = [path for path in found if path.parent.name not in HELD_OUT_SCENES]
    if not raws:
        raise ValueError(f"{root}: holds validation and benchmark scenes only, none for training.")
    seen = {}
    for path in raws:
        if (other := seen.setdefault(path.stem.lower(), path)) != path:
            raise ValueError(f"{other} and {path}: two raws of one name; remove one.")
    return raws, len({path.parent for path in found} - {path.parent for path in raws})


def _scene_folders(raws):
    """The folders the raws lie in, without those inside another of them."""
    folders = {path.parent for path in raws}
    return sorted(folder for folder in folders if not folders & set(folder.parents))


def _read_record(folder):
    """What an earlier run did: {"size", "step", "clean", "scenes": {name: sub-images written}}."""
    fresh = {"size": SIZE.value, "step": STEP.value, "clean": CLEAN.value, "scenes": {}}
    if not (folder / RECORD).exists():
        if any(folder.glob("*.npy")):
            raise FileExistsError(f"--output={folder} holds .npy files already; give another.")
        return fresh
    try:
        record = {"clean": False} | json.loads((folder / RECORD).read_text())
        same = all(record[key] == fresh[key] for key in ("size", "step", "clean"))
        done = dict(record["scenes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / RECORD}: damaged; give another --output.") from error
    if not same:
        raise FileExistsError(
            f"--output={folder} holds sub-images cut with --size={record['size']} "
            f"--step={record['step']}{' --clean' if record['clean'] else ', without --clean'}; "
            "give another folder."
        )
    return fresh | {"scenes": done}


def evaluate() -> None:
    """Scores the noisy and the denoised validation blocks and prints the means."""
    output = OUTPUT.value and pathlib.Path(OUTPUT.value)
    if output:
        if output.is_dir():
            raise ValueError(f"--output={output} is a folder; name a JSON file.")
        _refuse_existing(output)
    noisy, patterns = _read_blocks("ValidationNoisyBlocksRaw.mat")
    clean, _ = _read_blocks("ValidationGtBlocksRaw.mat")
    unlike = _warn_of_unlike(clean, patterns)
    denoiser = None if MODEL.value == "noisy" else _load_denoiser()
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
    rows = _score_scenes(denoiser, noisy, clean, patterns)
    figures = [key for key in rows[0] if key not in ("number", "pattern")]
    # All scenes have equally many blocks: the mean over scenes is the mean over blocks.
    means = {key: sum(row[key] for row in rows) / len(rows) for key in figures}
    print(f"{noisy.shape[0]} x {noisy.shape[1]} validation blocks, model {MODEL.value}")
    print(f"{'':8} {'PSNR / SSIM':>17}")
    for kind, end in (("noisy", "_noisy"), ("denoised", "")):
        if f"psnr{end}" in means:
            scores = f"{means[f'psnr{end}']:.4f} / {means[f'ssim{end}']:.5f}"
            print(f"{kind:8} {scores:>17}")
    if output:
        about = {"model": MODEL.value, "blocks": list(noisy.shape), "unlike_pattern": unlike}
        write_json(output, about | means | {"per_scene": rows}, OVERWRITE.value)
        print(f"wrote {output}")


def _score_scenes(denoiser, noisy, clean, patterns):
    """[{"number", "pattern", "psnr_noisy", "ssim_noisy", "psnr", "ssim"}]; noisy: without the last.

    The noisy blocks are clipped to [0, 1] as the denoised ones are.
    """
    from n2n_tf.pipelines.sidd.blocks import evaluate_blocks

    rows = []
    with program.progress_bar(
        total=noisy.shape[0] * noisy.shape[1], unit="block", leave=False
    ) as bar:
        for index, pattern in enumerate(patterns):
            scene = noisy[index : index + 1], clean[index : index + 1], [pattern]
            before = evaluate_blocks(lambda planes: planes, *scene)
            row = {f"{key}_noisy": value for key, value in before.items()}
            if denoiser:
                row |= evaluate_blocks(lambda planes: _denoise(denoiser, planes), *scene)
            rows.append({"number": index + 1, "pattern": pattern} | row)
            bar.update(noisy.shape[1])
    return rows


def _warn_of_unlike(clean, patterns):
    """Warns of, and returns, the numbers of scenes whose colours contradict their pattern."""
    from n2n_tf.pipelines.sidd.blocks import unlike_pattern

    numbers = [index + 1 for index in unlike_pattern(clean, patterns)]
    if numbers:
        listed = ", ".join(f"{number} ({patterns[number - 1]})" for number in numbers)
        print(
            f"n2n-sidd: warning: by their colours these of the {len(patterns)} scenes have another "
            f"Bayer pattern than assumed: {listed}. If the scenes are in another order, name it "
            "with --scenes; a grey scene can be a false alarm.",
            file=sys.stderr,
        )
    return numbers


def submit() -> None:
    """Denoises the benchmark blocks and writes them as the benchmark takes them."""
    import numpy as np

    from n2n_tf.pipelines.files.atomic_files import atomic_file
    from n2n_tf.pipelines.sidd import blocks as sidd_blocks
    from n2n_tf.pipelines.sidd import files as sidd_files

    kinds = ("csv", "mat") if FORMAT.value == "both" else (FORMAT.value,)
    folder = _output_folder()
    files = {kind: folder / f"SubmitRaw.{kind}" for kind in kinds}
    for file in files.values():
        _refuse_existing(file)
    noisy, patterns = _read_blocks("BenchmarkNoisyBlocksRaw.mat")
    denoiser = _load_denoiser()
    folder.mkdir(parents=True, exist_ok=True)
    denoiser(np.zeros((*(side // 2 for side in noisy.shape[2:]), 4), np.float32))  # not timed
    seconds = []
    with program.progress_bar(
        total=noisy.shape[0] * noisy.shape[1], unit="block", leave=False
    ) as bar:

        def denoise(planes):
            start = time.perf_counter()
            denoised = _denoise(denoiser, planes)
            seconds.append(time.perf_counter() - start)
            bar.update(len(planes))
            return denoised

        denoised = sidd_blocks.denoise_blocks(denoise, noisy, patterns)
    pace = sum(seconds) / (noisy.size / 1e6)
    for kind, file in files.items():
        with atomic_file(file, OVERWRITE.value) as temporary:
            if kind == "csv":
                sidd_files.write_submit_csv(temporary, denoised, sidd_files.BLOCKS_SHAPE)
            else:
                sidd_files.write_submit_mat(
                    temporary, denoised, pace, shape=sidd_files.BLOCKS_SHAPE
                )
        print(f"wrote {file}")
    print(f"{pace:.3g} seconds per megapixel")


def _read_blocks(name):
    """Blocks [scenes, blocks, H, W] of a file in --data_dir, and the pattern of each scene."""
    from n2n_tf.pipelines.sidd import blocks as sidd_blocks
    from n2n_tf.pipelines.sidd import files as sidd_files

    patterns = sidd_blocks.block_patterns(*([SCENES.value] if SCENES.value else []))
    if len(patterns) != sidd_files.BLOCKS_SHAPE[0]:
        raise ValueError(
            f"--scenes={SCENES.value}: must name {sidd_files.BLOCKS_SHAPE[0]} scenes. "
            f"Received: {len(patterns)}."
        )
    return sidd_files.read_blocks(
        pathlib.Path(DATA_DIR.value) / name, sidd_files.BLOCKS_SHAPE
    ), patterns


def _load_denoiser():
    program.import_tensorflow()
    from n2n_tf.denoising.denoiser import Denoiser

    with program.stderr_held():
        denoiser = Denoiser.load(MODEL.value)
    if denoiser.channels != 4:
        raise ValueError(
            f"--model={MODEL.value}: takes images of {denoiser.channels} channels; SIDD's raws "
            "need a model of packed camera raw, 4 channels (n2n-train --preset paper_sidd)."
        )
    return denoiser


def _denoise(denoiser, planes):
    """Packed raw float32 [N, h, w, 4] -> the same, denoised one by one."""
    import numpy as np

    from n2n_tf.denoising.raw_frames import denoise_planes

    gaussian = denoiser.info.noise_level is not None  # it has to know the noise of what it sees
    denoise = functools.partial(denoise_planes, denoiser) if gaussian else denoiser.bare
    return np.stack([denoise(image) for image in planes])


def _output_folder():
    folder = pathlib.Path(OUTPUT.value)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output={folder} is a file; name a folder.")
    return folder


def _refuse_existing(file):
    if file.exists() and not OVERWRITE.value:
        raise FileExistsError(f"{file} exists already; --overwrite replaces it.")


# What each action needs and may be given; other flags are refused, lest they pass unheeded.
ACTIONS = {
    "prepare": (prepare, ("data_dir", "output"), ("size", "step", "clean")),
    "evaluate": (evaluate, ("data_dir", "model"), ("scenes", "output", "overwrite")),
    "submit": (submit, ("data_dir", "model", "output"), ("scenes", "format", "overwrite")),
}


def run() -> None:
    """Entry point of `n2n-sidd`."""
    program.start(main, "n2n-sidd", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
