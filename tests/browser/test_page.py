"""The page of examples/browser, used as a person would, in a real browser, against a server that counts.

The photos are the shipped portraits, as PNG: of these the browser and Python decode the same pixels.  How JPEG files
differ is measured by ``python -m benchmarks.page``.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("playwright", reason="needs Playwright: pip install '.[browser]'")
pytest.importorskip("spox", reason="needs the graphs' builder: pip install '.[onnx]'")

from playwright.sync_api import Browser, Page, expect

from privsdk import Privatizer, read_faces
from privsdk.filters import load
from privsdk.noise import sample_digests
from tests.page import GIVE_A_KEY, KEY, Server, built

PHOTOS = 4
WITH_AN_ICON = "<link rel=icon href=icon.svg>"
PATIENCE = 200_000  # milliseconds
AXE = "axe-core@4.14.1"
"""What judges whether a page can be read and used without sight, by the Web Content Accessibility Guidelines."""


@dataclass
class Visit:
    """A visit to the page, and what became of it on the way."""

    page: Page
    server: Server
    said: list[str]
    samples: NDArray[np.uint8]
    released: NDArray[np.uint8]
    privatizer: Path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("needs Node: install it with npm")
    return built(tmp_path_factory.mktemp("page") / "site")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--ignore-scripts", "--silent", "--prefix", str(folder), AXE]
    subprocess.run(command, check=True)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for photo in sorted((repository / "examples" / "photos").glob("*.jpg"))[:PHOTOS]:
        found.append(folder / f"{photo.stem}.png")
        Image.open(photo).save(found[-1])
    return found


@pytest.fixture(scope="session")
def visit(
    site: Path, photos: list[Path], chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    """The literal flow: photos chosen, labels typed, a filter fitted, releases made."""
    with Server(site) as server:
        page = chromium.new_page(accept_downloads=True)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        # A page of the same origin that the server knows nothing of; it has an icon, so that the browser asks for none.
        page.route("**/key", lambda route: route.fulfill(content_type="text/html", body=WITH_AN_ICON))
        page.goto(f"{server.address}key")
        page.evaluate(GIVE_A_KEY)
        page.goto(server.address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)
        page.set_input_files("#photos", [str(photo) for photo in photos])
        expect(page.locator("#status")).to_have_text(f"{PHOTOS} faces found.", timeout=PATIENCE)
        for part, name in (("hide", "male"), ("keep", "smiling")):
            page.fill(f"#{part}", name)
            page.press(f"#{part}", "Enter")
        page.click("#fit")
        expect(page.locator(".chosen button").first).to_be_disabled()
        expect(page.locator("#result")).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as download:
            page.click("#privatizer")
        privatizer = tmp_path_factory.mktemp("downloads") / "page.privatizer"
        download.value.save_as(privatizer)
        page.click("#release")
        expect(page.locator("#status")).to_have_text(f"{PHOTOS} of {PHOTOS} released.", timeout=PATIENCE)
        yield Visit(page, server, said, pictures(page, "Before"), pictures(page, "After"), privatizer)
        page.close()


def pictures(page: Page, column: str) -> NDArray[np.uint8]:
    """The pictures in a column of the table of releases, uint8 [N, 64, 64, 3]."""
    number = {"Before": 1, "After": 2}[column]
    addresses = page.eval_on_selector_all(f"#releases td:nth-child({number}) img", "all => all.map(one => one.src)")
    return np.stack([np.array(Image.open(io.BytesIO(content(page, address))).convert("RGB")) for address in addresses])


def barriers(page: Page, axe: str) -> list[str]:
    """What of the page as it is now stands in the way of somebody, and where."""
    page.evaluate(axe)
    violations = page.evaluate("axe.run().then(found => found.violations)")
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in violations]


def content(page: Page, address: str) -> bytes:
    """What is behind an address of the page: its policy lets no script look, but a download."""
    with page.expect_download() as download:
        page.evaluate(
            "address => Object.assign(document.createElement('a'), {href: address, download: 'one'}).click()", address
        )
    return Path(download.value.path()).read_bytes()


def test_the_same_faces_are_cut_out(visit: Visit, photos: list[Path]) -> None:
    """But for the last bits of the landmarks, which move some pixel by a grey level."""
    samples, refused = read_faces(photos)
    assert not refused
    apart = np.abs(visit.samples.astype(int) - samples)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_the_releases_are_those_of_python(visit: Visit, photos: list[Path]) -> None:
    privatizer = Privatizer.load(visit.privatizer)
    assert (privatizer.private, privatizer.utility) == (("Male",), ("Smiling",))
    assert apart(privatizer, visit, photos) <= 1


def test_one_weight_changed_is_seen(visit: Visit, photos: list[Path]) -> None:
    whole = Privatizer.load(visit.privatizer)
    arrays = {name: array.copy() for name, array in whole.filter.arrays().items()}
    arrays["scores.skip"][3, 0] += 0.5
    changed = Privatizer(whole.bundle, load("flow", whole.filter.settings(), arrays), whole.record)
    vars(changed)["filter_digest"] = whole.filter_digest  # the same random numbers
    assert apart(changed, visit, photos) > 1


def apart(privatizer: Privatizer, visit: Visit, photos: list[Path]) -> int:
    """By how many grey levels Python's releases of the photos differ from the page's, by the same random numbers."""
    origins = sample_digests(KEY, visit.samples)
    released, refused = privatizer._released(read_faces(photos)[0], None, KEY, origins)
    assert not refused
    return int(np.abs(released.astype(int) - visit.released).max())


def test_the_filter_hides_and_keeps(visit: Visit) -> None:
    check = Privatizer.load(visit.privatizer).record["check"]
    assert check["private"]["Male"]["leakage"] < 0.62
    assert check["utility"]["Smiling"]["lost"] < 0.02
    assert check["code"]["Male"] < 0.62
    sentences = visit.page.locator("#found").inner_text()
    assert "Male is told a little" in sentences or "Male is hardly told" in sentences
    assert "Smiling is kept" in sentences


def test_nothing_goes_wrong_and_nowhere_else(visit: Visit) -> None:
    assert visit.said == []
    assert visit.server.missing == []
    files = {path.relative_to(visit.server.folder).as_posix() for path in visit.server.folder.rglob("*")}
    assert {path.partition("?")[0].lstrip("/") for path in visit.server.asked} <= {*files, ""}
    assert visit.server.methods == {"GET"}


@pytest.mark.parametrize("place", ["page", "worker"])
def test_no_other_server_can_be_asked(visit: Visit, place: str) -> None:
    """From the page and from a worker that begins as the page's does."""
    with Server(visit.server.folder) as other:
        attempts = """async address => {
          const tries = [() => fetch(address, {mode: 'no-cors'}), () => new Promise((done, fail) => {
            const socket = new WebSocket(address.replace('http', 'ws'));
            socket.onopen = done;
            socket.onerror = fail;
          })];
          const failed = [];
          for (const one of tries) await one().catch(() => failed.push(1));
          return failed.length;
        }"""
        if place == "page":
            failed = visit.page.evaluate(attempts, other.address)
        else:
            failed = visit.page.evaluate(
                """([text, address]) => new Promise(done => {
                  const program = `(${text})(${JSON.stringify(address)}).then(postMessage)`;
                  const worker = new Worker(URL.createObjectURL(new Blob([program])));
                  worker.onmessage = ({data}) => done(data);
                })""",
                [attempts, other.address],
            )
        assert failed == 2
        assert other.asked == []
    visit.said.clear()  # the browser says what the policy forbade


