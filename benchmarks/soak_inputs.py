"""Files with damaged bytes through every reader: do they only ever read or refuse?

  python benchmarks/soak_inputs.py [--mutations 12000] [--seed 0] [--kinds png,tiff] [--keep FOLDER]

Small sound files of each kind are damaged at random (bits, header numbers, cuts, repeats, splices)
and read in a process of their own, which may die, hang or eat memory without taking the count
along. Prints one row for each kind; files that did worse than read or refuse go into
--keep. Exit status 1 if there are any.
"""

import argparse
import dataclasses
import io
import json
import multiprocessing
import os
import pathlib
import resource
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib

import numpy as np

SECONDS = 10  # longer is a hang
BAD = "traceback", "crash", "hang"
ADDRESS_SPACE = 24 << 30  # bytes, of the process that reads; it must not take the machine along
INTERESTING = (0, 1, 2, 3, 4, 7, 8, 9, 16, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
               20_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip


# Damage


def mutate(data, others, rng):
    """`data` with one damage or a few; splices take from `others`."""
    for _ in range(rng.geometric(0.5)):
        data = DAMAGES[rng.integers(len(DAMAGES))](bytearray(data), others, rng)
    return bytes(data)


def _place(data, rng):
    """An index, more often near the beginning or the end, where the headers are."""
    index = int(rng.random() ** 3 * len(data))
    return index if rng.random() < 0.8 else len(data) - 1 - index


def _flip(data, others, rng):
    for _ in range(rng.integers(1, 9)):
        if data:
            data[_place(data, rng)] ^= 1 << rng.integers(8)
    return data


def _number(data, others, rng):
    """Another number of 1, 2, 4 or 8 bytes, little- or big-endian."""
    order, size = "<>"[rng.integers(2)], (1, 2, 4, 8)[rng.integers(4)]
    if len(data) >= 8:
        at = min(_place(data, rng), len(data) - 8)
        at -= at % min(size, 2) if rng.random() < 0.7 else 0
        value = INTERESTING[rng.integers(len(INTERESTING))] & (1 << 8 * size) - 1
        struct.pack_into(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], data, at, value)
    return data


def _cut(data, others, rng):
    return data[: _place(data, rng)] if rng.random() < 0.3 else data


def _remove(data, others, rng):
    at = _place(data, rng)
    del data[at : at + rng.integers(1, 65)]
    return data


def _repeat(data, others, rng):
    at, length = _place(data, rng), int(rng.integers(1, 257))
    return data[:at] + data[at : at + length] * int(rng.integers(2, 20)) + data[at:]


def _splice(data, others, rng):
    other = others[rng.integers(len(others))]
    start = int(rng.integers(len(other)))
    piece = other[start : start + rng.integers(1, 513)]
    at = _place(data, rng)
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.7 else 0) :]


DAMAGES = (_flip, _flip, _number, _number, _number, _cut, _remove, _repeat, _splice)


def with_checksums(data):
    """A PNG with right CRCs, so that damage gets behind them."""
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, at)
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


