"""What leaves the device: clean images, tables and idx files, each whole or not there at all."""

from privsdk.release.files import FileRelease, release_idx, release_table
from privsdk.release.photos import Names, Release, release

__all__ = ["FileRelease", "Names", "Release", "release", "release_idx", "release_table"]
