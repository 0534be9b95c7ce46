"""HAADF-STEM images in: one image, or one stack of frames, out of any file that RosettaSciIO reads.

RosettaSciIO knows the formats; this module decides which signal of a file is the image, what its pixel size is in nm,
and says what it decided.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data import HaadfImage
from napari_aptdefect.errors import FormatError, Issue, ParameterError
from napari_aptdefect.io import haadf_backend as backend
from napari_aptdefect.units import to_house_unit

HAADF_EXTENSIONS: tuple[str, ...]
"""Extensions of image files, lower case with the dot; found out when first asked for."""

__all__ = ["HAADF_EXTENSIONS", "looks_like_image", "read_haadf"]

_TO_NM: Final = {"nm": 1.0, "mm": 1e6, "m": 1e9}
_ALIASES: Final = {
    "nanometer": "nm", "nanometers": "nm", "nanometre": "nm", "angstroms": "angstrom", "micron": "um",
    "microns": "um", "micrometer": "um", "meter": "m", "\\u00b5m": "um", "\\u00c5": "angstrom",
}  # fmt: skip
_NO_UNIT: Final = frozenset({"", "none", "px", "pixel", "pixels", "<undefined>", "undefined", "index"})
# Rec. ITU-R BT.601 luma: what a person would call the brightness of a colored pixel
_LUMA: Final = {"R": 0.299, "G": 0.587, "B": 0.114}


def __getattr__(name: str) -> Any:
    if name == "HAADF_EXTENSIONS":
        return backend.image_extensions()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class _Axis:
    name: str
    size: int
    scale: float
    unit: str
    navigate: bool

    @property
    def is_energy(self) -> bool:
        return self.unit.lower() in {"ev", "kev"}

    @property
    def is_reciprocal(self) -> bool:
        compact = self.unit.replace(" ", "").lower()
        return compact.startswith("1/") or compact.endswith(("^-1", "**-1", "⁻¹")) or compact in {"rad", "mrad", "deg"}


@dataclass(frozen=True, slots=True)
class _Signal:
    """One signal of a file; `plane` holds the axis numbers (frames,) y, x of its image, empty when it holds none."""

    values: Any
    axes: tuple[_Axis, ...]
    title: str
    raw: Mapping[str, Any]
    plane: tuple[int, ...]
    refusal: str

    @property
    def rank(self) -> tuple[bool, int, bool, int]:
        name = self.title.upper()
        wanted = 2 if "HAADF" in name else 1 if "ADF" in name else 0
        real_space = not any(self.axes[axis].is_reciprocal for axis in self.plane)
        return real_space, wanted, len(self.plane) == 2, math.prod(self.values.shape)

    def __str__(self) -> str:
        shape = " x ".join(str(n) for n in self.values.shape)
        return f"{self.title!r} ({self.refusal or 'image'}, {shape})"


def looks_like_image(path: Path) -> bool:
    """Whether the content of a file, not its name, says that it holds an image.

    Parameters
    ----------
    path
        File to look at; a missing file and a folder hold no image.
    """
    return backend.magic_plugin(Path(path)) is not None


def read_haadf(path: Path | str, signal: str | int | None = None) -> HaadfImage:
    """Read the HAADF image, or stack of frames, of a file.

    Parameters
    ----------
    path
        File in any format of `HAADF_EXTENSIONS`.
    signal
        Which signal of a file with several: its number from 0 in the order of the file, or its title or a part of it.
        By default a real-space image whose title holds HAADF, else ADF, else the largest.

    Returns
    -------
    Image of shape (ny, nx), or (n_frames, ny, nx), row 0 on top, in the file's dtype and native byte order; pixel size
    in nm. Color pictures become gray, which is among the issues, as are the other signals of the file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If the file is damaged, of no known kind, or holds no image.
    ParameterError
        If `signal` names no image, or more than one.

    Notes
    -----
    Only the chosen signal is read where the format allows it (DigitalMicrograph, EMD, HyperSpy, MRC).
    """
    path = Path(path)
    issues: list[Issue] = []
    plugin, raw = backend.load(path, issues)
    signals = [_describe(item, path) for item in raw]
    chosen = _choose(signals, signal, path)
    others = [str(item) for item in signals if item is not chosen]
    if others:
        issues.append(Issue("other-signals", f"read {chosen.title!r}; not read: {', '.join(others)}", "info"))
    with backend.translated(path, plugin, issues):
        values = _pixels(chosen.values, plugin, path)
        facts = _tiff_scale(path) if plugin == "TIFF" else None
    if values.size == 0:
        raise backend.damaged(path, plugin, f"an image without pixels, shape {values.shape}")
    if values.dtype.names is not None:
        values = _to_gray(values, issues)
    plane = chosen.plane
    values = np.ascontiguousarray(values.transpose(plane + tuple(i for i in range(values.ndim) if i not in plane)))
    _check_values(values, issues)
    return HaadfImage(
        values=values,
        pixel_nm=_pixel_nm(chosen, facts, issues),
        title=chosen.title,
        source=path,
        metadata={
            "reader": plugin,
            "signals": tuple(item.title for item in signals),
            "instrument": chosen.raw.get("metadata", {}),
            "original": chosen.raw.get("original_metadata", {}),
        },
        issues=tuple(issues),
    )


def _describe(item: Mapping[str, Any], path: Path) -> _Signal:
    values = item["data"]
    axes = [_axis(axis, i, values.ndim) for i, axis in enumerate(item["axes"])]
    if any("index_in_array" in axis for axis in item["axes"]):
        order = [int(axis.get("index_in_array", i)) for i, axis in enumerate(item["axes"])]
        axes = [axes[i] for i in np.argsort(order, kind="stable")]
    if len(axes) > 2 and values.ndim > 2:
        drop = [i for i, n in enumerate(values.shape) if n == 1][: values.ndim - 2]
        values = values.squeeze(axis=tuple(drop))
        axes = [axis for i, axis in enumerate(axes) if i not in drop]
    title = str(item.get("metadata", {}).get("General", {}).get("title") or path.stem)
    plane, refusal = _plane(values, axes)
    return _Signal(values, tuple(axes), title, item, plane, refusal)


def _axis(axis: Mapping[str, Any], i: int, ndim: int) -> _Axis:
    unit = axis.get("units")
    text = unicodedata.normalize("NFC", unit).strip() if isinstance(unit, str) else ""
    name = axis.get("name")
    return _Axis(
        name=name if isinstance(name, str) else "",
        size=int(axis.get("size", 0)),
        scale=float(axis.get("scale", math.nan)),
        unit="" if text.lower() in _NO_UNIT else text,
        navigate=bool(axis.get("navigate", i < ndim - 2)),
    )


def _plane(values: Any, axes: list[_Axis]) -> tuple[tuple[int, ...], str]:
    """Axis numbers of the image, or no number and what the signal is instead."""
    kind = values.dtype.kind
    if values.ndim != len(axes) or values.ndim < 2:
        return (), "spectrum or profile"
    if kind not in "buif" and values.dtype.names is None:
        return (), "complex image" if kind == "c" else f"values of type {values.dtype}"
    if any(axis.is_energy for axis in axes):
        return (), "spectrum image"
    if values.ndim > 3:
        return (), f"data of {values.ndim} dimensions"
    n_navigate = sum(axis.navigate for axis in axes)
    if values.ndim == 2:
        return ((), "line of spectra") if n_navigate == 1 else ((0, 1), "")
    if n_navigate == 2:
        return (), "spectrum image"
    names = [axis.name.lower() for axis in axes]
    y = next((i for i, name in enumerate(names) if name in {"y", "height"}), None)
    x = next((i for i, name in enumerate(names) if name in {"x", "width"}), None)
    if n_navigate == 1 and (y is None or x is None):
        frame = next(i for i, axis in enumerate(axes) if axis.navigate)
        y, x = (i for i in range(3) if i != frame)
    elif y is None or x is None:
        y, x = 1, 2
    return (3 - y - x, y, x), ""


def _choose(signals: list[_Signal], wanted: str | int | None, path: Path) -> _Signal:
    images = [item for item in signals if item.plane]
    listing = "; ".join(f"{i}: {item}" for i, item in enumerate(signals))
    if wanted is not None:
        if isinstance(wanted, int):
            found = [signals[wanted]] if 0 <= wanted < len(signals) else []
        else:
            found = [item for item in signals if item.title == wanted]
            found = found or [item for item in signals if wanted.lower() in item.title.lower()]
        if len(found) != 1:
            raise ParameterError(f"{path}: signal {wanted!r} fits {len(found)} signals, expected one of {listing}")
        images = [item for item in found if item.plane]
    if not images:
        raise FormatError(
            path,
            expected="an image (y, x) or a stack of images (frame, y, x)",
            found=listing,
            hint="Export the HAADF image itself, for instance as .tif or .hspy.",
        )
    return max(images, key=lambda item: item.rank)


def _pixels(values: Any, plugin: str, path: Path) -> NDArray[Any]:
    """Array in memory, native byte order; the lazy ones are read here."""
    if plugin == "Image":
        # RosettaSciIO takes a picture whose green and blue agree as gray and loses a red overlay.
        import imageio.v3 as iio

        array = np.squeeze(iio.imread(path))
        if array.ndim == 3 and array.shape[-1] in (3, 4):
            packed = np.dtype({"names": list("RGBA")[: array.shape[-1]], "formats": [array.dtype] * array.shape[-1]})
            array = np.ascontiguousarray(array).view(packed)[..., 0]
        if array.shape != values.shape:
            raise ValueError(f"pictures of shape {array.shape} and {values.shape} in one file")
        values = array
    array = np.asarray(values.compute(scheduler="synchronous") if hasattr(values, "compute") else values)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _to_gray(values: NDArray[Any], issues: list[Issue]) -> NDArray[Any]:
    names = [name for name in values.dtype.names or () if name in _LUMA]
    if len(names) != 3:
        return np.ascontiguousarray(values[(values.dtype.names or ("",))[0]])
    red, green, blue = (values[name] for name in names)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        issues.append(Issue("gray-as-color", "gray picture stored as color; one channel was taken", "info"))
        return np.ascontiguousarray(red)
    n_colored = int(np.count_nonzero((red != green) | (green != blue)))
    issues.append(
        Issue(
            "color",
            f"{n_colored} of {red.size} pixels are colored (false color, scale bar or marks?); the luminance was "
            "taken, which is no detector signal: use the microscope's own file where you can",
        )
    )
    luma = np.zeros(red.shape, np.float32)
    for name, weight in _LUMA.items():
        luma += values[name] * np.float32(weight)
    return luma


def _check_values(values: NDArray[Any], issues: list[Issue]) -> None:
    if values.dtype.kind == "f" and (n_bad := int(values.size - np.count_nonzero(np.isfinite(values)))):
        issues.append(Issue("not-finite", f"{n_bad} of {values.size} pixels are NaN or infinite"))
    if values.size > 1 and (values == values.flat[0]).all():
        issues.append(Issue("constant", f"every pixel has the value {values.flat[0]}"))


def _tiff_scale(path: Path) -> dict[str, Any]:
    """What the TIFF file says of its scale where RosettaSciIO drops it (ImageJ, OME) or swaps x and y (the others)."""
    import tifffile

    facts: dict[str, Any] = {}
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        imagej = tiff.imagej_metadata or {}
        if imagej.get("images", 1) > 1 and tiff.series[0].size // page.size < imagej["images"]:
            found = f"{tiff.series[0].size // page.size} of the {imagej['images']} frames that the header announces"
            raise backend.damaged(path, "TIFF", found)
        unit = str(imagej.get("unit", ""))
        if unit and "XResolution" in page.tags and "YResolution" in page.tags:
            (nx, dx), (ny, dy) = page.tags["XResolution"].value, page.tags["YResolution"].value
            if nx and ny and dx and dy:
                facts["scale"] = {"y": (dy / ny, unit), "x": (dx / nx, unit)}
        elif tiff.is_ome and tiff.ome_metadata:
            pixels = _first_pixels(tifffile.xml2dict(tiff.ome_metadata))
            if "PhysicalSizeX" in pixels and "PhysicalSizeY" in pixels:
                facts["scale"] = {
                    axis.lower(): (float(pixels[f"PhysicalSize{axis}"]), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
                    for axis in "YX"
                }
        facts["swapped"] = bool(page.is_sis or page.is_fei or page.is_tvips)
    return facts


def _first_pixels(ome: Mapping[str, Any]) -> dict[str, Any]:
    images = ome.get("OME", {}).get("Image", {})
    first = images[0] if isinstance(images, list) else images
    found: dict[str, Any] = first.get("Pixels", {})
    return found


def _pixel_nm(chosen: _Signal, facts: dict[str, Any] | None, issues: list[Issue]) -> tuple[float, float] | None:
    y, x = (chosen.axes[i] for i in chosen.plane[-2:])
    read = {"y": (y.scale, y.unit), "x": (x.scale, x.unit)}
    if facts is not None:
        if facts["swapped"]:
            read = {"y": read["x"], "x": read["y"]}
        if not y.unit and not x.unit:
            read = facts.get("scale", read)
    if y.is_reciprocal or x.is_reciprocal:
        issues.append(
            Issue("reciprocal-space", f"the axes are in {y.unit} and {x.unit}: a diffraction pattern, not an image")
        )
        return None
    sizes = {axis: _length_nm(scale, unit) for axis, (scale, unit) in read.items()}
    if sizes["y"] is None or sizes["x"] is None:
        (scale, unit) = read["y"] if sizes["y"] is None else read["x"]
        what = "no pixel size" if not unit and scale == 1 else f"a pixel size of {scale:g} {unit or 'without unit'}"
        issues.append(Issue("no-pixel-size", f"the file gives {what}; give the pixel size in nm by hand"))
        return None
    if abs(sizes["y"] / sizes["x"] - 1) > 0.01:
        issues.append(
            Issue("oblong-pixel", f"pixels of {sizes['y']:g} nm (y) by {sizes['x']:g} nm (x) are not square", "info")
        )
    return sizes["y"], sizes["x"]


def _length_nm(scale: float, unit: str) -> float | None:
    """Length in nm; None when the unit is no length on the sample (an inch is a length on paper) or the scale is 0."""
    if not math.isfinite(scale) or scale == 0 or not unit:
        return None
    key = unicodedata.normalize("NFC", unit).strip()
    try:
        house, factor = to_house_unit(_ALIASES.get(key.lower(), key))
    except ParameterError:
        return None
    return abs(scale) * factor * _TO_NM[house] if house in _TO_NM else None
