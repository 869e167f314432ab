"""What is the same for every file that leaves, and what is said of a sample that comes a second time."""

from __future__ import annotations

from privsdk.errors import Refusal

RELEASED_AT = 315619200
"""The time that every released file tells, 1980-01-02 in UTC: archives know none before 1980, in any time zone."""


def had_by_another_filter() -> Refusal:
    """Why a sample that was released before is kept back."""
    return Refusal(
        "another-filter",
        "It, or one nearly equal, was released before by another filter, or with another label: nobody has measured "
        "what both tell together. Release it as before, or insist (--insist).",
    )
