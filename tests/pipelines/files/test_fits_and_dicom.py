"""FITS and DICOM: every plane with other pixels, and a header that still tells the truth."""

import sys
import warnings

import numpy as np
import pytest

from n2n_tf.denoising.files import denoise_file
from n2n_tf.pipelines.files.image_limits import ImageFileError
from n2n_tf.pipelines.files.stacks import open_planes


class OneLess:
    """A denoiser that takes one step away."""

    def __init__(self, channels):
        self.channels = channels

    def __call__(self, image, *_, **how):
        return (image.astype(np.float64) - 1).astype(image.dtype)


def denoised(path, name="b"):
    """Writes the file, each pixel one less; returns its path and what was said."""
    target = path.with_name(f"{name}{path.suffix}")
    _, notes = denoise_file(path, target, lambda kind: OneLess(1 if kind == "gray" else 3))
    return target, notes


@pytest.fixture
def fits():
    return pytest.importorskip("astropy.io.fits")


def test_all_images_of_a_fits_and_nothing_else_are_denoised(tmp_path, rng, fits):
    floats = rng.normal(9, 1, (12, 14)).astype(np.float32)
    floats[3:5] = np.nan
    cube = rng.integers(2, 99, (2, 3, 12, 14)).astype(np.int32)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(5.0))])
    units = [fits.PrimaryHDU(floats), table, fits.ImageHDU(cube)]
    units[0].header["OBJECT"], units[2].header["BLANK"] = "M31", int(cube[0, 0, 0, 0])
    fits.HDUList(units).writeto(tmp_path / "a.fits", checksum=True)
    target, notes = denoised(tmp_path / "a.fits")
    assert notes == []
    blank = cube[0, 0, 0, 0]
    expected = np.where(cube == blank, np.nan, np.where(cube == blank + 1, cube, cube - 1))
    with warnings.catch_warnings(), fits.open(target, checksum=True) as result:
        warnings.simplefilter("error")  # of checksums that do not hold
        np.testing.assert_allclose(result[0].data, floats - 1, rtol=1e-6)
        np.testing.assert_array_equal(result[2].section[:], expected)
        assert result[0].header["OBJECT"] == "M31"
        np.testing.assert_array_equal(result[1].data["a"], np.arange(5))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "f8"])
def test_a_fits_without_checksums_differs_in_pixels_only(tmp_path, rng, fits, dtype):
    pixels = rng.integers(2, 200, (12, 14)).astype(dtype)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "a.fit")
    with open_planes(tmp_path / "a.fit") as planes:
        plane = planes.read(0)
        assert (plane.pixels.dtype, planes.axes) == (np.dtype(dtype), "YX")
        np.testing.assert_array_equal(plane.pixels[..., 0], pixels)
    target, _ = denoised(tmp_path / "a.fit")
    np.testing.assert_array_equal(fits.getdata(target), pixels - 1)
    assert fits.getheader(target) == fits.getheader(tmp_path / "a.fit")


def test_scaled_levels_of_a_fits_are_taken_as_they_are_stored(tmp_path, rng, fits):
    unit = fits.PrimaryHDU(rng.normal(100, 5, (12, 14)))
    unit.scale("int16", bscale=0.1, bzero=100)
    unit.writeto(tmp_path / "a.fits")
    target, _ = denoised(tmp_path / "a.fits")
    np.testing.assert_allclose(fits.getdata(target), fits.getdata(tmp_path / "a.fits") - 0.1)


def test_colours_of_a_fits_are_named_by_the_user(tmp_path, rng, fits):
    fits.PrimaryHDU(rng.normal(size=(3, 12, 14))).writeto(tmp_path / "a.fits")
    with open_planes(tmp_path / "a.fits") as planes:
        assert (len(planes), planes.axes) == (3, "ZYX")
    with open_planes(tmp_path / "a.fits", "SYX") as planes:
        assert len(planes) == 1 and planes.read(0).colours == (slice(0, 3),)
    with pytest.raises(ImageFileError, match="--axes=YX does not fit any of its images: 3 x 12"):
        open_planes(tmp_path / "a.fits", "YX")


