"""Reading truth and claims from parquet files: what is asked of them, and what is said when it is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import FormatError, MissingFileError
from napari_aptdefect.evaluate.files import read_claim, read_clusters, read_truth

CLUSTER, VOID = DEFECT_CLASSES.index("solute_cluster"), DEFECT_CLASSES.index("void")
CODES, INSTANCE = [0, 5, 5, 6, 0], [0, 2, 2, 1, 3]


def names(codes: list[int]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(DEFECT_CLASSES))


def truth_columns() -> dict[str, object]:
    return {
        "ion_idx": np.arange(5, dtype=np.int64),
        "defect_class": names(CODES),
        "instance": pa.array(INSTANCE, pa.int32()),
        "bound_class": names([0, 5, 0, 6, 0]),
        "bound_instance": pa.array([0, 2, 0, 1, 3], pa.int32()),
    }


def defect_columns() -> dict[str, object]:
    return {
        "defect": pa.array([1, 2, 3], pa.int32()),
        "defect_class": ["void", "solute_cluster", "matrix"],
        "role": ["control", "target", "structure"],
        "visible": [False, True, False],
        "iou_ceiling": [0.5, 0.75, None],
        "d_prime": [1.0, 9.0, None],
    }


def write(folder: Path, ions: dict[str, object] | None = None, defects: dict[str, object] | None = None) -> Path:
    pq.write_table(pa.table(ions or truth_columns()), folder / "truth.parquet")
    pq.write_table(pa.table(defects or defect_columns()), folder / "defects_truth.parquet")
    return folder


def write_run(folder: Path) -> Path:
    ions = {
        "ion_idx": np.arange(5, dtype=np.int64),
        "defect": pa.array([0, 1, 1, 0, 2], pa.int32()),
        "defect_class": names([0, 5, 5, 0, 6]),
        "cluster": pa.array([-1, 0, 0, -1, 1], pa.int32()),
    }
    pq.write_table(pa.table(ions), folder / "ions.parquet")
    rows = {"defect": pa.array([1, 2], pa.int32()), "defect_class": ["solute_cluster", "void"]}
    pq.write_table(pa.table({**rows, "probability": [0.9, 0.7]}), folder / "defects.parquet")
    return folder


class TestTruth:
    def test_reads(self, tmp_path: Path) -> None:
        truth = read_truth(write(tmp_path))
        assert truth.class_idx.tolist() == CODES
        assert truth.instance.tolist() == INSTANCE
        assert truth.defects.role.tolist() == [1, 0, 2]
        assert truth.defects.visible.tolist() == [False, True, False]
        assert truth.defects.iou_ceiling == pytest.approx([0.5, 0.75, np.nan], nan_ok=True)
        assert truth.bound is not None
        assert truth.bound.class_idx.tolist() == [0, 5, 0, 0, 0]

    def test_each_part_may_have_a_dictionary_of_its_own(self, tmp_path: Path) -> None:
        columns = truth_columns()
        parts = [pa.array(["matrix", "solute_cluster"]), pa.array(["solute_cluster", "void", "matrix"])]
        columns["defect_class"] = pa.chunked_array([part.dictionary_encode() for part in parts])
        assert read_truth(write(tmp_path, columns)).class_idx.tolist() == CODES

    def test_plain_strings_do_as_well(self, tmp_path: Path) -> None:
        columns = truth_columns() | {"defect_class": [DEFECT_CLASSES[code] for code in CODES]}
        assert read_truth(write(tmp_path, columns)).class_idx.tolist() == CODES

    def test_without_bound(self, tmp_path: Path) -> None:
        columns = {k: v for k, v in truth_columns().items() if not k.startswith("bound")}
        assert read_truth(write(tmp_path, columns)).bound is None

    def test_without_any_defect(self, tmp_path: Path) -> None:
        columns = truth_columns() | {"defect_class": names([0] * 5), "instance": pa.array([0] * 5, pa.int32())}
        columns = {k: v for k, v in columns.items() if not k.startswith("bound")}
        kinds = [("defect", pa.int32()), ("defect_class", pa.string()), ("role", pa.string()), ("visible", pa.bool_())]
        schema = pa.schema([*kinds, ("iou_ceiling", pa.float64()), ("d_prime", pa.float64())])
        write(tmp_path, columns)
        pq.write_table(schema.empty_table(), tmp_path / "defects_truth.parquet")
        assert len(read_truth(tmp_path).defects) == 0

    @pytest.mark.parametrize("missing", ["role", "visible", "iou_ceiling", "d_prime"])
    def test_an_older_simulation_is_told_to_run_again(self, tmp_path: Path, missing: str) -> None:
        columns = {k: v for k, v in defect_columns().items() if k != missing}
        with pytest.raises(FormatError, match=rf"the column\(s\) {missing}.*Simulate it again"):
            read_truth(write(tmp_path, defects=columns))

    @pytest.mark.parametrize(
        ("name", "values", "says"),
        [
            ("instance", pa.array([0, 2, 2, 1, 4], pa.int32()), "instance 4, which the table of 3"),
            ("instance", pa.array([0, 2, 2, 1, None], pa.int32()), "whole numbers in instance"),
            ("instance", pa.array([0.0, 2, 2, 1, 3]), "whole numbers in instance"),
            ("ion_idx", np.array([0, 1, 3, 2, 4]), "ion_idx 2 in row 2"),
            ("defect_class", ["matrix", "cluster", "void", "void", "matrix"], "one of matrix.*found 'cluster'"),
            ("defect_class", ["matrix", None, "void", "void", "matrix"], "a class in every row"),
        ],
    )
    def test_refuses_ions(self, tmp_path: Path, name: str, values: object, says: str) -> None:
        with pytest.raises(FormatError, match=says):
            read_truth(write(tmp_path, truth_columns() | {name: values}))

    @pytest.mark.parametrize(
        ("name", "values", "says"),
        [
            ("role", ["control", "goal", "structure"], "roles target, control, structure, found 'goal'"),
            ("role", ["control", None, "structure"], "a value in every row of role"),
            ("visible", [False, None, False], "true or false in visible"),
            ("defect", pa.array([1, 1, 3], pa.int32()), "each once"),
        ],
    )
    def test_refuses_defects(self, tmp_path: Path, name: str, values: object, says: str) -> None:
        with pytest.raises(FormatError, match=says):
            read_truth(write(tmp_path, defects=defect_columns() | {name: values}))

    def test_refuses_half_a_bound(self, tmp_path: Path) -> None:
        columns = {k: v for k, v in truth_columns().items() if k != "bound_class"}
        with pytest.raises(FormatError, match="only bound_instance"):
            read_truth(write(tmp_path, columns))

    def test_missing_and_damaged_files(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"truth\.parquet: no such file"):
            read_truth(tmp_path)
        (tmp_path / "truth.parquet").write_bytes(b"nothing")
        with pytest.raises(FormatError, match="expected a parquet file"):
            read_truth(tmp_path)


class TestClaim:
    def test_reads(self, tmp_path: Path) -> None:
        claim = read_claim(write_run(tmp_path))
        assert claim.class_idx.tolist() == [0, CLUSTER, CLUSTER, 0, VOID]
        assert claim.number_class.tolist() == [CLUSTER, VOID]
        assert claim.probability.tolist() == [0.9, 0.7]
        assert read_clusters(tmp_path).tolist() == [-1, 0, 0, -1, 1]

    def test_refuses_tables_that_disagree(self, tmp_path: Path) -> None:
        write_run(tmp_path)
        rows = {"defect": pa.array([1], pa.int32()), "defect_class": ["void"], "probability": [0.9]}
        pq.write_table(pa.table(rows), tmp_path / "defects.parquet")
        with pytest.raises(FormatError, match="ion 4 belongs to instance 2"):
            read_claim(tmp_path)

    def test_refuses_a_cluster_that_no_run_writes(self, tmp_path: Path) -> None:
        write_run(tmp_path)
        ions = pq.read_table(tmp_path / "ions.parquet").to_pydict() | {"cluster": [-1, 0, -7, -1, 1]}
        pq.write_table(pa.table(ions), tmp_path / "ions.parquet")
        with pytest.raises(FormatError, match="expected clusters from 0, -1 for none, found -7"):
            read_clusters(tmp_path)
