"""Names of labels as people write them."""

from __future__ import annotations

import pytest

from privsdk import UnknownLabelError
from privsdk.names import match, match_all

KNOWN = ("5_o_Clock_Shadow", "High_Cheekbones", "Male", "Smiling", "Young")


@pytest.mark.parametrize(
    "written",
    ["High_Cheekbones", "high cheekbones", "HIGHCHEEKBONES", " high-cheekbones ", "high_cheek bones"],
)
def test_case_spaces_and_underscores_do_not_matter(written: str) -> None:
    assert match(written, KNOWN) == "High_Cheekbones"


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownLabelError, match="'smilling': did you mean Smiling"):
        match("smilling", KNOWN)


def test_where_nothing_is_near_all_names_are_listed() -> None:
    with pytest.raises(UnknownLabelError, match="it has 5_o_Clock_Shadow, High_Cheekbones, Male, Smiling, Young"):
        match("zzzzzzzz", KNOWN)


def test_one_name_or_several() -> None:
    assert match_all("male", KNOWN) == ("Male",)
    assert match_all(["young", "MALE"], KNOWN) == ("Young", "Male")