def test_what_a_fits_does_not_hold_is_said(tmp_path, rng, fits):
    pixels = rng.integers(0, 99, (12, 1400)).astype(np.int16)
    bayer = fits.PrimaryHDU(pixels)
    bayer.header["BAYERPAT"] = "RGGB"
    bayer.writeto(tmp_path / "bayer.fits")
    fits.PrimaryHDU().writeto(tmp_path / "none.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels)]).writeto(tmp_path / "packed.fits")
    fits.PrimaryHDU(pixels).writeto(tmp_path / "cut.fits")
    (tmp_path / "cut.fits").write_bytes((tmp_path / "cut.fits").read_bytes()[:9000])
    for name, words in {
        "bayer": "holds a Bayer mosaic .RGGB., not a picture",
        "none": "holds no picture of two axes or more",
        "packed": "holds a compressed image; unpack it",
        "cut": "its pixels end early",
    }.items():
        with pytest.raises(ImageFileError, match=rf"{name}\.fits: .*{words}"):
            open_planes(tmp_path / f"{name}.fits")


def write_dicom(path, pixels, bits=12, colours="MONOCHROME2", **more):
    """A DICOM of frames [T, H, W] or [T, H, W, 3]."""
    uid = pytest.importorskip("pydicom").uid
    from pydicom.dataset import Dataset, FileMetaDataset

    data, data.file_meta = Dataset(), FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
    data.SeriesInstanceUID, data.ImageType = uid.generate_uid(), ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PatientName, data.RescaleSlope, data.RescaleIntercept = "A^B", 2.5, -1024
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape[:3]
    data.PhotometricInterpretation, data.SamplesPerPixel = colours, pixels[0, 0, 0].size
    data.PlanarConfiguration = 0
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    data.update(more)
    data.save_as(path, enforce_file_format=True)
    return data


@pytest.mark.parametrize("dtype, bits", [("u1", 8), ("u2", 12), ("i2", 12), ("u2", 16), ("i2", 16)])
def test_frames_of_a_dicom_keep_their_bits(tmp_path, rng, dtype, bits):
    low, high = (0, 2**bits) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    pixels = rng.integers(low + 1, high, (3, 12, 14)).astype(dtype)
    write_dicom(tmp_path / "a.dcm", pixels, bits)
    import pydicom

    target, notes = denoised(tmp_path / "a.dcm")
    result = pydicom.dcmread(target)
    np.testing.assert_array_equal(result.pixel_array, pixels - 1)
    assert notes == [] and (result.BitsStored, result.RescaleSlope) == (bits, 2.5)


def test_a_denoised_dicom_is_an_instance_of_its_own(tmp_path, rng):
    pixels = rng.integers(1, 4096, (1, 12, 14)).astype(np.uint16)
    source = write_dicom(tmp_path / "a.dcm", pixels, LargestImagePixelValue=int(pixels.max()))
    import pydicom

    result = pydicom.dcmread(denoised(tmp_path / "a.dcm")[0])
    assert result.ImageType == ["DERIVED", "PRIMARY", "AXIAL"]
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID
    assert result.SOPInstanceUID != source.SOPInstanceUID
    assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert result.LargestImagePixelValue == pixels.max() - 1
    changed = {"SOPInstanceUID", "SeriesInstanceUID", "ImageType", "LargestImagePixelValue"}
    changed |= {"PixelData", "SourceImageSequence", "DerivationDescription"}
    assert {e.keyword for e in result if source.get(e.tag) != e} == changed
    again = pydicom.dcmread(denoised(tmp_path / "a.dcm", "c")[0])
    assert again.SOPInstanceUID == result.SOPInstanceUID  # the same pixels


def test_a_dicom_in_which_white_is_least_looks_alike_in_other_formats(tmp_path, rng):
    pixels = rng.integers(1, 4096, (1, 12, 14)).astype(np.uint16)
    write_dicom(tmp_path / "a.dcm", pixels, 12, "MONOCHROME1")
    told = {}
    for name in ("a.png", "a.tif", "a.npy", "b.dcm"):
        _, told[name] = denoise_file(tmp_path / "a.dcm", tmp_path / name, lambda kind: OneLess(1))
    less, dark = pixels[0] - 1, "its numbers stay, so white is 4095 of 65535"
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), less)
    for name, turned in (("a.png", 4095 - less), ("a.tif", 65535 - less), ("b.dcm", less)):
        with open_planes(tmp_path / name) as planes:
            np.testing.assert_array_equal(planes.read(0).pixels[..., 0], turned)
        assert (dark in told[name]) == (name != "b.dcm")
    assert "its levels were turned round, as 4095 is black in it" in told["a.png"]


