"""Pictures of experiments, and where they may lie: those of people never where they could be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privsdk.store.folder import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKOUT = Path(__file__).resolve().parents[2]
IGNORED = CHECKOUT / "runs"
PUBLISHED = Path(__file__).resolve().parent / "pictures"
DOTS_PER_INCH = 90
LEFT, ABOVE = 1.6, 0.3  # inches beside and above a grid, for what its rows and columns are called
COLOURS = 256  # in a file: nobody sees the difference to all of them, and it takes a third of the space


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; ``of_people`` are those that show real people, or what was decoded from them.

    That has no default: whoever makes a picture says it.
    """

    name: str
    caption: str
    figure: Figure
    of_people: bool

    @cached_property
    def png(self) -> bytes:
        """Drawn once: a figure that is laid out again may come out a little different."""
        drawn, file = BytesIO(), BytesIO()
        self.figure.savefig(drawn, format="png")
        image = Image.open(drawn).convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        image.save(file, "png", optimize=True)
        return file.getvalue()

    def write(self, folder: Path) -> None:
        """As NAME.png there, over what is there.

        Raises ValueError where it shows people and git would take the file.
        """
        target = folder.resolve()
        if self.of_people and target.is_relative_to(CHECKOUT) and not target.is_relative_to(IGNORED):
            raise ValueError(f"{self.name} shows people: it is written below {IGNORED} or outside of the checkout")
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(target / f"{self.name}.png", self.png)


def on_two_lines(name: str) -> str:
    """What stands beside or above a small picture, broken after its first comma."""
    return name.replace(", ", "\n", 1)


def grid(rows: Mapping[str, NDArray[np.uint8]], columns: Sequence[str], magnified: int) -> Figure:
    """Samples uint8 [N, H, W], or [N, H, W, 3], in rows with their names."""
    from matplotlib.figure import Figure

    samples = np.stack(list(rows.values()))
    count, across, height, width = samples.shape[:4]
    picture = samples.swapaxes(1, 2).reshape(count * height, across * width, *samples.shape[4:])
    inch = magnified / DOTS_PER_INCH
    wide, high = LEFT + picture.shape[1] * inch, ABOVE + picture.shape[0] * inch
    figure: Any = Figure(figsize=(wide, high), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((LEFT / wide, 0, 1 - LEFT / wide, 1 - ABOVE / high))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")
    axes.set_xticks((np.arange(across) + 0.5) * width, columns)
    axes.set_yticks((np.arange(count) + 0.5) * height, [on_two_lines(name) for name in rows])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    return figure