def rezipped(data, others, rng):
    """An archive with damage in one of its members, its own structure sound."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        members = [(name, old.read(name)) for name in old.namelist()]
        chosen = rng.integers(len(members))
        for index, (name, content) in enumerate(members):
            new.writestr(name, mutate(content, [data], rng) if index == chosen else content)
    return out.getvalue()


# Sound files


def pngs():
    import imagecodecs

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    for pixels in _pictures():
        yield imagecodecs.png_encode(pixels)
    colour = imagecodecs.png_encode(_pictures()[1])
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words " * 1000))
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3000)))
    yield colour[:33] + text + profile + colour[33:]
    for depth in (1, 4, 8):
        header = struct.pack(">IIBBBBB", 24, 20, depth, 3, 0, 0, depth == 8)
        rows = bytes(20 * (1 + 24 * depth // 8) * 2)
        palette = chunk(b"PLTE", bytes(3 * n % 256 for n in range(3 * 2**depth)))
        yield (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + palette
            + chunk(b"tRNS", b"\0\xff")
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )


def jpegs():
    import PIL.Image

    gray, colour, _, clear = _pictures()
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    for pixels, options in (
        (gray, {}),
        (colour, {}),
        (colour, {"progressive": True}),
        (colour, {"exif": turned, "subsampling": 0}),
        (colour, {"restart_marker_blocks": 2}),
        (clear, {"mode": "CMYK"}),
    ):
        file = io.BytesIO()
        image = PIL.Image.fromarray(pixels)
        image.convert(options.pop("mode", image.mode)).save(file, "jpeg", **options)
        yield file.getvalue()


def bmps():
    import cv2

    for pixels in _pictures():
        if pixels.dtype == np.uint8:
            yield cv2.imencode(".bmp", pixels)[1].tobytes()
    for bits, compression, body in (
        (8, 1, b"\x08\x05" * 40 + b"\0\0\0\1"),
        (4, 2, b"\x08\x15\0\1"),
    ):
        table = bytes(4 << bits)
        header = struct.pack("<IiiHHIIiiII", 40, 8, 40, 1, bits, compression, len(body), 0, 0, 0, 0)
        start = 14 + len(header) + len(table)
        yield struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + table + body
    yield (
        b"BM"
        + struct.pack("<IHHI", 26 + 24 * 8, 0, 0, 26)
        + struct.pack("<IHHHH", 12, 8, 8, 1, 24)
        + bytes(24 * 8)
    )


def tiffs():
    import tifffile

    gray, colour, deep, clear = _pictures()
    floats = colour.astype(np.float32) / 255
    for pixels, options in (
        (colour, {}),
        (colour, {"compression": "zlib", "predictor": True}),
        (colour, {"compression": "lzw", "predictor": True}),
        (gray, {"compression": "packbits", "byteorder": ">"}),
        (colour, {"compression": "jpeg", "tile": (16, 16)}),
        (deep, {"tile": (16, 16), "compression": "lzma"}),
        (deep, {"compression": "zstd", "bigtiff": True}),
        (floats, {"compression": "zlib", "predictor": True}),
        (colour, {"compression": "webp"}),
        (colour, {"compression": "jpeg2000"}),
        (gray, {"compression": "png"}),
        (colour, {"compression": "jpegxl"}),
        (colour, {"compression": "lerc"}),
        (gray, {"photometric": "miniswhite", "rowsperstrip": 3}),
        (np.moveaxis(colour, 2, 0), {"planarconfig": "separate", "compression": "zlib"}),
        (clear, {"extrasamples": [1]}),
        (np.stack([gray] * 3), {"photometric": "minisblack"}),
    ):
        colours = "minisblack" if pixels is gray else "rgb"
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **{"photometric": colours, "metadata": None} | options)
        yield file.getvalue()


def _pictures():
    """Small gray, colour, 16-bit and transparent pictures with some structure."""
    y, x = np.mgrid[:40, :48]
    colour = np.dstack([5 * x, 6 * y, 3 * x + 2 * y]).astype(np.uint8)
    alpha = np.uint8(255 * (x > y))
    gray, deep = colour[..., 0].copy(), colour.astype(np.uint16) * 257
    return gray, colour, deep, np.dstack([colour, alpha])


def raws():
    from n2n_tf.pipelines.raw.dng import encode_dng
    from n2n_tf.pipelines.raw.frame import RawFrame

    mosaic = np.random.default_rng(0).integers(64, 4096, (64, 80), np.uint16)
    preview = np.full((32, 40, 3), 90, np.uint8)
    frame = RawFrame(mosaic, "RGGB", (64.0,) * 4, 4095, make="Acme", model="Test", iso=100)
    yield encode_dng(frame, mosaic)
    yield encode_dng(frame, mosaic, compress=False)
    yield encode_dng(frame, mosaic, preview=preview, noise_profile=(1e-3, 1e-6))


def tag_blocks():
    """What `raw_tags` reads: a TIFF, its EXIF in a JPEG, a Canon CR3."""
    for dng in raws():
        tiff = dng[-1500:] if len(dng) > 60000 else dng
        yield dng
        yield b"\xff\xd8\xff\xe1" + struct.pack(">H", 60000) + b"Exif\0\0" + tiff
        yield struct.pack(">I", 24) + b"ftypcrx " + bytes(40) + b"CMT1" + tiff + b"CMT2" + tiff


def _network():
    from n2n_tf.networks.unet import unet

    return unet(channels=1, features=2)


def keras_files():
    from n2n_tf.method.trainer import Neighbor2Neighbor

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.keras"
        for model in (_network(), Neighbor2Neighbor(_network())):
            model.save(path)
            yield path.read_bytes()


def jsons():
    info = {"network": "unet", "channels": 1, "size_multiple": 32, "halo": 160}
    yield json.dumps(info).encode()
    yield json.dumps(info, indent=2).encode()


def pths():
    """The state dict of a small U-Net in both formats of torch.save, written without PyTorch."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
    from torch_bytes import FILE_OF, dictionary, tensor

    for form in FILE_OF.values():
        yield form(dictionary(a=tensor(), b=tensor(offset=1, size=(2,), stride=(2,))))
        yield form(dictionary(state_dict=dictionary(a=tensor())))


