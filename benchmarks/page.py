"""The page of examples/browser in headless Chromium, beside Python: time, and what JPEG decoders change.

python -m benchmarks.page [--rounds 3] [--photos examples/photos]

Needs Chromium (/usr/bin/chromium, or PRIVSDK_CHROMIUM), Node, and `pip install -c constraints.txt '.[browser,onnx]'`.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

import privsdk
from privsdk import Bundle, Privatizer, noise
from privsdk.samples import images
from privsdk.samples.faces import Detector, align

REPOSITORY = Path(__file__).resolve().parents[1]
KEY = bytes(range(32))
PATIENCE = 600_000  # milliseconds
WISHES = (("male", "smiling"), ("smiling", "male"), ("young", "eyeglasses"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="fits in the page and in Python, in turn")
    parser.add_argument("--photos", type=Path, default=REPOSITORY / "examples" / "photos")
    asked = parser.parse_args()
    photos = sorted(asked.photos.glob("*.jpg"))
    with served() as address, sync_playwright() as running:
        program = os.environ.get("PRIVSDK_CHROMIUM", "/usr/bin/chromium")
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(accept_downloads=True)
        page.goto(address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)
        page.set_input_files("#photos", [str(photo) for photo in photos])
        expect(page.locator("#status")).to_contain_text(" found.", timeout=PATIENCE)
        print(_times(page, photos, asked.rounds))
        print(_decoders(page, photos))
        browser.close()


@contextmanager
def served() -> Iterator[str]:
    """The page, built and served by a plain server: its address."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        subprocess.run([sys.executable, REPOSITORY / "examples" / "browser" / "build.py", site], check=True)
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(site)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            try:
                yield next(iter(server.stdout or ()), "").split("(")[1].split(")")[0]
            finally:
                server.terminate()


def _times(page: Page, photos: Sequence[Path], rounds: int) -> str:
    bundle = Bundle.open("faces")
    fits, faces = [], []
    for number in range(rounds):
        private, utility = WISHES[number % len(WISHES)]
        in_page = _seconds(lambda private=private, utility=utility: _fit(page, private, utility))  # type: ignore[misc]
        began = time.perf_counter()
        privatizer = privsdk.fit(bundle, private, utility, engine="onnx")
        fits.append((in_page, time.perf_counter() - began))
        page.check("#insist")
        released = _seconds(lambda: _release(page)) / len(photos)
        samples = privsdk.read_faces(photos)[0]
        one = _seconds(lambda: [privatizer.privatize(sample[None], key=KEY) for sample in samples]) / len(samples)  # noqa: B023
        faces.append((released, one))
    return "\n".join(
        [
            "| | page | Python, one thread | ratio (least to largest) |\n|---|---|---|---|",
            _row("a fit", np.array(fits), "s", 1),
            _row("one face", np.array(faces), "ms", 1000),
        ]
    )


def _row(name: str, taken: NDArray[np.float64], unit: str, scale: float) -> str:
    page, native = scale * np.median(taken, axis=0)
    ratio = taken[:, 0] / taken[:, 1]
    return (
        f"| {name} | {page:.1f} {unit} | {native:.1f} {unit} | {np.median(ratio):.2f} ({ratio.min():.2f} to "
        f"{ratio.max():.2f}) |"
    )


def _decoders(page: Page, photos: Sequence[Path]) -> str:
    """How the browser's pixels of JPEG files differ, and what comes of it by the same random numbers."""
    with page.expect_download() as download:
        page.click("#privatizer")
    privatizer = Privatizer.load(download.value.path())
    theirs = np.stack([_face(page, number) for number in range(len(photos))])
    pixels, landmarks, mine = [], [], []
    detector = Detector()
    for photo in photos:
        decoded, seen = images.read(photo), _seen(page, photo)
        pixels.append(np.abs(decoded.astype(int) - seen))
        own, other = (detector.find(picture)[0].landmarks for picture in (decoded, seen))
        landmarks.append(np.linalg.norm(own - other, axis=1))
        mine.append(align(decoded, own))
    samples = np.stack(mine)
    origins = noise.sample_digests(KEY, theirs)
    releases = [privatizer._released(one, None, KEY, origins)[0].astype(int) for one in (samples, theirs)]
    apart = np.abs(releases[0] - releases[1]).reshape(len(photos), -1)
    of_samples = np.abs(samples.astype(int) - theirs).reshape(len(photos), -1)
    moved = np.concatenate(landmarks)
    return (
        f"\n{len(photos)} JPEG files: decoded pixels differ in {np.mean([(one > 0).mean() for one in pixels]):.2%}, by "
        f"at most {max(one.max() for one in pixels)}; {(moved > 0.01).mean():.1%} of landmarks move by more than .01 "
        f"pixels, the farthest by {moved.max():.3f}; {(of_samples.max(axis=1) > 0).sum()} face samples differ, by at "
        f"most {of_samples.max()}; {(apart.max(axis=1) > 1).sum()} releases differ by more than one grey level, by at "
        f"most {apart.max()}"
    )


# The page's policy lets no script fetch what is behind a picture's address, but the picture can be drawn.
_AS_PNG = """async bitmap => {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  const png = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  return btoa(Array.from(png, one => String.fromCharCode(one)).join(''));
}"""


def _seen(page: Page, photo: Path) -> NDArray[np.uint8]:
    """The pixels that the browser decodes of a JPEG file."""
    encoded = page.evaluate(
        f"""async bytes => {{
          const photo = new Blob([Uint8Array.from(atob(bytes), one => one.charCodeAt())]);
          const options = {{colorSpaceConversion: 'none', imageOrientation: 'from-image'}};
          return ({_AS_PNG})(await createImageBitmap(photo, options));
        }}""",
        b64encode(photo.read_bytes()).decode(),
    )
    return _pixels(encoded)


def _face(page: Page, number: int) -> NDArray[np.uint8]:
    """The face sample that the page made of a photo."""
    picture = "document.querySelectorAll('#faces img')[number]"
    return _pixels(page.evaluate(f"async number => ({_AS_PNG})(await createImageBitmap({picture}))", number))


def _pixels(encoded: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(b64decode(encoded))).convert("RGB"))


def _fit(page: Page, private: str, utility: str) -> None:
    for chosen in page.locator(".chosen button").all()[::-1]:
        chosen.click()
    for part, name in (("hide", private), ("keep", utility)):
        page.fill(f"#{part}", name)
        page.press(f"#{part}", "Enter")
    page.click("#fit")
    _wait(page, "() => !document.querySelector('#result').hidden")


def _release(page: Page) -> None:
    page.click("#release")
    _wait(page, "() => document.querySelector('#status').textContent.includes(' released.')")


def _wait(page: Page, until: str) -> None:
    """Until a function of the page says so; ``expect`` would look every half second alone."""
    page.wait_for_function(until, polling=5, timeout=PATIENCE)


def _seconds(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
