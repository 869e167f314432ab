"""The forms in which an attacker may have a release."""

from __future__ import annotations

LATENTS = "latents"  # perturbed latents z~, before they are decoded
CODE = "code"  # what whoever knows the flow filter takes a release apart into
PIXELS = "pixels"
ENCODED = "pixels encoded again"
COLUMNS = "columns"  # of a table
LIKELIHOODS = "log-likelihoods"  # of each class, by whoever knows the filter and tries it on others
