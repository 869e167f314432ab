"""Files for a person's eyes: the page of an audit, and the picture of a curve along the dials with its ceilings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import MissingExtraError, OutputExistsError, UsageError
from privsdk.files import why_not_writable
from privsdk.store.folder import write_new

if TYPE_CHECKING:
    from privsdk.auditing.report import Report
    from privsdk.fitting.curve import Curve, Point

WIDTH, PLOTS, CAPTION, FACE = 9.0, 3.6, 0.6, 0.85  # inches
DOTS_PER_INCH = 110


def check_page(path: str | Path) -> None:
    """Raises what :func:`write_page` would refuse: MissingExtraError without Jinja, OutputExistsError, and UsageError
    where nothing can be written.
    """
    if find_spec("jinja2") is None:
        raise MissingExtraError("a page is set by Jinja: pip install 'privsdk[audit]', or leave the page out")
    _check(path)


def write_page(report: Report, path: str | Path) -> None:
    """Writes :meth:`Report.to_html` as a new file; it is whole or not there.

    Raises MissingExtraError without Jinja, OutputExistsError, and UsageError where it cannot be written.
    """
    check_page(path)
    _write(path, report.to_html().encode())


def check_curve(path: str | Path) -> None:
    """Raises what :func:`draw_curve` would refuse: MissingExtraError without matplotlib, OutputExistsError, and
    UsageError where nothing can be written.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("a curve is drawn by matplotlib: pip install 'privsdk[fit]', or leave the curve out")
    _check(path)


def draw_curve(curve: Curve, path: str | Path) -> None:
    """Draws what :func:`privsdk.curve` measured, as a new PNG file; it is whole or not there.

    Raises MissingExtraError without matplotlib, OutputExistsError, and UsageError where it cannot be written.
    """
    check_curve(path)
    _write(path, _drawn(curve))


def _check(path: str | Path) -> None:
    if os.path.lexists(path):
        raise OutputExistsError(f"{path} exists already: choose another name, or take it away")
    if not os.path.isdir(Path(path).parent) or why_not_writable(Path(path).parent):
        raise UsageError(f"{path} cannot be written: choose a folder that is there and can be written")


def _write(path: str | Path, content: bytes) -> None:
    try:
        write_new(Path(path), content)
    except FileExistsError as error:
        raise OutputExistsError(f"{path} exists already: choose another name, or take it away") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _drawn(curve: Curve) -> bytes:
    from matplotlib.figure import Figure

    strip = FACE * len(curve.faces) if curve.faces is not None else 0
    figure: Any = Figure(figsize=(WIDTH, PLOTS + strip + CAPTION), dpi=DOTS_PER_INCH, layout="constrained")
    heights = [PLOTS, strip, CAPTION] if strip else [PLOTS, CAPTION]
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    left = figure.add_subplot(grid[0, 0])
    right = figure.add_subplot(grid[0, 1], sharey=left)
    _plot(left, curve, lambda point: 100 * point.lost)
    _plot(right, curve, lambda point: 100 * point.distortion_share)
    left.set_xlabel(f"accuracy lost, points ({' or '.join(curve.utility)})")
    left.set_ylabel(f"leakage (AUROC, {' or '.join(curve.private)})")
    right.set_xlabel("distortion, % of the distance to another sample")
    right.tick_params(labelleft=False)
    right.legend(fontsize=7)
    if curve.faces is not None:
        _show(figure.add_subplot(grid[1, :]), curve.faces, curve.shown)
    words = figure.add_subplot(grid[-1, :])
    words.set_axis_off()
    words.text(0, 0.5, _caption(curve), fontsize=7, va="center", wrap=True)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _plot(axes: Any, curve: Curve, across: Callable[[Point], float]) -> None:
    """Both curves with their dials' values, and what they are to be compared with."""
    fairness = [f"λ {point.fairness:g}" for point in curve.along_fairness]
    rhos = [f"ρ {point.rho:g}" for point in curve.along_rho]
    for points, dial, name, colour in (
        (curve.along_fairness, fairness, "along λ, ρ 1", "tab:blue"),
        (curve.along_rho, rhos, f"along ρ, λ {curve.along_rho[0].fairness:g}", "tab:orange"),
    ):
        x, y = [across(point) for point in points], [point.leakage for point in points]
        axes.errorbar(x, y, [point.standard_error for point in points], fmt=".-", color=colour, label=name, lw=1)
        for place in (0, len(points) // 2, len(points) - 1):
            axes.annotate(dial[place], (x[place], y[place]), (3, 3), textcoords="offset points", size=7)
    told = [point.fair_score_leakage for point in curve.along_fairness]
    axes.plot([across(point) for point in curve.along_fairness], told, ":", color="tab:blue", label="fair score alone")
    axes.axhline(curve.label_ceiling, color="grey", ls="--", lw=1, label="true utility labels alone")
    axes.axhline(0.5, color="black", lw=1, label="chance")


def _show(axes: Any, faces: NDArray[np.uint8], shown: Sequence[Point]) -> None:
    rows, columns, height, width = faces.shape[:4]
    picture = faces.swapaxes(1, 2).reshape(rows * height, columns * width, *faces.shape[4:])
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    names = ["before", *(f"λ {point.fairness:g}\nρ {point.rho:g}" for point in shown)]
    axes.set_xticks([(column + 0.5) * width for column in range(columns)], names, fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _caption(curve: Curve) -> str:
    return (
        f"Hidden: {', '.join(curve.private)}; kept: {', '.join(curve.utility)}. Measured on {curve.latents} public "
        f"latents of the bundle {curve.bundle}, which are nobody's,\nas are the samples shown; on real ones up to "
        f"{max(point.gap for point in curve.along_fairness):.3f} more leaks. Attackers trained afresh: "
        f"{', '.join(curve.attackers)};\nthe strongest counts. Bars: one standard error. a {curve.along_rho[0].a:g}. "
        "λ is fairness."
    )