def test_another_filter_is_refused_for_a_photo_that_was_released(visit: Visit, site: Path, photos: list[Path]) -> None:
    page = visit.page
    page.click("button[aria-label='Take Smiling away']")
    page.fill("#keep", "Eyeglasses")
    page.press("#keep", "Enter")
    page.click("#fit")
    expect(page.locator("#result")).to_be_visible(timeout=PATIENCE)
    page.click("#release")
    expect(page.locator("#status")).to_have_text(f"0 of {PHOTOS} released.", timeout=PATIENCE)
    expect(page.locator("#releases")).to_contain_text("released by another filter before")
    page.check("#insist")
    page.click("#release")
    expect(page.locator("#status")).to_have_text(f"{PHOTOS} of {PHOTOS} released.", timeout=PATIENCE)
    expect(page.locator("#release")).to_be_focused()


def test_it_works_without_a_network(site: Path, chromium: Browser) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        with Server(site) as server:
            page.goto(server.address)
            expect(page.locator("#offline")).to_have_text("It works without a network from now on.", timeout=PATIENCE)
            address = server.address
        page.goto(address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)


@pytest.mark.parametrize(
    "name", ["bundle/scores.safetensors", "bundle/public_latents.safetensors", "bundle/manifest.sha256"]
)
def test_a_damaged_bundle_is_refused(site: Path, chromium: Browser, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(site, tmp_path / "site"))
    damaged = bytearray((folder / name).read_bytes())
    damaged[-5] ^= 1
    (folder / name).write_bytes(damaged)
    with Server(folder) as server, chromium.new_context() as context:
        page = context.new_page()
        page.goto(server.address)
        expect(page.locator("#status")).to_contain_text("is damaged: load the page again", timeout=PATIENCE)
        expect(page.locator("#photos")).to_be_disabled()


