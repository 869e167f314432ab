"""Training in torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import MissingExtraError
from privsdk.filters.couplings import Couplings
from privsdk.fitting.check import Attacker, Classes, standardised
from privsdk.fitting.engines.engine import BATCH, SCORE_NOISE, Size
from privsdk.progress import Progress
from privsdk.store.torch_home import keep_torch_at_home

Floats = NDArray[np.float32]

# The matrices are small: a second thread makes a fit longer, and much longer where somebody else needs the core.
THREADS = 1
_ONE_AT_A_TIME = threading.Lock()


class TorchEngine:
    """Couplings, logistic regression, and a network with two hidden layers on raw and on standardised latents."""

    name = "torch"

    def couplings(self, residual: Floats, context: Floats, size: Size, seed: int, report: Progress) -> Couplings:
        """As :meth:`Engine.couplings`."""
        import torch

        from privsdk.fitting.flows import CouplingFlow, FlowTraining

        standard, about = torch.from_numpy(residual), torch.from_numpy(context)
        flow = CouplingFlow(residual.shape[1], size.couplings, size.width, context.shape[1], seed)
        training = FlowTraining(flow, size.schedule)
        generator = torch.Generator().manual_seed(seed)
        while training.step < size.schedule.steps:
            rows = torch.randint(0, len(standard), (BATCH,), generator=generator)
            shaken = about[rows] + SCORE_NOISE * torch.randn(BATCH, about.shape[1], generator=generator)
            training.take(standard[rows], shaken)
            report("flow", training.step, size.schedule.steps)
        return training.averaged.to_numpy()

    def attackers(self, seed: int) -> dict[str, Attacker]:
        """As :meth:`Engine.attackers`."""
        import torch

        from privsdk.fitting import classifiers

        def logistic(z: Floats, labels: Classes, classes: int, judged: Floats) -> Floats:
            z, judged = standardised(z, judged)
            model = classifiers.train_logistic(torch.from_numpy(z), torch.from_numpy(labels), classes)
            with torch.no_grad():
                return model(torch.from_numpy(judged)).numpy()

        def network(z: Floats, labels: Classes, classes: int, judged: Floats) -> Floats:
            model = classifiers.train_mlp(torch.from_numpy(z), torch.from_numpy(labels), classes, seed)
            with torch.no_grad():
                return model(torch.from_numpy(judged)).numpy()

        def network_standardised(z: Floats, labels: Classes, classes: int, judged: Floats) -> Floats:
            z, judged = standardised(z, judged)
            return network(z, labels, classes, judged)

        return {"logistic": logistic, "mlp": network, "mlp standardised": network_standardised}

    @contextmanager
    def ready(self) -> Iterator[None]:
        """One thread for torch while a filter is fitted; its threads and random state are restored."""
        try:
            import torch
        except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
            raise MissingExtraError(
                f"torch is there but cannot be loaded ({error}): install it again, or fit with engine='onnx'"
            ) from error

        keep_torch_at_home()
        # Threads and random state are the process's: of two fits at once the second would restore those of the first.
        with _ONE_AT_A_TIME:
            before = torch.get_num_threads()
            torch.set_num_threads(THREADS)
            try:
                with torch.random.fork_rng(devices=[]):
                    yield
            finally:
                torch.set_num_threads(before)
