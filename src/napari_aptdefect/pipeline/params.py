"""All parameters of the main job in one model: one table per stage, in the order the stages run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from napari_aptdefect.apt.background import BackgroundParams
from napari_aptdefect.apt.clustering import ClusteringParams
from napari_aptdefect.apt.consistency import ConsistencyParams
from napari_aptdefect.apt.defects import DefectsParams
from napari_aptdefect.apt.drift import DriftParams
from napari_aptdefect.apt.features import FeatureSetParams, FeaturesParams
from napari_aptdefect.apt.fusion import FusionParams
from napari_aptdefect.apt.graph import GraphParams
from napari_aptdefect.apt.hull import HullParams
from napari_aptdefect.apt.normalize import NormalizeParams
from napari_aptdefect.apt.peak_drift import PeakDriftParams
from napari_aptdefect.apt.ranging import MassBackgroundParams, PeakParams, RangingParams
from napari_aptdefect.apt.reference import ReferenceParams
from napari_aptdefect.apt.topology import PlacesParams
from napari_aptdefect.apt.voids import VoidParams
from napari_aptdefect.apt.voronoi import VoronoiParams
from napari_aptdefect.errors import MissingFileError, ParameterError
from napari_aptdefect.pipeline.learning.choice import ModelParams
from napari_aptdefect.pipeline.regions import RegionParams
from napari_aptdefect.pipeline.structure import StructureParams
from napari_aptdefect.stage import Params, param


def _stage(model: type[Params], title: str, description: str) -> Any:
    return Field(default_factory=model, title=title, description=description)


class StepsParams(Params):
    """Which of the steps that can be left out are taken, and what they may change."""

    peak_drift: Literal["off", "report", "correct"] = param(
        "report",
        title="Peak drift",
        description="Follow the mass peaks along the evaporation sequence; 'correct' takes their drift out of the "
        "masses before anything else is done.",
    )
    mass_background: Literal["off", "report", "remove"] = param(
        "report",
        title="Mass background",
        description="Estimate how much of each range is background; 'remove' also leaves ions outside all ranges out "
        "of the neighborhoods. Within a range nothing is removed: which ion is background can't be told.",
    )
    drift: Literal["off", "report", "correct"] = param(
        "report",
        title="Drift",
        description="Follow the outline of the specimen along the evaporation sequence; 'correct' takes its drift out "
        "of the positions.",
    )
    consistency: bool = param(
        True,
        title="Consistency",
        description="Flag ions that can't lie where they lie; what happens to them is said under Consistency.",
    )
    hull: bool = param(
        True,
        title="Hull",
        description="Find the surface of the specimen, and end the Voronoi cells there.",
    )
    voids: bool = param(True, title="Voids", description="Search for voids with the particle filter.")
    structure: bool = param(
        True, title="Structure", description="Measure pair distribution, coordination and bond angles for the report."
    )
    topology: bool = param(
        False,
        title="Topology",
        description="Compare components, loops and cavities of each defect with those of the matrix (persistent "
        "homology); needs the extra topology.",
    )
    features: bool = param(
        False,
        title="Feature table",
        description="Compute the full feature sets of every ion and write them to features.parquet (about 0.5 GB per "
        "million ions).",
    )


class AnalysisParams(Params):
    """Parameters of the main job."""

    steps: StepsParams = _stage(StepsParams, "Steps", "What is done, and what it may change.")
    peak_drift: PeakDriftParams = _stage(PeakDriftParams, "Peak drift", "How mass peaks are followed.")
    peaks: PeakParams = _stage(PeakParams, "Peaks", "How ranges are suggested when no range file is given.")
    ranging: RangingParams = _stage(RangingParams, "Ranging", "How ions are identified.")
    mass_background: MassBackgroundParams = _stage(
        MassBackgroundParams, "Mass background", "What of the counts of a range is background."
    )
    drift: DriftParams = _stage(DriftParams, "Drift", "How the outline of the specimen is followed.")
    normalize: NormalizeParams = _stage(NormalizeParams, "Normalization", "Usable ions, grids, density.")
    consistency: ConsistencyParams = _stage(ConsistencyParams, "Consistency", "Ions that can't lie where they lie.")
    background: BackgroundParams = _stage(BackgroundParams, "Background", "What defects deviate from.")
    reference: ReferenceParams = _stage(ReferenceParams, "Reference", "The matched specimen without defects.")
    graph: GraphParams = _stage(GraphParams, "Graph", "Which ions are neighbors.")
    structure: StructureParams = _stage(StructureParams, "Structure", "How the structure is measured for the report.")
    hull: HullParams = _stage(HullParams, "Hull", "Where the specimen ends.")
    voronoi: VoronoiParams = _stage(VoronoiParams, "Voronoi", "The cell of each ion.")
    topology: PlacesParams = _stage(PlacesParams, "Topology", "Which balls are compared with the matrix.")
    voids: VoidParams = _stage(VoidParams, "Voids", "How voids are looked for.")
    features: FeaturesParams = _stage(FeaturesParams, "Features", "What the surroundings of each ion look like.")
    drawn_regions: RegionParams = _stage(RegionParams, "Drawn regions", "How far the regions reach that a person drew.")
    feature_sets: FeatureSetParams = _stage(FeatureSetParams, "Feature sets", "What features.parquet holds.")
    model: ModelParams = _stage(ModelParams, "Model", "Which trained model names defects.")
    fusion: FusionParams = _stage(FusionParams, "Fusion", "How the feature sets are weighted.")
    clustering: ClusteringParams = _stage(ClusteringParams, "Clustering", "What stands out, and of which type it is.")
    defects: DefectsParams = _stage(DefectsParams, "Defects", "What is reported as a defect.")


def load_params(path: Path | None) -> AnalysisParams:
    """Read parameters from a TOML file with one table per stage; what it does not say keeps its default.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ParameterError
        If the file is no TOML, or names or values are wrong; the message names each.
    """
    values = load_toml(path)
    try:
        return AnalysisParams.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}, got {one['input']!r}"
            for one in error.errors()
        )
        raise ParameterError(f"{path}: {wrong}") from error


def load_toml(path: Path | None) -> dict[str, Any]:
    """Read a parameter file; without one nothing is said.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ParameterError
        If the file is no TOML.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"can't read the parameter file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is no TOML file: {error}") from error
