"""Every error that a caller of privsdk can meet.

::

    PrivsdkError
    ├── UsageError            the call cannot be carried out as it was made    (exit code 2)
    │   ├── UnknownLabelError   no such attribute; the nearest names are offered
    │   ├── UnworkablePairError private and utility cannot be told apart, or have one class
    │   ├── OutputExistsError   the output is there already; it is never overwritten
    │   └── MissingExtraError   an optional dependency is not installed
    ├── Refusal               one sample is not released; the others go on     (exit code 1)
    ├── BundleError           an encoder bundle is damaged or not one          (exit code 3)
    ├── PrivatizerError       a saved privatizer is damaged or fits no bundle  (exit code 3)
    ├── StoreError            the user's data folder cannot be used            (exit code 3)
    ├── NotReachedError       the requested privacy or utility was not reached (exit code 4)
    ├── CancelledError        the caller's ``cancel`` asked to stop
    ├── UnexpectedError       something went wrong that should not, and concerns more than one sample
    └── TrainingDataError     the central trainer was given data it cannot use (exit code 2)

Each message says what happened, to which input, and what to do about it.
"""

from __future__ import annotations


class PrivsdkError(Exception):
    """Base of every error that privsdk raises on purpose."""

    exit_code = 2


class UsageError(PrivsdkError):
    """The call cannot be carried out as it was made, or its output cannot be written.

    What is wrong with the call itself is found before anything is written.  Of a disk that fills up on the way only
    the writing can tell: what was released before stays then, and the message says so.
    """


class UnknownLabelError(UsageError):
    """A label that the bundle does not have."""


class UnworkablePairError(UsageError):
    """A private and a utility label that no filter can serve together."""


class OutputExistsError(UsageError):
    """Something is already where the output should go."""


class MissingExtraError(UsageError):
    """A feature needs an optional dependency that is not installed."""


class Refusal(PrivsdkError):
    """One sample that is not released, and why.

    Both raised (while one sample is worked on) and returned (as the record of a sample that was
    left out).  ``source`` is what the caller handed in: a path as text, or ``"bytes[3]"`` for the
    fourth of several byte strings.  ``reason`` is one of :data:`REFUSAL_REASONS`, ``detail`` the
    sentence for a person, ``position`` the index of the source among the inputs.
    """

    exit_code = 1

    def __init__(self, reason: str, detail: str, source: str = "", position: int = 0) -> None:
        if reason not in REFUSAL_REASONS:
            raise ValueError(f"{reason!r} is no refusal reason")
        super().__init__(f"{source}: {detail}" if source else detail)
        self.reason = reason
        self.detail = detail
        self.source = source
        self.position = position

    def of(self, source: str, position: int) -> Refusal:
        """The same refusal, of the input called ``source`` at index ``position``."""
        return Refusal(self.reason, self.detail, source, position)


REFUSAL_REASONS = (
    "not-found",  # no such file, or no permission to read it
    "too-large",  # more bytes or pixels than the limits allow
    "not-an-image",  # no image format that is read here
    "damaged",  # starts like an image and breaks off or contradicts itself
    "no-face",  # the detector finds none
    "face-too-small",  # found, with too few pixels to align
    "wrong-size",  # --aligned was given and the image is no face sample; or it is no digit of 28 x 28 pixels
    "dark-on-light",  # a digit whose paper is lighter than its ink
    "bad-row",  # a row of a table with a cell that means nothing
    "label-missing",  # a label that is needed, or leaves, and is not given for this photo or row
    "another-filter",  # another filter has had it before, or one nearly equal to it
    "failed",  # something went wrong with it that should not
    "not-privatized",  # what came out is the original, close to it, or no number: it is kept back
)


class BundleError(PrivsdkError):
    """An encoder bundle that is missing, damaged, altered or of another schema."""

    exit_code = 3


class PrivatizerError(PrivsdkError):
    """A saved privatizer that is damaged, or that belongs to another bundle."""

    exit_code = 3


class StoreError(PrivsdkError):
    """The user's data folder, its key or its cache cannot be used."""

    exit_code = 3


class NotReachedError(PrivsdkError):
    """A stated privacy or utility was not reached; nothing was released or saved."""

    exit_code = 4


class CancelledError(PrivsdkError):
    """The caller asked to stop; what was finished stays, nothing half-done is left."""

    exit_code = 130


class UnexpectedError(PrivsdkError):
    """A mistake in privsdk or below it stopped a release; what it was says ``__cause__``, which may show samples."""


class TrainingDataError(PrivsdkError):
    """Images or labels that the central trainer cannot use."""
