"""Data sets that the central trainer reads."""
