"""The flow that is trained in torch and the one that is applied in NumPy are the same, and can be undone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from privsdk.filters.couplings import Couplings, PublicFlow  # noqa: E402
from privsdk.fitting.flows import CouplingFlow, FlowTraining, validation_loss  # noqa: E402
from privsdk.fitting.schedule import Schedule  # noqa: E402


def a_flow(size: int = 21, context: int = 0, couplings: int = 6, width: int = 32) -> CouplingFlow:
    flow = CouplingFlow(size, couplings, width, context, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        flow.weight_3.normal_(0, 0.05, generator=generator)
        flow.bias_3.normal_(0, 0.05, generator=generator)
    return flow


@pytest.mark.parametrize(("size", "context"), [(50, 0), (21, 2), (2, 1)])
def test_numpy_agrees_with_torch_and_undoes_itself(size: int, context: int) -> None:
    flow = a_flow(size, context)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, size)).astype(np.float32)
    about = rng.normal(size=(300, context)).astype(np.float32) if context else None
    with torch.no_grad():
        expected, _ = flow(torch.from_numpy(x), None if about is None else torch.from_numpy(about))
    couplings = flow.to_numpy()
    code = couplings.forward(x, about)
    assert np.abs(code - expected.numpy()).max() < 1e-4
    assert np.abs(couplings.inverse(code, about) - x).max() < 1e-4
    with torch.no_grad():
        back = flow.inverse(expected, None if about is None else torch.from_numpy(about))
    assert np.abs(back.numpy() - x).max() < 1e-4


def test_log_determinant_is_that_of_the_jacobian() -> None:
    flow = a_flow(size=5).double()
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda row: flow(row)[0], x)[0, :, 0]
    # The rotations are stored as float32, so their own log-determinants are zero to that accuracy only.
    assert flow(x)[1].item() == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-6)


def test_arrays_round_trip() -> None:
    couplings = a_flow(context=2).to_numpy()
    again = Couplings.from_arrays(couplings.arrays())
    x = np.ones((3, 21), np.float32)
    assert np.array_equal(couplings.forward(x, x[:, :2]), again.forward(x, x[:, :2]))


def test_public_flow_leaves_unused_dimensions_at_zero() -> None:
    used = np.ones(24, bool)
    used[[2, 7, 23]] = False
    rng = np.random.default_rng(1)
    flow = PublicFlow(used, np.full(21, 2, np.float32), np.eye(21, dtype=np.float32) / 3, a_flow().to_numpy())
    flow = PublicFlow.from_arrays(flow.arrays())
    z = rng.normal(size=(40, 24)).astype(np.float32)
    back = flow.inverse(flow.forward(z))
    assert np.abs(back[:, used] - z[:, used]).max() < 1e-4
    assert not back[:, ~used].any()


def test_training_gaussianises_and_resumes_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(4000, 1, generator=generator) > 0.5, 2.0, -2.0)
    x = torch.cat([side, torch.zeros(4000, 3)], 1) + 0.5 * torch.randn(4000, 4, generator=generator)

    def trained(stop_at: int | None) -> CouplingFlow:
        training = FlowTraining(CouplingFlow(4, 4, 32, seed=1), Schedule(steps=120, learning_rate=5e-3))
        batches = [torch.randint(0, len(x), (256,), generator=torch.Generator().manual_seed(i)) for i in range(120)]
        for batch in batches:
            if training.step == stop_at:
                state = training.state()
                training = FlowTraining(CouplingFlow(4, 4, 32, seed=9), training.schedule)
                training.load(state)
            training.take(x[batch])
        return training.averaged

    flow, resumed = trained(None), trained(50)
    assert validation_loss(flow, x) < validation_loss(CouplingFlow(4, 4, 32, seed=1), x) - 0.3
    assert all(
        torch.equal(a, b) for a, b in zip(flow.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
