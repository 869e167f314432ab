"""Baselines of the paper's Table 2 and beyond, trained here: each a file, and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.baselines import gaussian_mechanism, laftr, leace, lmifr, rezaei, vae, vfae
from benchmarks.baselines.interface import Baseline

BASELINES: Mapping[str, Baseline] = {
    "VAE": vae.fit,
    "VFAE": vfae.fit,
    "LMIFR": lmifr.fit,
    "LAFTR": laftr.fit,
    "fixed classifier": rezaei.fit,
    "Gaussian mechanism": gaussian_mechanism.fit,
    "LEACE": leace.fit,
}
FACE_BASELINES: Mapping[str, Baseline] = {"LAFTR": laftr.fit_faces}
