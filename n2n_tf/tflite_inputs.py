"""What a `.tflite` file takes and returns: float images, 8-bit pixels or a sensor mosaic.

`encode` and `decode` translate between that and the network's own domain, float images in [0, 1];
`wrap` puts the same translation in front of and behind the network, inside the file.
"""

import hashlib
import json
import zipfile

import numpy as np
import tensorflow as tf

from n2n_tf.model_info import INFO_FILE, ModelError, check_info, info_path, read_info
from n2n_tf.tiling import reflect_pad_batch

INPUTS = {
    "image": "float32 [1, H, W, channels] in nominal range [0, 1], which noise may leave",
    "rgb_uint8": "uint8 [1, H, W, 3], sRGB pixels; the same comes back, rounded and clipped",
    "bayer_mosaic": (
        "sensor mosaic [1, H, W, 1] in raw units that begins on a red pixel, uint16 or float32; "
        "the same comes back, rounded and clipped to [0, white level]"
    ),
}
# Folds 2x2 cells into channels and back. As convolutions they also exist in int16 kernels and in
# every delegate, which space-to-depth does not; planes are then R, G1, G2, B of an RGGB mosaic.
CELLS = np.eye(4, dtype=np.float32).reshape(2, 2, 1, 4)
CALIBRATED = "int8", "int16x8"  # precisions in integer arithmetic, with ranges from noisy images
# For files whose levels are inputs: what `encode` uses, with room for noise below black.
USUAL_LEVELS = {"black_level": [1024.0] * 4, "white_level": 16383.0}


def levels_of(info):
    """The levels (black [4], white) that a mosaic file of this model.json is run with."""
    levels = USUAL_LEVELS if info["levels"] == "inputs" else info["levels"]
    black = np.asarray(levels["black_level"], np.float32)
    return black, np.float32(levels["white_level"])


def encode(noisy, info):
    """Translates a noisy image into what a file takes.

    Args:
        noisy: float32 [1, h, w, channels], nominal range [0, 1]; packed RGGB for raw models.
        info: dict, the file's model.json.

    Returns:
        dict of arrays, the arguments of the signature `denoise`.
    """
    kind = info.get("input", "image")
    if kind == "rgb_uint8":
        return {"noisy": np.uint8(np.clip(noisy, 0, 1) * 255 + 0.5)}
    if kind == "image":
        return {"noisy": np.ascontiguousarray(noisy, np.float32)}
    black, white = levels_of(info)
    raw = noisy * (white - black) + black
    batch, height, width, _ = raw.shape
    cells = raw.reshape(batch, height, width, 2, 2).transpose(0, 1, 3, 2, 4)
    mosaic = cells.reshape(batch, 2 * height, 2 * width, 1)
    if info["dtype"] == "uint16":
        mosaic = np.clip(np.rint(mosaic), 0, 65535)
    arguments = {"noisy": mosaic.astype(info["dtype"])}
    if info["levels"] == "inputs":
        arguments |= {"black_level": black, "white_level": white[None]}
    return arguments


