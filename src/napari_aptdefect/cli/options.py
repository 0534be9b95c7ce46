"""Command-line options made from the parameter models, so that a parameter is written once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from cyclopts import CycloptsError, Group, Parameter, UnknownCommandError, ValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model
from pydantic import ValidationError as ModelError
from pydantic.fields import FieldInfo

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params

P = TypeVar("P", bound=Params)


def options_for(model: type[Params], group: str = "Parameters of the method") -> Any:
    """Make the annotation of a command's argument that takes every field of a model as an option.

    Parameters
    ----------
    model
        A parameter model; a field that is itself a model gives options such as ``--graph.n-neighbors``.
    group
        Heading of the options in the help.

    Returns
    -------
    An annotation whose values hold only what the user gave; `given` reads them.
    """
    return Annotated[_with_help(model, Group(group, sort_key=1)) | None, Parameter(name="*")]


def given(options: BaseModel | None) -> dict[str, Any]:
    """What the user gave, as nested dictionaries."""
    return {} if options is None else options.model_dump(exclude_unset=True)


def overridden(params: P, changes: Mapping[str, Any]) -> P:
    """Return the parameters with some of them replaced.

    Raises
    ------
    ParameterError
        If a value is out of its bounds.
    """
    return made(type(params), params.model_dump(), changes)


def made(model: type[P], *values: Mapping[str, Any]) -> P:
    """Make parameters from what is given, the later values over the earlier; the rest keeps its default.

    Raises
    ------
    ParameterError
        If a value is out of its bounds.
    """
    merged: dict[str, Any] = {}
    for one in values:
        merged = _merged(merged, one)
    try:
        return model.model_validate(merged)
    except ModelError as error:
        raise ParameterError(_model_message(error)) from error


def usage_message(error: CycloptsError, verbs: Collection[str]) -> str:
    """Say in one line what is wrong with a command line."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        # Its own message would load the modules of all verbs.
        word = error.unused_tokens[0]
        near = difflib.get_close_matches(word, verbs, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(verbs)}"
        return f"unknown command {word!r}; {advice}"
    cause = error.__cause__ or error.__context__
    if isinstance(error, ValidationError) and isinstance(cause, ModelError):
        return _model_message(cause)
    return str(error)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(name), Mapping)
        out[name] = _merged(out[name], value) if nested else value
    return out


def _model_message(error: ModelError) -> str:
    wrong = []
    for item in error.errors(include_url=False):
        where, *more = item["loc"] or ("?",)
        if any(isinstance(part, int) for part in more):  # an entry of a list, which only a file can give
            path = f"{where}" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in more)
        else:
            path = "--" + ".".join(str(part).replace("_", "-") for part in item["loc"])
        says = f"{item['msg'][:1].lower()}{item['msg'][1:]}"
        if item["type"] == "extra_forbidden":
            says = "there is no such parameter; see --help and the documentation for those there are"
        elif item["type"] == "union_tag_not_found":
            says = "says not which kind it is (kind = ...)"
        wrong.append(f"{path} {item['input']}: {says}")
    return "; ".join(wrong)


def _with_help(model: type[BaseModel], group: Group) -> type[BaseModel]:
    """Copy a model with its units and bounds in the help of each option."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if _holds_models(kind):
            continue  # a list of models is for a file, not for a command line
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            own = Group(f"{group.name}: {field.title or name}", sort_key=1)
            fields[name] = (_with_help(kind, own), field)
        else:
            help_ = Parameter(help=_help(field), group=group)
            fields[name] = (Annotated[field.rebuild_annotation(), BeforeValidator(_choice(kind)), help_], field)
    return create_model(model.__name__, __config__=ConfigDict(frozen=True, extra="forbid"), **fields)


def _holds_models(kind: Any) -> bool:
    """Whether a field is a list of models, of one kind or of several."""
    if get_origin(kind) is not tuple:
        return False
    parts = [part for arg in get_args(kind) for part in (get_args(arg) or (arg,))]
    flat = [one for part in parts for one in (get_args(part) or (part,))]
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in flat)


def _choice(kind: Any) -> Callable[[Any], Any]:
    """Turn the word typed for a choice among numbers into that number; everything else passes."""
    choices = {str(choice): choice for choice in get_args(kind)} if get_origin(kind) is Literal else {}
    return lambda value: choices.get(value, value) if isinstance(value, str) else value


def _help(field: FieldInfo) -> str:
    """Join the description with the bounds and the unit."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    bounds = {
        key: getattr(item, key) for item in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(item, key)
    }
    low = f"{bounds['ge']:g}" if "ge" in bounds else f"above {bounds['gt']:g}" if "gt" in bounds else ""
    high = f"{bounds['le']:g}" if "le" in bounds else f"below {bounds['lt']:g}" if "lt" in bounds else ""
    span = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
    facts = f"{span} {extra.get('unit') or ''}".strip()
    description = (field.description or "").rstrip(".")
    return f"{description} ({facts})." if facts else f"{description}."
