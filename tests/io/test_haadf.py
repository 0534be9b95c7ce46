"""HAADF images in: real files of several instruments, small files written here, and broken ones."""

from __future__ import annotations

import gc
import struct
from pathlib import Path
from typing import Any

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from rsciio import emd, hspy

from napari_aptdefect.data import HaadfImage
from napari_aptdefect.errors import FormatError, MissingFileError, ParameterError
from napari_aptdefect.io.haadf import HAADF_EXTENSIONS, looks_like_image, read_haadf

# Rows and columns differ in number and size, so that a swap shows.
PIXELS = (np.random.default_rng(0).random((24, 40)) * 60000).astype(np.uint16)
PIXEL_NM = (0.05, 0.02)


def codes(image: HaadfImage) -> set[str]:
    return {issue.code for issue in image.issues}


def axis(name: str, size: int, scale: float, units: str | None = "nm", navigate: bool = False) -> dict[str, Any]:
    return {"name": name, "size": size, "scale": scale, "offset": 0.0, "units": units, "navigate": navigate}


def signal(data: np.ndarray, axes: list[dict[str, Any]], title: str) -> dict[str, Any]:
    return {
        "data": data, "axes": axes, "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {}, "learning_results": {}, "attributes": {"_lazy": False}, "tmp_parameters": {},
        "models": {}, "package_info": {"package": "hyperspy", "package_version": "2.0"},
    }  # fmt: skip


def image_signal(
    title: str = "HAADF", units: str | None = "nm", factor: float = 1.0, data: np.ndarray = PIXELS
) -> dict[str, Any]:
    scales = (PIXEL_NM[0] * factor, PIXEL_NM[1] * factor)
    return signal(data, [axis("y", data.shape[0], scales[0], units), axis("x", data.shape[1], scales[1], units)], title)


def write_hspy(path: Path, *signals: dict[str, Any]) -> Path:
    """Write signals into one HyperSpy file; RosettaSciIO writes one, the others are copied in."""
    for i, item in enumerate(signals):
        part = path.with_name(f"part{i}.hspy")
        hspy.file_writer(str(part), item)
        with h5py.File(part, "r") as source, h5py.File(path, "a") as target:
            for key, value in source.attrs.items():
                target.attrs[key] = value
            group = target.require_group("Experiments")
            (name,) = source["Experiments"]
            source.copy(f"Experiments/{name}", group, f"{i} {name}")
        part.unlink()
    return path


