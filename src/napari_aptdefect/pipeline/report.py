"""The report of a run: one page that needs no other file, and its pictures as files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_aptdefect.pipeline.report_data import ReportData
from napari_aptdefect.stage import Stage

__all__ = ["ReportData", "render_page", "write_report"]


def write_report(work: Path, data: ReportData) -> Stage[None]:
    """Write ``report.html`` and ``figures/*.png`` into a run folder that is being made.

    Parameters
    ----------
    work
        Folder to write into.
    data
        What to show.
    """
    # matplotlib is loaded when a report is made, not when a command line is parsed
    from napari_aptdefect.pipeline.report_figures import draw_pictures
    from napari_aptdefect.pipeline.report_tables import page_context

    pictures = yield from draw_pictures(data)
    figures = work / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        _write(figures / f"{picture.name}.png", picture.png)
    context = page_context(data)
    context["pictures"] = {
        section: [
            {
                "source": "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii"),
                "name": picture.name,
                "alt": picture.alt,
                "caption": picture.caption,
                "width": picture.width_px,
                "height": picture.height_px,
            }
            for picture in pictures
            if picture.section == section
        ]
        for section in {picture.section for picture in pictures}
    }
    _write(work / "report.html", render_page(context).encode("utf-8"))


def render_page(context: Mapping[str, Any]) -> str:
    """Fill the template; every value is escaped, for names in files are written by others."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("napari_aptdefect.pipeline", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(**context)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
