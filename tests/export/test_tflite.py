"""TFLite files of every kind, each run by LiteRT: their operations, results and refusals."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.export import litert_probe, measure, report, sample_images
from n2n_tf.export.litert_probe import operations
from n2n_tf.export.replacing import ExportError
from n2n_tf.export.tflite import PRECISIONS, Variant, export_tflite
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.keras_file import describe
from n2n_tf.model_files.load import load_model
from n2n_tf.networks.unet import unet
from n2n_tf.networks.unet_bias_free import unet_bias_free
from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_float, write_image
from n2n_tf.pipelines.padding import reflect_pad

LEVELS = {"black_level": [64.0] * 4, "white_level": 1023.0}


@pytest.fixture(scope="module")
def networks():
    """Small untrained networks, which begin near the identity, by channels."""
    keras.utils.set_random_seed(3)
    return {channels: unet_bias_free(channels, features=6) for channels in (1, 3, 4)}


@pytest.fixture(scope="module")
def export(networks, tmp_path_factory):
    """Exports a variant once; returns (file, figures)."""
    done = {}

    def run(variant, channels=3, **more):
        if variant.name not in done:
            path = tmp_path_factory.mktemp("files") / variant.name
            noise = "raw" if channels == 4 else "gauss25"
            info = describe(networks[channels], noise=noise)
            done[variant.name] = (
                path,
                export_tflite(networks[channels], path, info, variant, **more),
            )
        return done[variant.name]

    return run


# By how much a file of each precision may differ from Keras, images in [0, 1]: rounding of float32;
# 11-bit weights; 8-bit weights; 8-bit activations too.
ALLOWED = {"float32": 1e-5, "float16": 2e-3, "dynamic": 2e-2, "int8": 8e-2, "int16x8": 2e-2}


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_static_files_hold_only_what_delegates_take(export, precision):
    path, figures = export(Variant((64, 96), precision))
    own = {"CONV_2D", "TRANSPOSE_CONV", "ADD", "CONCATENATION", "LEAKY_RELU"}
    own |= {"DEQUANTIZE", "QUANTIZE"}
    assert {"CONV_2D", "TRANSPOSE_CONV", "ADD"} <= set(figures.operations) <= own
    if precision == "int16x8":  # no delegate has its kernels
        assert figures.delegated().startswith("0/")
    else:
        assert figures.not_delegated == {} and sum(figures.operations.values()) >= 25
    assert figures.gpu_warnings == []
    assert figures.max_difference < ALLOWED[precision]
    assert abs(figures.psnr_drop) < 0.1
    assert figures.milliseconds_per_megapixel > 0 and figures.peak_megabytes > 0
    interpreter = Interpreter(str(path))
    assert interpreter.get_signature_list() == {
        "denoise": {"inputs": ["noisy"], "outputs": ["denoised"]}
    }
    weights = {"float32": 4, "float16": 2}.get(precision, 1)
    assert path.stat().st_size > weights * 25_000  # parameters of the network: 28 thousand


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "precision"), [((512, 544), "float32"), ((64, 96), "int8"), ((64, 96), "int16x8")]
)
def test_whole_pictures_through_a_file_of_one_size(export, networks, size, precision):
    path, figures = export(Variant(size, precision))
    denoiser = Denoiser.load(path)
    assert denoiser.tiling.tile == size
    height, width = size[0] + 90, size[1] + 33
    photo = reflect_pad(to_float(embedded_photo("coffee")), 602, 600)[:height, :width]
    got, expected = denoiser.bare(photo), Denoiser.load(networks[3]).bare(photo)
    assert got.shape == photo.shape
    if size == (512, 544):  # room for the whole margin that the network wants: no seams
        assert figures.tiling_difference == 0.0
        assert np.abs(got - expected).max() < 1e-5
    else:
        assert 1e-4 < figures.tiling_difference < 0.2
        allowed = 2 * (figures.max_difference + figures.tiling_difference)
        assert np.abs(got - expected).max() < allowed
    small = denoiser.bare(photo[:20, :30])  # smaller than one window: mirrored
    assert np.abs(small - Denoiser.load(networks[3]).bare(photo[:20, :30])).max() < 0.1


@pytest.mark.slow
def test_a_file_of_any_size_has_its_padding_inside(export, networks):
    path, figures = export(Variant(None, "float16"))
    assert figures.gpu_warnings is None and figures.not_delegated
    photo = to_float(embedded_photo("cat"))[:37, :61]
    got = Interpreter(str(path)).get_signature_runner("denoise")(noisy=photo[None])["denoised"]
    expected = Denoiser.load(networks[3]).bare(photo)
    assert np.abs(got[0] - expected).max() < ALLOWED["float16"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_files_of_8_bit_pixels(export, networks, precision):
    path, figures = export(Variant((64, 64), precision, "rgb_uint8"))
    denoise = Interpreter(str(path)).get_signature_runner("denoise")
    details = denoise.get_input_details()["noisy"], denoise.get_output_details()["denoised"]
    assert [d["dtype"] for d in details] == [np.uint8, np.uint8]
    if precision == "int8":  # its steps are the pixels'
        for detail in details:
            scale, zero = detail["quantization"]
            assert (zero, scale) == (0, pytest.approx(1 / 255, rel=1e-6))
    pixels = embedded_photo("rocket")[100:164, 300:364]
    got = denoise(noisy=pixels[None])["denoised"][0].astype(int)
    expected = Denoiser.load(networks[3]).bare(pixels).astype(int)
    assert np.abs(got - expected).max() <= 255 * figures.max_difference + 1
    np.testing.assert_array_equal(Denoiser.load(path).bare(pixels), got)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        Variant((128, 64), "float16", "bayer_mosaic", levels=LEVELS),
        Variant((64, 128), "float32", "bayer_mosaic", "float32"),
        Variant((64, 64), "int16x8", "bayer_mosaic", levels=LEVELS),
        Variant(None, "float32", "bayer_mosaic"),
    ],
    ids=lambda variant: variant.name,
)
def test_files_of_whole_cameras(export, networks, variant):
    path, figures = export(variant, channels=4)
    assert figures.max_difference < 0.02 and abs(figures.psnr_drop) < 0.1
    rng = np.random.default_rng(0)
    height, width = variant.size or (70, 90)
    photo = embedded_photo("cat")[100 : 100 + height, 200 : 200 + width, 1].astype(float)
    mosaic = np.rint(3 * photo + 64 + rng.normal(0, 20, photo.shape)).clip(0, 1000)
    mosaic = mosaic[None, ..., None].astype(variant.dtype)
    mosaic[0, 4:8, 4:8] = 1023
    arguments = {"noisy": mosaic}
    if variant.levels == "inputs":
        arguments |= {
            "black_level": np.full(4, 64, np.float32),
            "white_level": np.full(1, 1023, np.float32),
        }
    denoise = Interpreter(str(path)).get_signature_runner("denoise")
    got = denoise(**arguments)["denoised"]
    assert got.shape == mosaic.shape and got.dtype == variant.dtype
    cells = (mosaic[0, ..., 0].astype(np.float32) - 64) / 959
    planes = np.stack([cells[r::2, c::2] for r in (0, 1) for c in (0, 1)], axis=-1)
    expected = 959 * np.clip(Denoiser.load(networks[4]).bare(planes), -64 / 959, 1) + 64
    result = np.stack([got[0, r::2, c::2, 0] for r in (0, 1) for c in (0, 1)], axis=-1)
    clipped = planes >= 1
    difference = np.abs(result.astype(float) - expected)[~clipped]
    assert difference.max() < (0.02 * 959 if variant.precision == "int16x8" else 2)
    if variant.precision != "int16x8":
        assert (result[clipped] == 1023).all()
    assert (
        Denoiser.load(path).bare(planes).shape == planes.shape
    )  # the same file, through our tiling


@pytest.mark.slow
def test_the_papers_network_is_taken_whole_by_xnnpack(tmp_path):
    keras.utils.set_random_seed(0)
    network = unet(3, features=4, init_scale=1.0)
    info = describe(network, noise="gauss25")
    variant = Variant((64, 64), "float32")
    figures = export_tflite(network, tmp_path / variant.name, info, variant)
    assert figures.not_delegated == {} and figures.gpu_warnings == []
    held = json.loads((tmp_path / f"{variant.name}.json").read_text())
    assert (held["tile"], held["halo"]) == ([64, 64], 0)  # no room for a margin of 32
    assert held["measured"] == dataclasses.asdict(figures)


def test_margins_of_small_tiles():
    info = ModelInfo(channels=3, size_multiple=16, halo=128)
    halos = {64: 16, 128: 32, 256: 64, 512: 128, 1024: 128}
    for side, halo in halos.items():
        assert Variant((side, 1024)).describe(info).halo == halo
    assert Variant(None).describe(info).halo == 128
    mosaic = Variant((512, 256), input="bayer_mosaic").describe(info.but(channels=4))
    assert (mosaic.tile, mosaic.halo) == ((256, 128), 32)


def test_the_plan_of_a_frame_as_text():
    info = ModelInfo(channels=4, size_multiple=16, halo=128)
    mosaic = Variant((1024, 1024), input="bayer_mosaic", levels=LEVELS).describe(info)
    text = report.tile_plan(mosaic, 3000, 4000)
    # 1500 x 2000 cells, rows to 1504; windows of 512 cells step by 512 - 2 * 128 = 256 cells.
    assert "3000 x 4000 pixels, mirrored at its end to 3008 x 4000" in text
    assert "1024 x 1024 that overlap by at least 512 pixels: 5 rows x 7 columns = 35" in text
    assert "rows begin at 0, 512, 1024, 1536, 1984\n" in text
    assert "columns begin at 0, 512, 1024, 1536, 2048, 2560, 2976\n" in text
    assert "0..767, 768..1279, 1280..1791" in text
    assert f"{35 * 1024**2 / 12e6:.2f} times" in text
    small = Variant((64, 64)).describe(info.but(channels=3))
    assert "1 rows x 1 columns = 1" in report.tile_plan(small, 50, 30)


def test_variants_that_do_not_fit():
    info = ModelInfo(channels=3, size_multiple=16, halo=128)
    with pytest.raises(ValueError, match=r"100 pixels is not a multiple of 16.*; 96 and 112 are"):
        Variant((64, 100)).describe(info)
    with pytest.raises(ValueError, match=r"48 pixels is not a multiple of 32.*; 32 and 64 are"):
        Variant((64, 48), input="bayer_mosaic").describe(info.but(channels=4))
    with pytest.raises(ValueError, match="3 channels cannot take a mosaic"):
        Variant((64, 64), input="bayer_mosaic").describe(info)
    with pytest.raises(ValueError, match="4 channels cannot take RGB pixels"):
        Variant((64, 64), input="rgb_uint8").describe(info.but(channels=4))
    for precision in ("int8", "int16x8"):
        for more in ({"levels": "inputs"}, {"levels": LEVELS, "dtype": "float32"}):
            variant = Variant((64, 64), precision, "bayer_mosaic", **more)
            with pytest.raises(ValueError, match="uint16 pixels and fixed levels"):
                variant.describe(info.but(channels=4))
    gaussian = info.but(channels=4, noise_level=(0.01, 0.2))
    for variant in (Variant((64, 64), "int8"), Variant((64, 64), "int16x8", "bayer_mosaic")):
        with pytest.raises(ValueError, match="takes raws after Anscombe's transform"):
            variant.describe(gaussian)
    assert Variant((64, 64)).describe(gaussian).noise_level == (0.01, 0.2)
    assert not Variant((64, 64)).describe(gaussian).takes_noise_profile
    assert Variant((64, 64), input="bayer_mosaic").describe(gaussian).takes_noise_profile


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic"])
def test_a_mosaic_file_of_a_network_for_gaussian_noise_takes_the_noise(
    networks, tmp_path, precision
):
    info = describe(networks[4], noise="gauss3_50", noise_level=(0.01, 0.2))
    variant = Variant((128, 96), precision, "bayer_mosaic", levels=LEVELS)
    path = tmp_path / variant.name
    figures = export_tflite(networks[4], path, info, variant)
    assert figures.max_difference <= ALLOWED[precision] + 1.01 / (1023 - 64)
    assert figures.psnr_noisy < 40 and abs(figures.psnr - figures.psnr_noisy) < 3  # untrained
    with pytest.raises(ModelError, match="takes the noise of the sensor as an input"):
        load_model(path)


def test_what_calibrates_is_not_what_judges():
    assert not set(FIRST_SET) & set(SECOND_SET)
    info = ModelInfo(3, 16, 128, noise="gauss25", tile=(64, 64), precision="int8")
    calibration = sample_images.calibration_arguments(info)
    assert len(calibration) == sample_images.CALIBRATION_IMAGES
    assert all(case["noisy"].shape == (1, 64, 64, 3) for case in calibration)
    cases = list(sample_images.judging_cases(info))
    noise = np.stack([noisy - clean for noisy, clean in cases])
    assert noise.std() * 255 == pytest.approx(25, rel=0.02)
    assert len({noise_field.tobytes() for noise_field in noise}) == len(cases)


def test_calibration_images_of_the_user(tmp_path):
    for number in range(3):
        write_image(tmp_path / f"{number}.png", np.full((40, 50, 3), 80 * number, np.uint8))
    info = ModelInfo(3, 16, 128, tile=(32, 64), precision="int8")
    as_they_are = sample_images.calibration_arguments(info, tmp_path)
    assert {float(case["noisy"].std()) for case in as_they_are} == {0.0}
    noisy = sample_images.calibration_arguments(info.but(noise="gauss10"), tmp_path)
    assert np.mean([case["noisy"].std() for case in noisy]) * 255 == pytest.approx(10, rel=0.05)
    gray = sample_images.calibration_arguments(info.but(channels=1), tmp_path)
    assert gray[0]["noisy"].shape == (1, 32, 64, 1)
    raw = sample_images.calibration_arguments(info.but(channels=4), tmp_path)
    assert raw[0]["noisy"].shape == (1, 32, 64, 4)


def test_a_loss_of_quality_is_refused_with_what_was_measured(networks, tmp_path, monkeypatch):
    info = describe(networks[3], noise="gauss25")
    honest = measure.measure

    def worse(*arguments):
        figures = honest(*arguments)
        return dataclasses.replace(figures, psnr=figures.psnr_keras - 0.25)

    monkeypatch.setattr("n2n_tf.export.tflite.measure", worse)
    with pytest.raises(ExportError, match=r"loses 0\.25 dB .* more than 0\.1; not written"):
        export_tflite(networks[3], tmp_path / "x.tflite", info, Variant((32, 32)))
    assert list(tmp_path.iterdir()) == []
    export_tflite(networks[3], tmp_path / "x.tflite", info, Variant((32, 32)), max_psnr_drop=0.3)
    assert {p.name for p in tmp_path.iterdir()} == {"x.tflite", "x.tflite.json"}


def test_operations_that_phones_lack_are_refused(networks, tmp_path, monkeypatch):
    info = describe(networks[3], noise="gauss25")
    monkeypatch.setattr(measure, "NOT_STATIC", ("TRANSPOSE_CONV",))
    with pytest.raises(ExportError, match="operations that phones lack: TRANSPOSE_CONV"):
        export_tflite(networks[3], tmp_path / "x.tflite", info, Variant((32, 32)))
    assert list(tmp_path.iterdir()) == []


def test_operations_count_what_a_delegate_left():
    def op(index, name, inputs, outputs):
        return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}

    class Listed:
        def _get_ops_details(self):
            # 0 -CAST-> 1 -[CONV-> 2 -ADD(2, 1)-> 3]-> CAST -> 4; weights are tensor 9
            return [
                op(0, "CAST", [0], [1]),
                op(1, "CONV_2D", [1, 9], [2]),
                op(2, "ADD", [2, 1], [3]),
                op(3, "CAST", [3], [4]),
                op(4, "DELEGATE", [1, 9], [3]),
            ]

    assert operations(Listed()) == {
        "operations": {"CAST": 2, "CONV_2D": 1, "ADD": 1},
        "not_delegated": {"CAST": 2},
    }


@pytest.mark.slow
def test_the_probe_needs_nothing_of_ours(export, tmp_path):
    path, _ = export(Variant((64, 96), "float32"))
    np.savez(tmp_path / "in.npz", **{"0/noisy": np.zeros((1, 64, 96, 3), np.float32)})
    command = [sys.executable, "-I", "-X", "importtime", litert_probe.__file__, path]
    command += [tmp_path / "in.npz", tmp_path / "out.npz", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ai_edge_litert" in done.stderr
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not {"tensorflow", "keras", "n2n_tf", "pipelines"} & imported
    assert json.loads(done.stdout)["not_delegated"] == {}