def decode(values, info):
    """Translates what a file returns, or its argument `noisy`, into an image in [0, 1].

    The inverse of `encode`, but for rounding and clipping.
    """
    kind = info.get("input", "image")
    if kind == "rgb_uint8":
        return values.astype(np.float32) / 255
    if kind == "image":
        return np.asarray(values, np.float32)
    black, white = levels_of(info)
    batch, height, width, _ = values.shape
    cells = values.astype(np.float32).reshape(batch, height // 2, 2, width // 2, 2)
    planes = cells.transpose(0, 1, 3, 2, 4).reshape(batch, height // 2, width // 2, 4)
    return (planes - black) / (white - black)


def rounding_step(info):
    """How far apart the values lie that a file returns, in units of the image's [0, 1]."""
    if info["input"] == "rgb_uint8":
        return 1 / 255
    if info["input"] == "bayer_mosaic" and info["dtype"] == "uint16":
        black, white = levels_of(info)
        return 1 / float(white - black.max())
    return 0.0


def finish(denoised, noisy, info):
    """What a file does to the network's result before it returns it, but for rounding.

    Args:
        denoised, noisy: float32 [1, h, w, channels] in nominal range [0, 1].
        info: dict, the file's model.json.
    """
    kind = info["input"]
    if kind == "image":
        return denoised
    if kind == "rgb_uint8":
        return np.clip(denoised, 0, 1)
    black, white = levels_of(info)
    denoised = np.clip(denoised, -black / (white - black), 1)
    return np.where(noisy >= 1, noisy, denoised) if info["keeps_clipped"] else denoised


def wrap(network, info):
    """Builds the function that a file computes.

    Args:
        network: functional `keras.Model` in float32.
        info: dict, the file's model.json; `tile` is [h, w] of the network's input, or None for
            any size, which is then padded and cropped inside.

    Returns:
        `(function, signature)`: callable of tensors -> {"denoised": tensor}, and its list of
        `tf.TensorSpec`.
    """
    tile, multiple = info["tile"], info["size_multiple"]

    def run(image):
        if tile:
            return network(image, training=False)
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        padded = reflect_pad_batch(image, multiple)
        return network(padded, training=False)[:, :height, :width]

    kind = info["input"]
    height, width = tile or (None, None)
    batch = 1 if tile else None
    if kind == "bayer_mosaic":
        return _mosaic(run, info, batch, tile and (2 * height, 2 * width))
    shape = (batch, height, width, info["channels"])
    if kind == "image":
        return lambda noisy: {"denoised": run(noisy)}, [tf.TensorSpec(shape, tf.float32, "noisy")]
    if info["precision"] == "int8":  # its own quantisation of [0, 1] with the step 1/255 is uint8
        # Pixels pass the first ReLU unchanged; it parts their quantisation from that of what the
        # network concatenates them with.
        clipped = lambda noisy: {"denoised": _clip(run(tf.nn.relu(noisy)), 1.0)}  # noqa: E731
        return clipped, [tf.TensorSpec(shape, tf.float32, "noisy")]

    def denoise(noisy):
        denoised = run(tf.cast(noisy, tf.float32) * np.float32(1 / 255))
        return {"denoised": tf.cast(tf.clip_by_value(denoised * 255 + 0.5, 0.0, 255.0), tf.uint8)}

    return denoise, [tf.TensorSpec(shape, tf.uint8, "noisy")]


def _clip(image, white):
    """To [0, white] by operations whose int8 kernels agree with float, unlike RELU and MINIMUM."""
    return white - tf.nn.relu(white - tf.nn.relu(image))


def _mosaic(run, info, batch, size):
    dtype, calibrated = tf.as_dtype(info["dtype"]), info["precision"] in CALIBRATED
    height, width = size or (None, None)
    signature = [tf.TensorSpec((batch, height, width, 1), dtype, "noisy")]
    if info["levels"] == "inputs":
        signature += [
            tf.TensorSpec((4,), tf.float32, "black_level"),
            tf.TensorSpec((1,), tf.float32, "white_level"),
        ]

    def denoise(noisy, black_level=None, white_level=None):
        if black_level is None:
            black_level, white_level = (tf.constant(level) for level in levels_of(info))
        raw = tf.cast(noisy, tf.float32)
        into_cells, out_of_cells = (_by_convolution if calibrated else _by_arithmetic)(
            black_level, white_level - black_level
        )
        planes = out_of_cells(run(into_cells(raw)))
        shape = tf.shape(raw) if size is None else (batch, height, width, 1)
        mosaic = _clip(tf.nn.conv2d_transpose(planes, CELLS, shape, 2, "VALID"), white_level)
        if info["keeps_clipped"]:
            mosaic = tf.where(raw >= white_level, raw, mosaic)
        return {"denoised": tf.cast(tf.round(mosaic), dtype) if dtype.is_integer else mosaic}

    return denoise, signature


def _by_arithmetic(black, span):
    """Mosaic in raw units -> normalised planes, and normalised planes -> planes in raw units."""
    return (
        lambda raw: (tf.nn.conv2d(raw, CELLS, 2, "VALID") - black) / span,
        lambda planes: planes * span + black,
    )


def _by_convolution(black, span):
    """The same for integer kernels, whose subtraction and multiplication of images are far off."""
    diagonal = np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4)
    return (
        lambda raw: tf.nn.bias_add(tf.nn.conv2d(raw, CELLS / span, 2, "VALID"), -black / span),
        lambda planes: tf.nn.bias_add(tf.nn.conv2d(planes, diagonal * span, 1, "VALID"), black),
    )


def write_tflite(path, content, info):
    """Writes a file with its model.json inside, and the same with a checksum beside it.

    Inside, it is an associated file as TFLite's metadata format has them: a zip archive at the
    file's end, which `unzip -p x.tflite model.json` reads.

    Args:
        path: x.tflite; x.tflite.json is written beside it.
        content: bytes, the converted model.
        info: dict for model.json.
    """
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: equal models are equal files.
        entry = zipfile.ZipInfo(INFO_FILE, (1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, json.dumps(info, indent=2) + "\n")
    info = info | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    info_path(path).write_text(json.dumps(info, indent=2) + "\n")


def add_to_info(path, more):
    """Adds entries to the model.json beside a `.tflite` file."""
    beside = info_path(path)
    info = json.loads(beside.read_text()) | more
    beside.write_text(json.dumps(info, indent=2) + "\n")


def read_tflite_info(path):
    """Reads the model.json beside a `.tflite` file, or the one inside it if there is none.

    Raises:
        ModelError: if it is missing, damaged, lacks something or belongs to another file.
    """
    beside = info_path(path)
    info = read_info(beside) if beside.exists() else _info_inside(path)
    info = {"input": "image", "tile": None} | info
    tile = info["tile"]
    sides = tile if isinstance(tile, list) and len(tile) == 2 else [0]
    if tile is not None and not all(_is_side(side, info["size_multiple"]) for side in sides):
        raise ModelError(f"{path}: 'tile' must be two sides in pixels or null, is {tile!r:.50}.")
    if info["input"] not in INPUTS:
        raise ModelError(
            f"{path}: 'input' must be one of {', '.join(INPUTS)}, is {info['input']!r:.50}."
        )
    if info["input"] == "bayer_mosaic":
        _check_mosaic(path, info)
    held = info.get("sha256")
    if held and held != hashlib.sha256(path.read_bytes()).hexdigest():
        raise ModelError(
            f"{path}: is not the file that {beside.name} describes (another checksum): it is "
            "damaged, or one of the two was replaced."
        )
    return info


def _is_side(side, multiple):
    return type(side) is int and 0 < side <= 1 << 16 and side % multiple == 0


def _info_inside(path):
    try:
        with zipfile.ZipFile(path) as archive:
            info = json.loads(archive.read(INFO_FILE))
    except Exception as error:  # damaged archives raise many types
        raise ModelError(
            f"{info_path(path)}: missing, and there is no {INFO_FILE} inside the .tflite file "
            "either; it was written beside the model, copy both."
        ) from error
    return check_info(info, path)


def _check_mosaic(path, info):
    levels, dtype = info.get("levels"), info.get("dtype")
    if info["channels"] != 4 or dtype not in ("uint16", "float32") or "keeps_clipped" not in info:
        raise ModelError(
            f"{path}: a mosaic file has 4 channels, dtype uint16 or float32, and keeps_clipped."
        )
    try:
        black, white = levels_of(info)
        good = black.shape == (4,) and white.shape == () and (black < white).all()
    except (TypeError, KeyError, ValueError):
        good = False
    if not good:
        raise ModelError(
            f"{path}: 'levels' must be \"inputs\" or four black levels below a white level, is "
            f"{levels!r:.80}."
        )
