"""Every parameter model of the package keeps the contract that forms, options, TOML files and records rely on."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import napari_aptdefect
from napari_aptdefect.stage import Params

LOW, HIGH = {"ge", "gt"}, {"le", "lt"}


def all_models() -> list[type[Params]]:
    for module in pkgutil.walk_packages(napari_aptdefect.__path__, "napari_aptdefect."):
        if "_napari" not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
    found: dict[str, type[Params]] = {}
    todo = [Params]
    while todo:
        model = todo.pop()
        todo += model.__subclasses__()
        if model is not Params and model.__module__.startswith("napari_aptdefect."):
            found[f"{model.__module__}.{model.__qualname__}"] = model
    return [found[name] for name in sorted(found)]


MODELS = all_models()
FIELDS = [
    pytest.param(model, name, field, id=f"{model.__name__}.{name}")
    for model in MODELS
    for name, field in model.model_fields.items()
]


def members(annotation: Any) -> set[Any]:
    """Types a value may have, with optional values opened; positions and lists have no bounds of their own."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return {kind for part in typing.get_args(annotation) for kind in members(part)}
    return {annotation}


def is_model(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def test_there_are_models() -> None:
    assert len(MODELS) >= 8


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
class TestModel:
    def test_works_without_arguments_and_is_frozen(self, model: type[Params]) -> None:
        params = model()
        name = next(iter(model.model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(params, name, getattr(params, name))

    def test_refuses_unknown_names(self, model: type[Params]) -> None:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            model(no_such_parameter=1)

    def test_survives_json(self, model: type[Params]) -> None:
        assert model.model_validate_json(model().model_dump_json()) == model()


@pytest.mark.parametrize(("model", "name", "field"), FIELDS)
class TestField:
    def test_has_title_and_description(self, model: type[Params], name: str, field: FieldInfo) -> None:
        assert field.title
        assert field.description
        assert field.description != field.title

    def test_has_a_unit(self, model: type[Params], name: str, field: FieldInfo) -> None:
        if not is_model(field):
            assert isinstance(field.json_schema_extra, dict)
            assert isinstance(field.json_schema_extra["unit"], str)

    def test_names_its_unit(self, model: type[Params], name: str, field: FieldInfo) -> None:
        unit = (field.json_schema_extra or {}).get("unit") if not callable(field.json_schema_extra) else None
        for suffix, expected in (("_nm", "nm"), ("_da", "Da"), ("_ns", "ns"), ("_v", "V"), ("_nm3", "nm^3")):
            if name.endswith(suffix) and not name.endswith(f"_per{suffix}"):
                assert str(unit).replace("³", "^3").replace("nm3", "nm^3") == expected

    def test_numbers_have_two_bounds(self, model: type[Params], name: str, field: FieldInfo) -> None:
        if not members(field.annotation) & {int, float}:
            return
        bounds = {key for item in field.metadata for key in (LOW | HIGH) if getattr(item, key, None) is not None}
        assert bounds & LOW, f"{model.__name__}.{name} has no lower bound"
        assert bounds & HIGH, f"{model.__name__}.{name} has no upper bound"
