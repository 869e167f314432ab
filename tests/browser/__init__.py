"""A package, so that a file here may be called like one of those above."""
