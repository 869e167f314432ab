"""A wish that was fitted before is not fitted again; a filter that leaks more than was asked for is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from make_bundle import flow_privatizer, make_bundle

from privsdk import Bundle, FitSettings, NotReachedError, UnworkablePairError, UsageError, check_wish, fitted, reuse


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return Bundle.open(make_bundle(tmp_path / "tiny"))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every fit; each finds that Male leaks .62."""
    made: list[dict[str, Any]] = []

    def fit(bundle: Bundle, private: Any, utility: Any, on_progress: Any = None, **settings: Any) -> Any:
        made.append(settings)
        return flow_privatizer(bundle)

    monkeypatch.setattr(reuse, "fit", fit)
    return made


def test_another_leakage_that_is_accepted_takes_the_same_filter(
    tiny: Bundle, fits: list[dict[str, Any]], home: Path
) -> None:
    with pytest.raises(NotReachedError, match="a private label leaks 0.620"):
        fitted(tiny, "male", "smiling", FitSettings(max_leakage=0.55))
    assert not (home / "privatizers").exists()
    fitted(tiny, "Male", ["Smiling"], FitSettings(max_leakage=0.63))
    fitted(tiny, "male", "smiling")
    assert len(fits) == 2
    with pytest.raises(NotReachedError):
        fitted(tiny, "male", "smiling", FitSettings(max_leakage=0.55))
    fitted(tiny, "male", "smiling", FitSettings(seed=1))
    assert len(fits) == 3


def test_what_cannot_be_is_refused_before_a_fit(tiny: Bundle, fits: list[dict[str, Any]], home: Path) -> None:
    assert check_wish(tiny, "male", ["high cheekbones", "SMILING"]) == (("Male",), ("High_Cheekbones", "Smiling"))
    for refuse in (check_wish, fitted):
        with pytest.raises(UsageError, match="max_leakage is nan"):
            refuse(tiny, "male", "smiling", FitSettings(max_leakage=float("nan")))
        with pytest.raises(UnworkablePairError):
            refuse(tiny, "male", "male")
    assert fits == []
    assert not home.exists()


def test_a_damaged_filter_is_fitted_again(tiny: Bundle, fits: list[dict[str, Any]], home: Path) -> None:
    fitted(tiny, "male", "smiling")
    (kept,) = (home / "privatizers").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    fitted(tiny, "male", "smiling")
    fitted(tiny, "male", "smiling")
    assert len(fits) == 2