def npzs():
    weights = {"a/kernel": np.ones((3, 3, 2, 4), np.float32), "a/bias": np.zeros(4, np.float16)}
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **weights)
        yield file.getvalue()


def exports():
    """A SavedModel's files in one archive: name -> bytes."""
    from n2n_tf.export.saved_model import export_saved_model
    from n2n_tf.model_files.keras_file import describe

    with tempfile.TemporaryDirectory() as folder:
        network, path = _network(), pathlib.Path(folder) / "model"
        export_saved_model(network, path, describe(network))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for part in sorted(p for p in path.rglob("*") if p.is_file()):
                archive.write(part, part.relative_to(path))
        yield file.getvalue()


def tflites():
    from n2n_tf.export.tflite import export_tflite
    from n2n_tf.model_files.keras_file import describe

    with tempfile.TemporaryDirectory() as folder:
        network, path = _network(), pathlib.Path(folder) / "model.tflite"
        export_tflite(network, path, describe(network))
        yield path.read_bytes()


# Readers: each takes the path of a damaged file, and raises one of its own errors to refuse it


def read_picture(path):
    from n2n_tf.pipelines.files.image_files import read_image

    read_image(path)


def read_and_write_raw(path):
    """Read, written as a DNG and developed, as n2n-denoise does with --preview."""
    from n2n_tf.pipelines.raw.camera_files import read_raw
    from n2n_tf.pipelines.raw.develop import develop
    from n2n_tf.pipelines.raw.dng import encode_dng

    frame = read_raw(path)
    encode_dng(frame, frame.mosaic, preview=develop(frame, half_size=True, rotate=False))
    develop(path)


def read_tags(path):
    from n2n_tf.pipelines.raw.tiff_tags import read_metadata, tag_values

    metadata = read_metadata(path.read_bytes())
    for directory in (*metadata.directories, metadata.exif, metadata.gps):
        for tag in directory.values():
            tag_values(tag)


def read_pth(path):
    from n2n_tf.model_files.torch_checkpoint import read_state_dict

    read_state_dict(path)


def read_npz(path):
    from n2n_tf.model_files import npz_file

    npz_file.read_npz(path)


def read_json(path):
    from n2n_tf.model_files.info import read_info

    read_info(path)


def read_keras(path):
    from n2n_tf.model_files.keras_file import load_network

    load_network(path)


def read_tflite(path):
    from n2n_tf.denoising.denoiser import Denoiser

    info = {"channels": 1, "size_multiple": 32, "halo": 160}
    path.with_name(f"{path.name}.json").write_text(json.dumps(info))
    Denoiser.load(path)


def read_saved_model(path):
    from n2n_tf.denoising.denoiser import Denoiser

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        Denoiser.load(folder)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        sound: callable -> iterable of the bytes of sound files.
        read: one of the readers above, by name: it runs in another process.
        suffix: of the damaged files.
        share: of all mutations, relative to the others'.
        mend: None, or how to damage (data, others, rng) behind checksums, half the time.
        always: bool, `mend` damages every time.
    """

    sound: object
    read: str
    suffix: str
    share: int = 10
    mend: object = None
    always: bool = False


def _mend_png(data, others, rng):
    return with_checksums(mutate(data, others, rng))


TABLE = {
    "png": Kind(pngs, "read_picture", ".png", 20, _mend_png),
    "jpeg": Kind(jpegs, "read_picture", ".jpg", 15),
    "bmp": Kind(bmps, "read_picture", ".bmp", 10),
    "tiff": Kind(tiffs, "read_picture", ".tif", 30),
    "raw": Kind(raws, "read_and_write_raw", ".dng", 15),
    "raw tags": Kind(tag_blocks, "read_tags", ".exif", 10),
    "pth": Kind(pths, "read_pth", ".pth", 15, rezipped),
    "npz": Kind(npzs, "read_npz", ".npz", 5, rezipped),
    "model.json": Kind(jsons, "read_json", ".json", 5),
    "keras": Kind(keras_files, "read_keras", ".keras", 4, rezipped),
    "tflite": Kind(tflites, "read_tflite", ".tflite", 4),
    "saved_model": Kind(exports, "read_saved_model", ".zip", 3, rezipped, always=True),
}


# The process that reads


def serve(connection):
    """Reads files until told to stop; answers (outcome, detail, peak resident MiB)."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (job := connection.recv()) is not None:
        reader, path = job
        _reset_peak()
        connection.send((*_outcome(globals()[reader], pathlib.Path(path)), _peak()))