def write_mrc(path: Path, stack: np.ndarray) -> Path:
    n_z, n_y, n_x = stack.shape
    head = bytearray(1024)
    struct.pack_into("<10i", head, 0, n_x, n_y, n_z, 2, 0, 0, 0, n_x, n_y, n_z)
    # Cell lengths in Å, as MRC2014 has them
    struct.pack_into("<6f", head, 40, n_x * PIXEL_NM[1] * 10, n_y * PIXEL_NM[0] * 10, n_z, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    head[208:216] = b"MAP \x44\x44\0\0"
    path.write_bytes(bytes(head) + stack.astype("<f4").tobytes())
    return path


def write_kind(kind: str, path: Path) -> Path:
    file = path / f"image.{kind.removeprefix('lzw.').removeprefix('ome.').removeprefix('stack.')}"
    size = {"resolution": (1 / PIXEL_NM[1], 1 / PIXEL_NM[0])}
    if kind == "tif":
        tifffile.imwrite(file, PIXELS, imagej=True, metadata={"unit": "nm"}, **size)
    elif kind == "stack.tif":
        tifffile.imwrite(file, np.stack([PIXELS] * 3), imagej=True, metadata={"unit": "nm", "axes": "TYX"}, **size)
    elif kind == "lzw.tif":
        tifffile.imwrite(file, PIXELS, compression="lzw")
    elif kind == "ome.tif":
        sizes = {f"PhysicalSize{a}": PIXEL_NM[i] * 10 for i, a in enumerate("YX")}
        units = {"PhysicalSizeXUnit": "Å", "PhysicalSizeYUnit": "Å"}
        tifffile.imwrite(file.with_suffix(".ome.tif"), PIXELS, metadata={"axes": "YX", **sizes, **units})
        return file.with_suffix(".ome.tif")
    elif kind == "mrc":
        write_mrc(file, PIXELS[None])
    elif kind == "hspy":
        write_hspy(file, image_signal())
    elif kind == "emd":
        emd.file_writer(str(file), image_signal())
    else:
        iio.imwrite(file, PIXELS)
    return file


def read_or_refuse(file: Path) -> HaadfImage | None:
    """Read an image; None when it is refused with an error that names the file and says what to do."""
    try:
        return read_haadf(file)
    except FormatError as error:
        if str(file) not in str(error) or not error.hint:
            pytest.fail(f"unhelpful: {error}")
        return None


@pytest.mark.parametrize("kind", ["tif", "stack.tif", "lzw.tif", "ome.tif", "mrc", "hspy", "emd", "png"])
def test_pixels_and_their_size_survive_each_format(kind: str, tmp_path: Path) -> None:
    file = write_kind(kind, tmp_path)
    image = read_haadf(file)
    assert image.source == file
    assert np.array_equal(image.values, np.stack([PIXELS] * 3) if kind == "stack.tif" else PIXELS)
    assert image.values.dtype.isnative
    assert looks_like_image(file)
    if kind in {"lzw.tif", "png"}:
        assert image.pixel_nm is None
        assert "no-pixel-size" in codes(image)
    else:
        assert image.pixel_nm == pytest.approx(PIXEL_NM, rel=1e-5)
        assert "oblong-pixel" in codes(image)


@pytest.mark.parametrize("kind", ["tif", "stack.tif", "lzw.tif", "mrc", "hspy", "emd", "png"])
def test_a_truncated_file_is_refused_or_whole(kind: str, tmp_path: Path) -> None:
    file = write_kind(kind, tmp_path)
    whole, data = read_haadf(file).values, file.read_bytes()
    n_refused = 0
    places = {0, 1, 3, 4, 8, 12, 100, len(data) - 1, *np.linspace(0, len(data) - 1, 25).astype(int).tolist()}
    for n in sorted(places):
        file.write_bytes(data[:n])
        image = read_or_refuse(file)
        n_refused += image is None
        if image is not None:  # what was cut off held no pixel
            assert np.array_equal(image.values, whole)
            assert n > 0.7 * len(data)
    assert n_refused > 0.6 * len(places)


@pytest.mark.parametrize("kind", ["tif", "mrc", "hspy", "png"])
@pytest.mark.parametrize("n_bytes", [0, 4, 100])
def test_a_refused_file_is_closed_at_once(kind: str, n_bytes: int, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    file = write_kind(kind, tmp_path)
    file.write_bytes(file.read_bytes()[:n_bytes])
    gc.disable()  # what only the collector closes is a ResourceWarning in some other test
    try:
        assert read_or_refuse(file) is None
        assert str(file) not in {item.path for item in psutil.Process().open_files()}
    finally:
        gc.enable()


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_never_raise_anything_else(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    for kind in ("tif", "mrc", "hspy", "png"):
        file = write_kind(kind, tmp_path)
        data = bytearray(file.read_bytes())
        for at in rng.integers(min(len(data), 1500), size=6):
            data[at] = rng.integers(256)
        file.write_bytes(data)
        read_or_refuse(file)
        file.unlink()


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nm", 1.0), ("Å", 10.0), ("\u212b", 10.0), ("pm", 1e3), ("µm", 1e-3), ("μm", 1e-3), ("m", 1e-9)],
)
def test_units_become_nm(unit: str, factor: float, tmp_path: Path) -> None:
    image = read_haadf(write_hspy(tmp_path / "a.hspy", image_signal(units=unit, factor=factor)))
    assert image.pixel_nm == pytest.approx(PIXEL_NM, rel=1e-6)


@pytest.mark.parametrize(
    ("unit", "code"), [("1/nm", "reciprocal-space"), ("furlong", "no-pixel-size"), ("px", "no-pixel-size")]
)
def test_what_is_no_length_is_reported(unit: str, code: str, tmp_path: Path) -> None:
    image = read_haadf(write_hspy(tmp_path / "a.hspy", image_signal(units=unit)))
    assert image.pixel_nm is None
    assert code in codes(image)


def test_print_resolution_is_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(300, 300), resolutionunit="INCH")
    assert read_haadf(tmp_path / "a.tif").pixel_nm is None


def test_haadf_is_chosen_among_several_signals(tmp_path: Path) -> None:
    large = np.zeros((50, 60), np.float32)
    large[0, 0] = 1
    spectra = signal(
        np.ones((4, 5, 8), np.float32),
        [axis("y", 4, 1, navigate=True), axis("x", 5, 1, navigate=True), axis("Energy", 8, 1, "eV")],
        "EELS",
    )
    file = write_hspy(
        tmp_path / "a.hspy", image_signal("BF", data=large), spectra, image_signal("HAADF"), image_signal("ADF")
    )
    image = read_haadf(file)
    assert image.title == "HAADF"
    assert np.array_equal(image.values, PIXELS)
    (others,) = [issue.message for issue in image.issues if issue.code == "other-signals"]
    assert all(name in others for name in ("BF", "EELS", "ADF", "spectrum image"))
    assert read_haadf(file, signal="BF").values.shape == (50, 60)
    assert read_haadf(file, signal=3).title == "ADF"
    for wrong in ("DF", 9, "nothing"):
        with pytest.raises(ParameterError, match="signal"):
            read_haadf(file, signal=wrong)
    with pytest.raises(FormatError, match="spectrum image"):
        read_haadf(file, signal="EELS")


def test_files_without_an_image_are_refused(tmp_path: Path) -> None:
    line = signal(np.ones((5, 8)), [axis("x", 5, 1, navigate=True), axis("Energy", 8, 1, "eV")], "line")
    four = signal(
        np.ones((2, 2, 3, 3)),
        [axis(n, s, 1, navigate=n in "ab") for n, s in zip("abyx", (2, 2, 3, 3), strict=True)],
        "4D",
    )
    for i, item in enumerate((line, four)):
        with pytest.raises(FormatError, match="expected an image"):
            read_haadf(write_hspy(tmp_path / f"{i}.hspy", item))


def test_stack_keeps_its_frames_first(tmp_path: Path) -> None:
    stack = np.arange(3 * 24 * 40, dtype=np.float32).reshape(3, 24, 40)
    image = read_haadf(write_mrc(tmp_path / "a.mrc", stack))
    assert np.array_equal(image.values, stack)
    assert image.pixel_nm == pytest.approx(PIXEL_NM, rel=1e-5)


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_color_becomes_gray(kind: str, tmp_path: Path) -> None:
    gray = (PIXELS >> 8).astype(np.uint8)
    save = tifffile.imwrite if kind == "tif" else iio.imwrite
    same = np.stack([gray] * 3, axis=-1)
    save(tmp_path / f"same.{kind}", same)
    image = read_haadf(tmp_path / f"same.{kind}")
    assert np.array_equal(image.values, gray)
    assert "gray-as-color" in codes(image)
    marked = same.copy()
    marked[3, 4] = (255, 0, 0)  # a red mark, whose green and blue agree
    save(tmp_path / f"marked.{kind}", marked)
    image = read_haadf(tmp_path / f"marked.{kind}")
    assert image.values.shape == gray.shape
    assert image.values[3, 4] == pytest.approx(0.299 * 255, rel=1e-3)
    assert "color" in codes(image)


def test_odd_pixels_are_reported(tmp_path: Path) -> None:
    values = PIXELS.astype(np.float32)
    values[0, :3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_haadf(tmp_path / "a.tif")
    assert "3 of 960" in next(issue.message for issue in image.issues if issue.code == "not-finite")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 4), np.uint8))
    assert "constant" in codes(read_haadf(tmp_path / "b.tif"))


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    file = write_kind("png", tmp_path).rename(tmp_path / "image.dm4")
    assert np.array_equal(read_haadf(file).values, PIXELS)


