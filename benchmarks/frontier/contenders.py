"""The filters beside each other, each fitted from the same latents: a name, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import privsdk
from benchmarks.domains import Domain
from benchmarks.frontier.tasks import Task
from privsdk.codec import Latents
from privsdk.filters import Filter
from privsdk.fitting.comparison import (
    fit_erasure,
    fit_gaussian_mechanism,
    fit_optimal_transport,
    fit_rank_resample,
    train_label_scores,
)
from privsdk.fitting.data import FitData
from privsdk.fitting.material import gather, own_samples
from privsdk.fitting.minmax import polish
from privsdk.fitting.wish import resolve

DELTA = 1e-5


def own_latents(domain: Domain, task: Task, seed: int) -> dict[str, Any]:
    """The arguments ``data`` and ``labels`` of a fit: latents of the training partition with their labels."""
    if not task.own:
        return {}
    rows = np.random.default_rng([seed, 9]).choice(domain.train, min(task.own, len(domain.train)), replace=False)
    latents = Latents(domain.latents.mean[rows], domain.latents.variance[rows])
    return {"data": latents, "labels": {label: domain.classes(label)[rows] for label in task.private + task.utility}}


# The default filter with these settings in place of the task's.
FLOWS: Mapping[str, Mapping[str, float]] = {"flow": {}, "flow, rho .9": {"rho": 0.9}, "flow, rho .7": {"rho": 0.7}}


def flow(contender: str) -> Callable[[Domain, Task, int], Filter]:
    """The default filter, as the task and the contender set it."""

    def fit(domain: Domain, task: Task, seed: int) -> Filter:
        settings = {**task.settings, **FLOWS[contender]}
        own = own_latents(domain, task, seed)
        return privsdk.fit(domain.bundle, task.private, task.utility, seed=seed, **settings, **own).filter

    return fit


def polished(domain: Domain, task: Task, seed: int) -> Filter:
    """The default filter with a residual trained against adversaries on its releases, where that helps."""
    base = flow("flow")(domain, task, seed)
    return compared(lambda data, seed: polish(base, data, seed=seed))(domain, task, seed)


def minmax(**settings: Any) -> Callable[[Domain, Task, int], Filter]:
    """The paper's filter in one of its forms."""

    def fit(domain: Domain, task: Task, seed: int) -> Filter:
        own = own_latents(domain, task, seed)
        return privsdk.fit(
            domain.bundle, task.private, task.utility, method="minmax", seed=seed, **settings, **own
        ).filter

    return fit


def compared(fit: Callable[[FitData, int], Filter]) -> Callable[[Domain, Task, int], Filter]:
    """A filter for comparison, fitted on what the others are fitted on."""

    def on(domain: Domain, task: Task, seed: int) -> Filter:
        own = own_latents(domain, task, seed)
        wish = resolve(task.private, task.utility, domain.bundle.attributes, domain.bundle.groups)
        samples = own_samples(domain.bundle, wish, own.get("data"), own.get("labels"))
        material = gather(domain.bundle, wish, samples, seed)
        return fit(material.for_minmax(wish, domain.bundle.used), seed)

    return on


def transport(label_aware: bool) -> Callable[[FitData, int], Filter]:
    return lambda data, seed: fit_optimal_transport(data, train_label_scores(data, seed), label_aware, "drawn")


CONTENDERS: Mapping[str, Callable[[Domain, Task, int], Filter]] = {
    **{name: flow(name) for name in FLOWS},
    "flow, polished": polished,
    "min-max, linear": minmax(form="linear", label_aware=True),
    "min-max, nonlinear, label-aware": minmax(label_aware=True),
    "min-max, nonlinear, label-free": minmax(),
    "min-max, as published": minmax(form="linear", label_aware=True, scheme="paper"),
    "optimal transport, label-aware": compared(transport(label_aware=True)),
    "optimal transport, label-free": compared(transport(label_aware=False)),
    "rank-resample": compared(lambda data, seed: fit_rank_resample(data, train_label_scores(data, seed), False, seed)),
    "LEACE": compared(fit_erasure),
    "Gaussian mechanism, epsilon 100": compared(lambda data, seed: fit_gaussian_mechanism(data, 100.0, DELTA)),
    "Gaussian mechanism, epsilon 1000": compared(lambda data, seed: fit_gaussian_mechanism(data, 1000.0, DELTA)),
}
