"""Builds .apt files section by section, valid ones and ones that lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = {"i": 1, "u": 2, "f": 3}


@dataclass
class Section:
    name: str
    values: np.ndarray
    unit: str = ""
    relation: int = 1
    record_kind: int = 1
    data_kind: int | None = None
    data_bits: int | None = None
    record_bytes: int | None = None
    n_records: int | None = None
    n_bytes: int | None = None
    header_bytes: int | None = None
    extra: bytes = b""
    padding: bytes = b""
    magic: bytes = b"SEC\0"

    def build(self) -> bytes:
        values = np.ascontiguousarray(self.values, self.values.dtype.newbyteorder("<"))
        width = 1 if values.ndim == 1 else values.shape[1]

        def chosen(given, default):
            return default if given is None else given

        header = struct.pack(
            "<4sii64siIIIii32sqq",
            self.magic,
            chosen(self.header_bytes, 148 + len(self.extra)),
            2,
            self.name.encode("utf-16-le"),
            1,
            self.relation,
            self.record_kind,
            chosen(self.data_kind, KINDS[values.dtype.kind]),
            chosen(self.data_bits, 8 * values.dtype.itemsize),
            chosen(self.record_bytes, width * values.dtype.itemsize),
            self.unit.encode("utf-16-le"),
            chosen(self.n_records, len(values)),
            chosen(self.n_bytes, values.nbytes + len(self.padding)),
        )
        assert len(header) == 148
        return header + self.extra + values.tobytes() + self.padding


def position(n: int, seed: int = 0, **kwargs) -> Section:
    xyz = np.random.default_rng(seed).normal(0, 10, (n, 3)).astype("f4")
    bounds = np.stack([xyz.min(0), xyz.max(0)], axis=1).astype("<f4").tobytes() if n else bytes(24)
    return Section("Position", xyz, "nm", **{"extra": bounds, **kwargs})


def mass(n: int, seed: int = 1, **kwargs) -> Section:
    return Section("Mass", np.random.default_rng(seed).uniform(1, 100, n).astype("f4"), **{"unit": "Da", **kwargs})


def write_apt_file(path: Path, sections: list[Section], n_ions: int | None = None, **header) -> Path:
    n = len(sections[0].values) if n_ions is None else n_ions
    head = struct.pack(
        "<4sii512sQq",
        header.get("magic", b"APT\0"),
        header.get("header_bytes", 540),
        2,
        header.get("name", "R5096_1.apt").encode("utf-16-le"),
        header.get("time", 132_609_690_860_580_000),
        n,
    )
    path.write_bytes(head + b"".join(section.build() for section in sections) + header.get("tail", b""))
    return path
