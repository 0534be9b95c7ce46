"""The .epos format: .pos plus time of flight, voltages, detector hit and pulse data, 44 big-endian bytes per ion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.columns import Column, LazyColumns, Settled, unit_of
from napari_aptdefect.errors import Issue
from napari_aptdefect.io._binary import Field, PackedReader, SourceFile, as_stored, replacing
from napari_aptdefect.io.pos import left_out, whole_records

RECORD_BYTES: Final = 44
_FIELDS: Final = {
    "xyz_nm": Field(0, "f4", 3),
    "mass_da": Field(12, "f4"),
    "tof_ns": Field(16, "f4"),
    "voltage_dc_v": Field(20, "f4"),
    "voltage_pulse_v": Field(24, "f4"),
    "det_x_mm": Field(28, "f4"),
    "det_y_mm": Field(32, "f4"),
    "pulse_delta": Field(36, "u4"),
    "ions_per_pulse": Field(40, "u4"),
}
_DESCRIPTIONS: Final = {
    "xyz_nm": "reconstructed positions",
    "mass_da": "mass-to-charge ratios",
    "tof_ns": "time of flight, uncorrected",
    "voltage_dc_v": "standing voltage",
    "voltage_pulse_v": "pulse voltage",
    "det_x_mm": "hit on the detector, x",
    "det_y_mm": "hit on the detector, y",
    "pulse_delta": "pulses since the last pulse with a hit; 0 for the further ions of a pulse",
    "ions_per_pulse": "ions of the pulse, on its first ion; 0 on the further ones",
}
_VOLTAGES: Final = ("voltage_dc_v", "voltage_pulse_v")
_DOUBTFUL: Final = tuple(_FIELDS)[2:]

# A tip evaporates at 1 to 15 kV: a median below 50 can't be volts.
_KV_BELOW: Final = 50.0
_N_SAMPLES: Final = 64


def read_epos(path: Path | str) -> IonCloud:
    """Open an .epos file; only its size is looked at, the ions are read when they are asked for.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    The cloud; besides ``xyz_nm`` and ``mass_da`` the columns that the file really fills.

    Raises
    ------
    FormatError
        If the file does not hold whole ions.
    MissingFileError
        If there is no such file.

    Notes
    -----
    Some programs write zeros where they have no value: a column of zeros is absent (`IonCloud.absent_columns`). Larson
    et al. print kV and nm for voltage and detector; real files hold V and mm, which the flight path confirms:
    sqrt(2 q V / m) t is 0.3 m with V and 10 m with kV. A median standing voltage below 50 is taken as kV, and
    reported. Which columns are there and the unit of the voltage are found out when such a column is first asked for.

    References
    ----------
    D. J. Larson et al., Local Electrode Atom Probe Tomography, 2013, doi:10.1007/978-1-4614-8721-0
    """
    file = SourceFile.of(path)
    n_ions = whole_records(file, RECORD_BYTES, ".epos")
    reader = PackedReader(file, 0, RECORD_BYTES, ">", _FIELDS)
    certain = {name: _column(name, reader) for name in _FIELDS if name not in _DOUBTFUL}
    issues = (Issue("empty", "the file is empty: 0 ions"),) if n_ions == 0 else ()
    columns = LazyColumns(certain, _DOUBTFUL, _Settle(reader, n_ions))
    return IonCloud(n_ions, columns, file.path, "epos", {}, issues)


def _column(name: str, reader: PackedReader) -> Column:
    field = _FIELDS[name]
    dtype = np.dtype(f"={field.kind}")
    return Column(name, dtype, field.width, unit_of(name), reader, _DESCRIPTIONS[name])


@dataclass(frozen=True)
class _Settle:
    """Finds out which columns are all zero and whether the voltage is in kV."""

    reader: PackedReader
    n_ions: int

    def __call__(self) -> Settled:
        absent = self._all_zero()
        issues: list[Issue] = []
        if absent:
            text = f"{', '.join(absent)} hold only zeros: the exporter had no values, the columns are absent"
            issues.append(Issue("absent-columns", text, "info"))
        reader = self.reader
        voltages = [name for name in _VOLTAGES if name not in absent]
        if voltages and self.n_ions:
            median = self._median(voltages[0])
            if median < _KV_BELOW:
                fields = {name: replace(f, factor=1e3) if name in _VOLTAGES else f for name, f in _FIELDS.items()}
                reader = replace(reader, fields=fields)
                text = f"the median of {voltages[0]} is {median:.4g}, taken as kV; {', '.join(voltages)} are "
                issues.append(Issue("voltage-kv", text + "multiplied by 1000"))
        columns = {
            name: _column(name, reader if name in _VOLTAGES else self.reader)
            for name in _DOUBTFUL
            if name not in absent
        }
        return Settled(columns, absent, tuple(issues))

    def _all_zero(self) -> tuple[str, ...]:
        """Columns without one value other than zero; stops as soon as none is left in question."""
        if not self.n_ions:
            return ()
        open_names = _DOUBTFUL
        block = self.reader.block
        with self.reader.file.mapped() as raw:
            table = raw.view("<u4").reshape(-1, RECORD_BYTES // 4)
            for start in range(0, self.n_ions, block):
                words = table[start : start + block]
                open_names = tuple(name for name in open_names if not _any_value(words, name))
                if not open_names:
                    break
        return open_names

    def _median(self, name: str) -> float:
        """Median of the finite values other than zero in runs of ions spread over the file."""
        run = 1024
        starts = sorted({int(s) for s in np.linspace(0, max(0, self.n_ions - run), _N_SAMPLES)})
        parts = []
        with self.reader.open((name,)) as fill:
            for start in starts:
                out = np.empty(min(run, self.n_ions - start), np.float32)
                fill(start, start + len(out), {name: out})
                parts.append(out[np.isfinite(out) & (out != 0)])
        values = np.concatenate(parts)
        return float(np.median(np.abs(values))) if len(values) else np.inf


def _any_value(words: NDArray[np.uint32], name: str) -> bool:
    """Whether a column holds anything but 0 and -0.0; the words are big-endian ones, read as little-endian."""
    field = _FIELDS[name]
    bits = int(np.bitwise_or.reduce(words[:, field.start // 4]))
    return bits not in (0, 0x80) if field.kind == "f4" else bits != 0


def write_epos(cloud: IonCloud, path: Path | str) -> tuple[Issue, ...]:
    """Write a cloud as .epos, in blocks and to a temporary name first; columns the cloud lacks are written as zeros.

    Returns
    -------
    What the format can't hold, and what was filled with zeros.
    """
    names = [name for name in _FIELDS if name in cloud.columns and cloud.columns[name].width == _FIELDS[name].width]
    rounded: dict[str, None] = {}
    with replacing(path) as handle:
        for start, stop in cloud.chunks():
            records = np.zeros((stop - start, RECORD_BYTES // 4), ">u4")
            for name, values in cloud.read_columns(names, start, stop).items():
                field = _FIELDS[name]
                stored, exact = as_stored(values, np.dtype(field.kind), name)
                if not exact:
                    rounded[name] = None
                first = field.start // 4
                records[:, first : first + field.width] = stored.view(np.uint32).reshape(stop - start, -1)
            handle.write(records.data)
    issues = left_out(cloud, tuple(names), ".epos")
    if rounded:
        issues += (Issue("rounded", f"{', '.join(rounded)} were rounded to float32"),)
    zeros = [name for name in _FIELDS if name not in names]
    if zeros:
        issues += (Issue("zero-filled", f"the cloud has no {', '.join(zeros)}: written as zeros", "info"),)
    return issues