def test_bad_photos_and_labels_are_refused_in_words(site: Path, chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "nobody.png")
    with Server(site) as server, chromium.new_context() as context:
        page = context.new_page()
        page.goto(server.address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)
        page.set_input_files("#photos", [str(tmp_path / name) for name in ("broken.png", "nobody.png")])
        expect(page.locator("#status")).to_have_text("0 faces found.", timeout=PATIENCE)
        expect(page.locator("#refused")).to_contain_text("broken.png: This is no image that the browser can read")
        expect(page.locator("#refused")).to_contain_text("nobody.png: No face was found.")
        page.fill("#hide", "shoe size")
        page.press("#hide", "Enter")
        expect(page.locator("#wish-error")).to_have_text("There is no label called shoe size: choose one of the list.")
        page.fill("#hide", "male")
        page.press("#hide", "Enter")
        expect(page.locator("#status")).to_have_text("Male will be hidden.")
        page.fill("#hide", "MALE")
        page.press("#hide", "Enter")
        expect(page.locator("#wish-error")).to_have_text("Male is among them already.")
        page.fill("#keep", "Male")
        page.press("#keep", "Enter")
        expect(page.locator("#wish-error")).to_have_text("Male cannot be hidden and kept at once.")


def test_a_reader_finds_all_of_a_visit(visit: Visit, axe: str) -> None:
    assert barriers(visit.page, axe) == []
    # It finds what is there: a picture that says nothing of itself.
    visit.page.evaluate("document.querySelector('#releases img').removeAttribute('alt')")
    assert [one.partition(":")[0] for one in barriers(visit.page, axe)] == ["image-alt"]
    visit.page.evaluate("document.querySelector('#releases img').alt = 'one before'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_keyboards_and_readers(site: Path, chromium: Browser, axe: str, scheme: Any) -> None:
    with (
        Server(site) as server,
        chromium.new_context(viewport={"width": 360, "height": 800}, color_scheme=scheme) as context,
    ):
        page = context.new_page()
        page.goto(server.address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(255, 255, 255)") == (scheme == "light")
        assert barriers(page, axe) == []
        # Tab comes to all that can be used.
        reached = []
        for _ in range(3):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert reached == ["photos", "hide", "keep"]
