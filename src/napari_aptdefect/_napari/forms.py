"""A form made from a parameter model: one widget per field, nested models as sections that fold."""

from __future__ import annotations

import types
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FloatSpinBox,
    LineEdit,
    LiteralEvalLineEdit,
    SpinBox,
    Widget,
    create_widget,
)
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QFormLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params

ModelT = TypeVar("ModelT", bound=Params)


class WordsEdit(LineEdit):
    """A line for several words, with commas between them."""


_INT_LIMIT = 2_147_483_647
_FLOAT_LIMIT = 1e12
_WIDGET_MIN_PX = 90


class ParamForm(Generic[ModelT]):
    """The widgets of one parameter model.

    Parameters
    ----------
    model
        Values to begin with; the form can make every model of this type.

    Attributes
    ----------
    native
        The Qt widget to put into a layout.
    """

    def __init__(self, model: ModelT) -> None:
        self._type: type[ModelT] = type(model)
        self.fields: dict[str, Widget] = {}
        self.sections: dict[str, ParamForm[Any]] = {}
        self.native = QWidget()
        outer = QVBoxLayout(self.native)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(2)
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        outer.addLayout(rows)
        for name, field in self._type.model_fields.items():
            value = getattr(model, name)
            if isinstance(value, Params):
                self.sections[name] = ParamForm(value)
                outer.addWidget(_section(field_label(name, field), field, self.sections[name].native))
            else:
                self.fields[name] = widget_for(name, field, value)
                rows.addRow(_label(name, field), self.fields[name].native)

    def value(self) -> ModelT:
        """The model the form shows now.

        Raises
        ------
        ParameterError
            If a value is out of its bounds; the message names the field as the form does.
        """
        values: dict[str, Any] = {name: form.value() for name, form in self.sections.items()}
        values |= {name: get_value(widget) for name, widget in self.fields.items()}
        try:
            return self._type(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            field = self._type.model_fields.get(name)
            where = field_label(name, field) if field is not None else self._type.__name__
            raise ParameterError(f"{where}: {first['msg']}, got {first['input']!r}") from error

    def show(self, model: ModelT) -> None:
        """Show other values."""
        for name, form in self.sections.items():
            form.show(getattr(model, name))
        for name, widget in self.fields.items():
            set_value(widget, getattr(model, name))


def form_for(model: ModelT) -> ParamForm[ModelT]:
    """Make the form of a parameter model that shows the values of `model`."""
    return ParamForm(model)


def field_label(name: str, field: FieldInfo) -> str:
    """Title of a field with its unit."""
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    title = field.title or name.replace("_", " ").capitalize()
    return f"{title} ({unit})" if unit else title


def widget_for(name: str, field: FieldInfo, value: Any) -> Widget:
    """Make the widget of one field, showing `value` exactly."""
    kind = _bare(field.annotation)
    optional = _without_none(kind)
    options = {"tooltip": tooltip(field)}
    if optional is not None:
        return _optional_widget(name, field, optional, value, options)
    return _plain_widget(name, field, kind, value, options)


def tooltip(field: FieldInfo) -> str:
    """Description of a field with its bounds."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {limit:g}" for key, sign in signs.items() if (limit := _bound(field, key)) is not None]
    return (field.description or "") + (f" ({', '.join(bounds)})" if bounds else "")


def get_value(widget: Widget) -> Any:
    """Value of a widget that `widget_for` made."""
    if isinstance(widget, Container):
        active, inner = widget[0], widget[1]
        return get_value(inner) if active.value else None
    if isinstance(widget, WordsEdit):
        return tuple(word for word in (part.strip() for part in widget.value.split(",")) if word)
    return widget.value


def set_value(widget: Widget, value: Any) -> None:
    """Show a value in a widget that `widget_for` made."""
    if isinstance(widget, Container):
        widget[0].value = value is not None
        if value is not None:
            set_value(widget[1], value)
    elif isinstance(widget, WordsEdit):
        widget.value = ", ".join(value)
    elif isinstance(widget, LiteralEvalLineEdit):
        widget.value = repr(value)
    else:
        widget.value = value


def _plain_widget(name: str, field: FieldInfo, kind: Any, value: Any, options: dict[str, Any]) -> Widget:
    lower, upper = _limits(field)
    widget: Widget
    if get_origin(kind) is Literal:
        widget = ComboBox(name=name, choices=get_args(kind), value=value, **options)
    elif kind is bool:
        widget = CheckBox(name=name, value=value, **options)
        widget.native.setText("")  # the row has a label already
    elif kind is int:
        low, high = max(int(lower), -_INT_LIMIT), min(int(upper), _INT_LIMIT)
        widget = SpinBox(name=name, value=value, min=low, max=high, **options)
    elif kind is float:
        widget = _float_widget(name, value, lower, upper, options)
    elif kind is str:
        widget = LineEdit(name=name, value=value, **options)
    elif kind in (tuple[str, ...], list[str]):
        widget = WordsEdit(name=name, value=", ".join(value), **options)
        widget.native.setPlaceholderText("words, with commas between")
    elif get_origin(kind) in (tuple, list, dict, set) or kind in (tuple, list, dict):
        widget = LiteralEvalLineEdit(name=name, value=repr(value), **options)
    else:
        widget = create_widget(value=value, annotation=kind, name=name, options=options)
    _shape(widget)
    return widget


def _float_widget(name: str, value: float, lower: float, upper: float, options: dict[str, Any]) -> Widget:
    """Spin box when its decimals hold the value exactly; else a line to type any number into."""
    step = 10.0 ** (_exponent(value) - 1)
    widget = FloatSpinBox(name=name, value=value, min=lower, max=upper, step=step, **options)
    if widget.value != value or step < 1e-6:
        return LiteralEvalLineEdit(name=name, value=repr(value), **options)
    return widget


def _optional_widget(name: str, field: FieldInfo, kind: Any, value: Any, options: dict[str, Any]) -> Widget:
    """Check box that says whether there is a value, beside the widget of the value."""
    start = value if value is not None else _some_value(field, kind)
    inner = _plain_widget(name, field, kind, start, options)
    active = CheckBox(name=f"{name}_given", value=value is not None, text="set", **options)
    inner.enabled = active.value
    active.changed.connect(lambda on: setattr(inner, "enabled", on))
    pair = Container(widgets=[active, inner], layout="horizontal", labels=False, name=name)
    pair.margins = (0, 0, 0, 0)
    _shape(pair)
    return pair


def _some_value(field: FieldInfo, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if kind in (int, float):
        lower, upper = _limits(field)
        return kind(min(max(1, lower), upper))
    return kind() if isinstance(kind, type) else ()


def _shape(widget: Widget) -> None:
    """Let a widget shrink with a narrow dock instead of being cut off."""
    native = widget.native
    native.setMinimumWidth(_WIDGET_MIN_PX)
    native.setSizePolicy(QSizePolicy.Policy.Expanding, native.sizePolicy().verticalPolicy())
    for part in (native, *native.findChildren(QWidget)):
        if isinstance(part, QAbstractSpinBox | QComboBox):
            part.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            part.installEventFilter(_PassWheelOn(part))


class _PassWheelOn(QObject):
    """Lets the wheel scroll the form, so that a value which the mouse only passes over stays as it is."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ignore the wheel unless the widget was clicked before."""
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def _label(name: str, field: FieldInfo) -> QLabel:
    label = QLabel(field_label(name, field))
    label.setToolTip(tooltip(field))
    label.setWordWrap(False)
    return label


def _section(title: str, field: FieldInfo, content: QWidget) -> QCollapsible:
    section = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    section.setToolTip(tooltip(field))
    section.setDuration(0)
    section.layout().setContentsMargins(0, 0, 0, 0)
    section.content().layout().setContentsMargins(8, 2, 0, 4)
    section.addWidget(content)
    section.collapse(animate=False)
    return section


def _limits(field: FieldInfo) -> tuple[float, float]:
    lowers = [limit for key in ("ge", "gt") if (limit := _bound(field, key)) is not None]
    uppers = [limit for key in ("le", "lt") if (limit := _bound(field, key)) is not None]
    return max(lowers, default=-_FLOAT_LIMIT), min(uppers, default=_FLOAT_LIMIT)


def _bound(field: FieldInfo, key: str) -> float | None:
    for entry in field.metadata:
        if (limit := getattr(entry, key, None)) is not None:
            return float(limit)
    return None


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _without_none(annotation: Any) -> Any:
    """The other type of ``T | None``; None when the annotation is no such thing."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return None
    rest = [_bare(arg) for arg in get_args(annotation) if arg is not type(None)]
    if len(rest) == len(get_args(annotation)):
        return None
    return rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - made at run time


def _exponent(value: float) -> int:
    """Exponent of the last digit that `value` needs, at most 0."""
    text = f"{value!r}".lower()
    mantissa, _, power = text.partition("e")
    decimals = len(mantissa.partition(".")[2].rstrip("0"))
    return min(int(power or 0) - decimals + 1, 0)