def test_files_of_which_no_pixel_changes_stay_to_the_byte(tmp_path, rng, fits):
    pixels = rng.integers(0, 99, (1, 12, 14)).astype(np.uint16)
    write_dicom(tmp_path / "a.dcm", pixels)
    fits.PrimaryHDU(pixels).writeto(tmp_path / "a.fits", checksum=True)
    for path in (tmp_path / "a.dcm", tmp_path / "a.fits"):
        with open_planes(path) as planes, planes.rewriting(tmp_path / f"b{path.suffix}") as write:
            write(0, planes.read(0).pixels)
        assert (tmp_path / f"b{path.suffix}").read_bytes() == path.read_bytes()


def test_bits_above_those_stored_and_padding_stay(tmp_path, rng):
    pixels = rng.integers(1, 4096, (1, 12, 14)).astype(np.uint16)
    pixels[0, :3] = 7
    overlay = rng.integers(0, 2, pixels.shape).astype(np.uint16) << 15
    write_dicom(tmp_path / "a.dcm", pixels | overlay, PixelPaddingValue=7)
    import pydicom

    target, _ = denoised(tmp_path / "a.dcm")
    stored = np.frombuffer(pydicom.dcmread(target).PixelData, np.uint16).reshape(pixels.shape)
    np.testing.assert_array_equal(stored, np.where(pixels == 7, pixels, pixels - 1) | overlay)


def test_a_compressed_dicom_of_colours_is_unpacked_aloud(tmp_path, rng):
    pixels = rng.integers(1, 256, (2, 12, 14, 3)).astype(np.uint8)
    data = write_dicom(tmp_path / "a.dcm", pixels, 8, "RGB")
    import pydicom

    data.compress(pydicom.uid.RLELossless)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    target, notes = denoised(tmp_path / "a.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(target).pixel_array, pixels - 1)
    assert notes == ["its pixels are not compressed any more"]


def test_dicoms_that_are_no_levels_are_refused(tmp_path, rng):
    pixels = rng.integers(0, 256, (1, 12, 14)).astype(np.uint8)
    write_dicom(tmp_path / "palette.dcm", pixels, 8, "PALETTE COLOR")
    write_dicom(tmp_path / "high.dcm", pixels, 7, HighBit=7)
    write_dicom(tmp_path / "cut.dcm", pixels, 8, NumberOfFrames=2)
    for name, words in {
        "palette": "of colours PALETTE COLOR; convert it",
        "high": "whose highest bit is 7",
        "cut": "its pixels end early",
    }.items():
        with pytest.raises(ImageFileError, match=rf"{name}\.dcm: .*{words}"):
            open_planes(tmp_path / f"{name}.dcm")


@pytest.mark.parametrize(
    "start, package, extra",
    [(b"SIMPLE  =", "astropy", "fits"), (bytes(128) + b"DICM", "pydicom", "dicom")],
)
def test_without_the_package_its_extra_is_named(tmp_path, monkeypatch, start, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.io.fits", None)
    (tmp_path / "a").write_bytes(start + bytes(99))
    words = rf"a: is a .* file, which needs {package}: install n2n_tf\[{extra}\], or convert it"
    with pytest.raises(ImageFileError, match=words):
        open_planes(tmp_path / "a")