def test_other_files_are_no_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, data in {
        "a.pos": rng.normal(0, 30, (100, 4)).astype(">f4").tobytes(),
        "b.apt": b"APT\0" + bytes(600),
        "c.txt": b"BMW is a car, 0 0 0 0",
        "d.empty": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        assert not looks_like_image(tmp_path / name)
    with h5py.File(tmp_path / "cloud.h5", "w") as file:
        file["xyz"] = np.zeros((5, 3))
    assert not looks_like_image(tmp_path / "cloud.h5")
    assert not looks_like_image(tmp_path)
    assert not looks_like_image(tmp_path / "absent.tif")


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.tif"):
        read_haadf(tmp_path / "absent.tif")
    with pytest.raises(MissingFileError, match="folder"):
        read_haadf(tmp_path)
    (tmp_path / "a.xyz").write_bytes(b"nothing")
    with pytest.raises(FormatError, match=r"Known extensions: .*\.dm4"):
        read_haadf(tmp_path / "a.xyz")


def test_extensions_are_those_of_the_microscopes() -> None:
    assert {".dm3", ".dm4", ".emd", ".ser", ".mrc", ".tif", ".tiff", ".hspy", ".png", ".jpg"} <= set(HAADF_EXTENSIONS)
    assert ".csv" not in HAADF_EXTENSIONS


@pytest.mark.parametrize(
    ("name", "shape", "pixel_nm"),
    [
        ("stem_real/batio3_dm4/BTO_crystal_1.dm4", (413, 469), 0.0296599),
        ("stem_real/batio3_dm4/BTO_crystal_2.dm4", (465, 476), 0.0355919),
        ("stem_real/aggregate_dm4/JEOL HAADF Image.dm4", (112, 112), 1.249),
        # 34.13 pixels per nm, published with the data; its TIFF resolution tag wrongly says inch
        ("stem_real/hpai_pt_single_atoms/data/tif_data/021_HAADF_15nm_Sample_PtNC_21Oct20.tif", (512, 512), 1 / 34.13),
        ("stem_real/srtio3_adf_abf/test_ADF_cropped.hdf5", (400, 380), None),
        ("haadf/CdTe/parent_bulk.tif", (768, 768), None),
        ("haadf/SrTiO3/parent_bulk.jpg", (512, 512), None),
        ("haadf/CdTe/Bulk/Bulk_11.tif", (64, 64), None),
        ("haadf/SrTiO3/Bulk/Bulk_11.tif", (64, 64), None),
        ("haadf/SrTiO3/IExtra/IExtra_11.tif", (64, 64), None),
        ("haadf/SrTiO3/Mis/Mis_11.tif", (64, 64), None),
    ],
)
def test_real_files(name: str, shape: tuple[int, int], pixel_nm: float | None, shared_data: Path) -> None:
    file = shared_data / name
    image = read_haadf(file)
    assert looks_like_image(file)
    assert image.values.shape == shape
    assert image.values.max() > image.values.min()
    if pixel_nm is None:
        assert image.pixel_nm is None
        assert "no-pixel-size" in codes(image)
    else:
        assert image.pixel_nm == pytest.approx((pixel_nm, pixel_nm), rel=1e-3)


def test_truncated_dm4(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "stem_real/aggregate_dm4/JEOL HAADF Image.dm4").read_bytes()
    file = tmp_path / "a.dm4"
    for n in np.linspace(0, len(data) - 100, 30).astype(int):
        file.write_bytes(data[:n])
        with pytest.raises(FormatError, match=r"a\.dm4"):
            read_haadf(file)