def _outcome(read, path):
    """("read" | "refused" | "traceback", detail): errors told in a line at the prompt are clean."""
    try:
        read(path)
    except (ValueError, OSError) as error:
        named = str(path.name) in str(error) or "ModelError" in type(error).__name__
        return ("refused", "") if named else ("traceback", traceback.format_exc())
    except Exception:
        return "traceback", traceback.format_exc()
    return "read", ""


def _reset_peak():
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def _peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


class Reader:
    """A process that reads, started anew when it has died or hangs."""

    def __init__(self):
        self.process = None

    def read(self, reader, path, seconds=SECONDS):
        """(outcome, detail, peak resident MiB or 0)."""
        if self.process is None:
            self.connection, theirs = multiprocessing.Pipe()
            context = multiprocessing.get_context("spawn")
            self.process = context.Process(target=serve, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.connection.send((reader, str(path)))
            if self.connection.poll(seconds):
                return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code, self.process = self.process.exitcode, None
            return "crash", f"exit status {code}", 0
        self.stop()
        return "hang", f"over {seconds} s", 0

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


# The soak


def soak(kind, count, rng, folder):
    """Damages, reads and counts.

    Returns:
        dict of the row's figures, and list of (number, data, what happened) of the bad files.
    """
    sound = list(kind.sound())
    reader, path, bad = Reader(), folder / f"damaged{kind.suffix}", []
    row = dict.fromkeys(("read", "refused", *BAD, "at_rest", "at_most", "slowest"), 0)
    for data in sound:  # also imports what reading needs, which takes its time
        path.write_bytes(data)
        outcome, detail, row["at_rest"] = reader.read(kind.read, path, 120)
        assert outcome in ("read", "refused"), f"a sound file: {detail}"
    for number in range(count):
        data = damaged(kind, sound, rng)
        path.write_bytes(data)
        begun = time.monotonic()
        outcome, detail, peak = reader.read(kind.read, path)
        if outcome == "hang":  # once more in a new process, since the machine may have been busy
            reader.read(kind.read, path.with_name("missing"), 120)
            begun = time.monotonic()
            outcome, detail, peak = reader.read(kind.read, path)
        row["slowest"] = max(row["slowest"], time.monotonic() - begun)
        row[outcome] += 1
        row["at_most"] = max(row["at_most"], peak)
        if outcome in BAD:
            bad.append((number, data, f"{outcome}: {detail}"))
        if outcome in ("crash", "hang"):
            reader.read(kind.read, path.with_name("missing"), 120)  # imports, on no clock
    reader.stop()
    return row, bad


def damaged(kind, sound, rng):
    """The bytes of one damaged file."""
    data = sound[rng.integers(len(sound))]
    if kind.mend and (kind.always or rng.random() < 0.5):
        try:
            return kind.mend(data, sound, rng)
        except zipfile.BadZipFile:  # of the formats of a kind, only one is an archive
            pass
    return mutate(data, sound, rng)


def keep(folder, stem, suffix, bad):
    """Writes the files that did worse than read or refuse, and what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data, happened in bad:
        (folder / f"{stem}_{number}{suffix}").write_bytes(data)
        (folder / f"{stem}_{number}.txt").write_text(happened)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=12_000, help="damaged files in all")
    parser.add_argument("--seed", type=int, default=0, help="decides every damage")
    parser.add_argument("--kinds", default=",".join(TABLE), help="kinds of file to try")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for files that did worse")
    return parser.parse_args()


def main():
    """Prints one row for each kind of file; returns the exit status."""
    asked = arguments()
    chosen = asked.kinds.split(",")
    shares = sum(TABLE[name].share for name in chosen)
    worse = 0
    print(
        "kind          tried    read refused tracebacks crashes hangs MiB at rest at most  slowest",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            rng = np.random.default_rng((asked.seed, list(TABLE).index(name)))
            count = -(-asked.mutations * TABLE[name].share // shares)
            row, bad = soak(TABLE[name], count, rng, pathlib.Path(folder))
            worse += len(bad)
            if asked.keep:
                stem = f"{name.replace(' ', '_')}_{asked.seed}"
                keep(asked.keep, stem, TABLE[name].suffix, bad)
            print(
                f"{name:11} {count:7} {row['read']:7} {row['refused']:7} {row['traceback']:10} "
                f"{row['crash']:7} {row['hang']:5} {row['at_rest']:11} {row['at_most']:7} "
                f"{row['slowest']:6.2f} s",
                flush=True,
            )
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
