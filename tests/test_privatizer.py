"""The privatizer: keyed, immutable, the same from every thread, closed where the filter fails, whole when
saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_bundle import LATENT_SIZE, flow_privatizer, label_aware_privatizer, make_bundle, record

from privsdk import (
    Bundle,
    NotReachedError,
    OutputExistsError,
    Privatizer,
    PrivatizerError,
    Refusal,
    UsageError,
)
from privsdk.arrays import pack, unpack
from privsdk.codec import Latents

KEY = bytes(range(32))
SAMPLES = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture(scope="module")
def privatizer(tiny: Bundle) -> Privatizer:
    return flow_privatizer(tiny)


FOUND: dict[str, Any] = record()["check"]


class Stub:
    """A filter that gives what it is told to."""

    kind = "stub"
    label_aware = False

    def __init__(self, perturb: Callable[[np.ndarray], np.ndarray]) -> None:
        self._perturb = perturb

    def perturb(self, mean: Any, variance: Any, seeds: Any, private: Any = None) -> Any:
        return self._perturb(mean)

    def arrays(self) -> dict[str, Any]:
        return {"nothing": np.zeros(1, np.float32)}

    def settings(self) -> dict[str, Any]:
        return {}


def test_the_same_sample_and_key_give_the_same_release(privatizer: Privatizer) -> None:
    released = privatizer.privatize(SAMPLES, key=KEY)
    assert released.shape == SAMPLES.shape
    assert released.dtype == np.uint8
    assert (privatizer.privatize(SAMPLES, key=KEY) == released).all()
    assert (privatizer.privatize(SAMPLES[5:9], key=KEY) == released[5:9]).all()
    other = privatizer.privatize(SAMPLES, key=bytes(32))
    assert (other != released).any(axis=(1, 2, 3)).all()


def test_without_a_key_it_is_the_device_key(privatizer: Privatizer) -> None:
    assert (privatizer.privatize(SAMPLES) == privatizer.privatize(SAMPLES)).all()


def test_perturb_takes_its_draws_from_the_latents_or_from_the_caller(privatizer: Privatizer, tiny: Bundle) -> None:
    latents = tiny.encode(SAMPLES)
    z = privatizer.perturb(latents)
    assert z.shape == (40, LATENT_SIZE)
    assert z.dtype == np.float32
    assert (privatizer.perturb(latents) == z).all()
    assert privatizer.perturb(latents[3:7]) == pytest.approx(z[3:7], abs=1e-3)
    draws = np.arange(40, dtype=np.uint64)
    assert (privatizer.perturb(latents, draws=draws) != z).any()
    assert privatizer.perturb(latents[:0]).shape == (0, LATENT_SIZE)
    with pytest.raises(UsageError, match="40 latents need 40 draws"):
        privatizer.perturb(latents, draws=draws[1:])
    with pytest.raises(UsageError, match="the bundle's"):
        privatizer.perturb(Latents(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)))


def test_nothing_of_it_can_be_changed(privatizer: Privatizer) -> None:
    for thing, name in ((privatizer, "bundle"), (privatizer, "filter"), (privatizer.bundle, "name")):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(thing, name, None)
        with pytest.raises(AttributeError, match="does not change"):
            delattr(thing, name)


def test_latents_that_are_no_numbers_are_kept_back(privatizer: Privatizer) -> None:
    latents = privatizer.bundle.encode(SAMPLES[:3])
    mean = latents.mean.copy()
    mean[1, 0] = np.nan
    with pytest.raises(Refusal, match="not finite") as caught:
        privatizer.perturb(Latents(mean, latents.variance))
    assert caught.value.position == 1
    for draws in ([-1, 0, 1], [0.5, 1.0, 2.0]):
        with pytest.raises(UsageError, match="draws are whole numbers"):
            privatizer.perturb(latents, draws=draws)  # type: ignore[arg-type]


def test_of_eight_that_save_to_one_path_one_wins(privatizer: Privatizer, tmp_path: Path) -> None:
    def save(_: int) -> bool:
        try:
            privatizer.save(tmp_path / "one.privatizer")
        except OutputExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(save, range(8))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one.privatizer"]


def test_eight_threads_get_what_one_gets(privatizer: Privatizer) -> None:
    expected = privatizer.privatize(SAMPLES, key=KEY)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: privatizer.privatize(SAMPLES, key=KEY), range(16)))
    assert all((result == expected).all() for result in results)


def test_a_record_handed_out_changes_nothing_inside(privatizer: Privatizer) -> None:
    privatizer.record["private"].append("Young")
    privatizer.record["check"].clear()
    assert privatizer.private == ("Male",)
    assert privatizer.utility == ("Smiling",)
    assert privatizer.method == "flow"
    assert privatizer.record == record()


def test_a_label_aware_filter_needs_the_labels(tiny: Bundle) -> None:
    privatizer = label_aware_privatizer(tiny)
    labels = np.arange(40) % 2
    released = privatizer.privatize(SAMPLES, labels, key=KEY)
    assert (released == privatizer.privatize(SAMPLES, labels[:, None], key=KEY)).all()
    swapped = privatizer.privatize(SAMPLES, 1 - labels, key=KEY)
    assert (released != swapped).any()
    with pytest.raises(UsageError, match="needs the private label of every sample"):
        privatizer.privatize(SAMPLES)
    with pytest.raises(UsageError, match="40 samples need 40 private labels"):
        privatizer.privatize(SAMPLES, labels[1:])
    with pytest.raises(UsageError, match="column by column 0 to 1"):
        privatizer.privatize(SAMPLES, labels + 1)


def test_several_private_labels_are_one_class(tiny: Bundle) -> None:
    seen = []

    class Aware(Stub):
        label_aware = True

        def perturb(self, mean: Any, variance: Any, seeds: Any, private: Any = None) -> Any:
            seen.append(private.tolist())
            return mean + 1

    check = record()["check"]
    check["private"]["Young"] = check["private"]["Male"]
    asked = {**record(), "private": ["Male", "Young"], "check": check}
    privatizer = Privatizer(tiny, Aware(lambda mean: mean), asked)
    privatizer.privatize(SAMPLES[:4], np.array([[0, 0], [1, 0], [0, 1], [1, 1]]), key=KEY)
    assert seen == [[0, 1, 2, 3]]


def unchanged_in_row_two(mean: np.ndarray) -> np.ndarray:
    z = mean + 1
    z[2] = mean[2]
    return z


def not_finite_in_row_two(mean: np.ndarray) -> np.ndarray:
    z = mean + 1
    z[2, 0] = np.nan
    return z


@pytest.mark.parametrize("broken", [unchanged_in_row_two, not_finite_in_row_two])
def test_a_filter_that_fails_is_a_refusal_and_nothing_comes_back(
    tiny: Bundle, broken: Callable[[np.ndarray], np.ndarray]
) -> None:
    privatizer = Privatizer(tiny, Stub(broken), record())
    with pytest.raises(Refusal) as refused:
        privatizer.privatize(SAMPLES[:5], key=KEY)
    assert (refused.value.reason, refused.value.position) == ("not-privatized", 2)
    with pytest.raises(Refusal, match=r"latents\[2\]"):
        privatizer.perturb(tiny.encode(SAMPLES[:5]))
    released, refusals = privatizer.privatize_each(SAMPLES[:5], None, KEY)
    assert list(refusals) == [2]
    assert not released[2].any()


def test_an_image_close_to_the_original_is_a_refusal(tiny: Bundle) -> None:
    inside = tiny.decode(0.01 * np.ones((1, LATENT_SIZE), np.float32))
    z = tiny.encode(inside).mean / 4  # the tiny decoder has a gain of 4
    privatizer = Privatizer(tiny, Stub(lambda mean: z), record())
    with pytest.raises(Refusal, match="the original or close to it"):
        privatizer.privatize(inside, key=KEY)


def test_a_filter_of_another_size_is_an_error(tiny: Bundle) -> None:
    with pytest.raises(PrivatizerError, match="the filter gives"):
        Privatizer(tiny, Stub(lambda mean: mean[:, 1:]), record()).privatize(SAMPLES, key=KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"private": []},
        {"private": ["Nose"]},
        {"utility": "Smiling"},
        {"method": None},
        {"check": {}},
        {"check": {**FOUND, "private": {}}},
        {"check": {**FOUND, "private": {"Young": FOUND["private"]["Male"]}}},
        {"check": {**FOUND, "private": {"Male": {"leakage": 0.6, "gap": 0.02}}}},
        {"check": {**FOUND, "private": {"Male": {**FOUND["private"]["Male"], "leakage": "low"}}}},
        {"check": {**FOUND, "private": {"Male": {**FOUND["private"]["Male"], "gap": 10**400}}}},
        {"check": {**FOUND, "private": {**FOUND["private"], "Male and Young": {}}}},
        {"check": {**FOUND, "utility": {}}},
        {"check": {**FOUND, "utility": {"Smiling": {"accuracy": 0.88}}}},
        {"check": {**FOUND, "measured_on": None}},
        {"private": ["Male", "Young"]},
        {"extra": {1, 2}},
        {"extra": float("nan")},
    ],
)
def test_a_record_that_lacks_what_is_needed_is_refused(privatizer: Privatizer, change: dict[str, Any]) -> None:
    with pytest.raises(PrivatizerError, match="fit"):
        Privatizer(privatizer.bundle, privatizer.filter, {**record(), **change})


def test_the_leakage_asked_for_is_compared_with_the_sum_of_leakage_and_gap(privatizer: Privatizer) -> None:
    privatizer.require(0.63)
    with pytest.raises(NotReachedError, match=r"a private label leaks 0\.620"):
        privatizer.require(0.61)
    for impossible in (float("nan"), 0.4, 1.1, float("inf")):
        with pytest.raises(UsageError, match="max_leakage is"):
            privatizer.require(impossible)


@pytest.mark.parametrize("make", [flow_privatizer, label_aware_privatizer])
def test_what_is_saved_is_loaded_again(tiny: Bundle, tmp_path: Path, make: Callable[[Bundle], Privatizer]) -> None:
    privatizer, path = make(tiny), tmp_path / "male-smiling.privatizer"
    privatizer.save(path)
    loaded = Privatizer.load(path, tiny)
    labels = np.zeros(40, np.int64)
    assert (loaded.privatize(SAMPLES, labels, key=KEY) == privatizer.privatize(SAMPLES, labels, key=KEY)).all()
    assert loaded.record == privatizer.record
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OutputExistsError):
        privatizer.save(path)
    with pytest.raises(UsageError, match="cannot be written"):
        privatizer.save(tmp_path / "no-such-folder" / "file")


def test_every_damaged_byte_is_found(privatizer: Privatizer) -> None:
    data = privatizer.to_bytes()
    rng = np.random.default_rng(3)
    for position in [*range(0, 12), *rng.integers(0, len(data), 60).tolist()]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(PrivatizerError):
            Privatizer.from_bytes(bytes(damaged), privatizer.bundle)
    for length in (0, 7, 8, 100, len(data) - 1):
        with pytest.raises(PrivatizerError):
            Privatizer.from_bytes(data[:length], privatizer.bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace(b'":"', b'": "', 1),
        lambda header: header.replace(b"{", b'{"__metadata__":{},', 1),
        lambda header: header.replace(b'"schema"', b'"\\u0073chema"'),
        lambda header: header.replace(b'"schema":"3"', b'"schema":"3 "'),
        lambda header: header.replace(b"0.61", b"6.1e-1"),
        lambda header: header + b" " * 8,
        lambda header: header.replace(b'\\"private\\": [', b'\\"private\\": [], \\"private\\": [', 1),
    ],
)
def test_a_file_that_says_the_same_in_another_way_is_refused(
    privatizer: Privatizer, change: Callable[[bytes], bytes]
) -> None:
    """Else two files could be one privatizer, and a bit could be flipped that nobody finds."""
    data = privatizer.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = change(data[8 : 8 + length].rstrip())
    assert header != data[8 : 8 + length].rstrip()
    header += b" " * (-len(header) % 8)
    with pytest.raises(PrivatizerError, match="no privatizer, or a damaged one"):
        Privatizer.from_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :], privatizer.bundle)


def test_files_that_promise_too_much_are_refused(privatizer: Privatizer) -> None:
    """None of them makes room for what it says it holds, and none is nested until Python gives up."""
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    shapes = [[10**18], [0, 10**18], [2**62, 2**62], [-1], [1] * 100]
    headers = [{"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}} for shape in shapes]
    written = [json.dumps(header, separators=(",", ":")).encode() for header in headers]
    padded = [header + b" " * (-len(header) % 8) for header in written]
    for data in (
        (2**63).to_bytes(8, "little"),
        (10**8).to_bytes(8, "little") + b"{}",
        *(len(header).to_bytes(8, "little") + header for header in padded),
        pack({}, {"record": deep}),
        pack({"a": np.zeros(1, np.complex64)}, {}),
    ):
        with pytest.raises(ValueError, match="header|safetensors|nothing here is"):
            unpack(data)
        with pytest.raises(PrivatizerError, match="no privatizer"):
            Privatizer.from_bytes(data, privatizer.bundle)


def test_a_link_to_a_privatizer_is_followed(privatizer: Privatizer, tmp_path: Path) -> None:
    privatizer.save(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert Privatizer.load(tmp_path / "link", privatizer.bundle).record == privatizer.record


def test_a_kind_that_is_no_name_is_no_kind(tiny: Bundle) -> None:
    odd = Stub(lambda mean: mean)
    odd.kind = ["flow"]  # type: ignore[assignment]
    with pytest.raises(PrivatizerError, match="no filter of kind"):
        Privatizer.from_bytes(Privatizer(tiny, odd, record()).to_bytes(), tiny)


def test_foreign_files_are_refused(privatizer: Privatizer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(PrivatizerError, match="cannot be read"):
        Privatizer.load(path)
    for content in (b"", b"a photo", pack({"a": np.zeros(1)}, {}), pack({}, {"schema": 1, "digest": "x"})):
        path.write_bytes(content)
        with pytest.raises(PrivatizerError, match="no privatizer"):
            Privatizer.load(path, privatizer.bundle)


def test_another_bundle_or_none_is_said(privatizer: Privatizer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    privatizer.save(path)
    with pytest.raises(PrivatizerError, match="it needs the bundle 'tiny'"):
        Privatizer.load(path)
    other = Bundle.open(make_bundle(tmp_path / "other", public=299))
    with pytest.raises(PrivatizerError, match="was fitted for the bundle tiny"):
        Privatizer.load(path, other)


def test_a_filter_that_does_not_work_is_not_loaded(tiny: Bundle) -> None:
    flow = flow_privatizer(tiny)
    narrow = replace(flow.filter, population=flow.filter.population[:0])  # type: ignore[type-var]
    with pytest.raises(PrivatizerError):
        Privatizer.from_bytes(Privatizer(tiny, narrow, record()).to_bytes(), tiny)
    with pytest.raises(PrivatizerError, match="no filter of kind 'stub'"):
        Privatizer.from_bytes(Privatizer(tiny, Stub(lambda mean: mean), record()).to_bytes(), tiny)


def test_nothing_but_json_and_arrays_is_in_the_file(privatizer: Privatizer) -> None:
    arrays, content = unpack(privatizer.to_bytes())
    assert content.keys() == {"schema", "bundle", "filter", "record", "digest"}
    assert json.loads(json.dumps(content)) == content
    assert arrays.keys() == privatizer.filter.arrays().keys()
