"""The baselines: their losses against direct computation, what fresh attackers find, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.baselines import BASELINES, __main__, laftr, lmifr, rezaei, vfae
from benchmarks.baselines.interface import Baseline, Representation, Samples
from benchmarks.baselines.training import LATENT, WIDTH, accuracy, tensors
from privsdk.auditing.attackers import LogisticRegression
from privsdk.auditing.metrics import auroc

INPUTS = 12
PRIVATE, UTILITY = 0, 1  # the inputs that are the labels


@pytest.fixture(scope="module")
def parts() -> tuple[Samples, Samples, Samples]:
    """Four independent bits: the private label, the utility label, and two that are five inputs each."""
    x = np.random.default_rng(0).integers(0, 2, (4000, 4)).repeat([1, 1, 5, 5], axis=1)
    samples = Samples(x.astype(np.float32), x[:, PRIVATE], x[:, UTILITY])
    return samples[:2000], samples[2000:2500], samples[2500:]


def told(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """The AUROC of a fresh logistic regression."""
    return float(auroc(test_labels, LogisticRegression().fit(train, train_labels).score(test)))


def kernel(one: torch.Tensor, other: torch.Tensor, gamma: float) -> float:
    """The mean of exp(-gamma ||z - z'||^2) over all pairs."""
    return float(torch.exp(-gamma * torch.cdist(one, other).square()).mean())


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_fast_mmd_is_that_of_its_kernel(shift: float) -> None:
    torch.manual_seed(0)
    one, other, gamma = torch.randn(800, 3), torch.randn(600, 3) + shift, 0.4
    exact = kernel(one, one, gamma) + kernel(other, other, gamma) - 2 * kernel(one, other, gamma)
    fast = np.mean([float(vfae.fast_mmd(one, other, gamma)) for _ in range(100)])
    assert fast == pytest.approx(exact, rel=0.1, abs=1e-4)
    assert (fast > 0.1) == (shift > 0)
    assert fast < 0.01 or shift


def test_a_batch_of_one_private_class_has_no_mmd() -> None:
    assert float(vfae.apart(torch.randn(8, 3), torch.ones(8, 1))) == 0


def test_a_multiplier_rises_while_its_constraint_is_violated() -> None:
    limits = torch.tensor([lmifr.EPSILON_1, lmifr.EPSILON_2])
    multipliers = lmifr.Multipliers()
    before = multipliers.values.clone()
    multipliers.ascend(limits * torch.tensor([1.5, 0.5]))
    assert multipliers.values[0] > before[0]
    assert multipliers.values[1] < before[1]
    for _ in range(1000):
        multipliers.ascend(limits * torch.tensor([1.5, 0.5]))
    assert multipliers.values[1] == 0


def test_the_constraint_of_the_adversary_is_what_it_knows() -> None:
    private = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    entropy = lmifr.entropy_of(private[:, 0].long().numpy())
    assert entropy == pytest.approx(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))
    at_prior = torch.zeros(4, 2), torch.zeros(4, 2)
    nothing = lmifr.constraints(at_prior, torch.full((4, 1), float(np.log(3))), private, entropy)
    assert np.allclose(nothing, 0, atol=1e-6)
    everything = lmifr.constraints(at_prior, 100 * (2 * private - 1), private, entropy)
    assert float(everything[1]) == pytest.approx(entropy)


def test_the_group_normalised_loss_weighs_both_groups_alike() -> None:
    private = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    assert float(laftr.told(100 * (2 * private - 1), private)) == pytest.approx(np.log(2))
    assert float(laftr.told(torch.zeros(4, 1), private)) == pytest.approx(0)
    commonest = torch.full((4, 1), float(np.log(3)))  # what is true of all tells of nobody
    assert float(laftr.told(commonest, private)) < 0
    assert float(laftr.told(torch.zeros(4, 1), torch.ones(4, 1))) == pytest.approx(0)


@pytest.mark.parametrize("name", ["VFAE", "LMIFR", "LAFTR"])
def test_a_representation_tells_less_of_the_private_label(
    name: str, parts: tuple[Samples, Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmifr, "EPSILON_1", 4.0)  # four bits are less than 3 nats: it binds, and leaves room
    train, valid, test = parts
    fitted = BASELINES[name](train, valid, 0)
    z, test_z = fitted.represent(train), fitted.represent(test)
    assert z.dtype == np.float32
    assert len(z) == len(train)
    assert np.array_equal(test_z, fitted.represent(test))
    assert told(train.x, train.private, test.x, test.private) == 1
    assert told(z, train.private, test_z, test.private) < 0.95
    assert told(z, train.utility, test_z, test.utility) > 0.75


def test_a_generator_fools_its_fixed_classifier_and_no_other(parts: tuple[Samples, Samples, Samples]) -> None:
    train, _, test = parts
    trained = rezaei.train(train, 0)
    x, private, utility = tensors(test)
    with torch.no_grad():
        made_for_training = trained.generator(tensors(train).x).numpy()
        made = trained.generator(x)
        assert accuracy(trained.private(x), private) > 0.95
        assert accuracy(trained.private(made), private) < 0.65
        assert accuracy(trained.utility(made), utility) > 0.95
    assert told(made_for_training, train.private, made.numpy(), test.private) > 0.9


@pytest.mark.parametrize("name", ["VAE", "VFAE", "fixed classifier", "LEACE", "Gaussian mechanism"])
def test_costs_are_those_of_counting(name: str, parts: tuple[Samples, Samples, Samples]) -> None:
    def layers(*sizes: int) -> tuple[int, int]:
        """Weights and biases, and multiply-adds, of fully connected layers."""
        pairs = list(zip(sizes, sizes[1:], strict=False))
        return sum((one + 1) * other for one, other in pairs), sum(one * other for one, other in pairs)

    encoder = layers(INPUTS, WIDTH, 2 * LATENT)
    labelled_encoder, upper = layers(INPUTS + 1, WIDTH, 2 * LATENT), layers(LATENT + 1, WIDTH, 2 * LATENT)
    decoder, labelled_decoder = layers(LATENT, WIDTH, INPUTS), layers(LATENT + 1, WIDTH, INPUTS)
    generator, classifier = layers(INPUTS, WIDTH, WIDTH, INPUTS), layers(INPUTS, WIDTH, 1)
    vfae_parameters = labelled_encoder[0] + 2 * upper[0] + labelled_decoder[0] + layers(LATENT, WIDTH, 1)[0]
    erasure = LATENT**2 + 2 * LATENT  # a matrix, a mean, and which dimensions are used, a byte each
    expected = {
        "VAE": (encoder[0] + decoder[0], encoder[1], 4 * encoder[0]),
        "VFAE": (vfae_parameters, labelled_encoder[1], 4 * labelled_encoder[0]),
        "fixed classifier": (generator[0] + 2 * classifier[0], generator[1], 4 * generator[0]),
        "LEACE": (erasure, encoder[1] + LATENT**2, 4 * (LATENT**2 + LATENT) + LATENT),
        "Gaussian mechanism": (2 * LATENT, encoder[1] + 3 * LATENT, 5 * LATENT),
    }
    train, valid, _ = parts
    cost = BASELINES[name](train, valid, 0).cost
    assert (cost.parameters, cost.multiply_adds, cost.weight_bytes) == expected[name]
    assert cost.seconds > 0


def test_a_run_goes_on_where_it_was(
    parts: tuple[Samples, Samples, Samples],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def nothing_twice(baseline: Baseline) -> Baseline:
        trained: set[int] = set()

        def fit(train: Samples, valid: Samples, seed: int) -> Representation:
            assert seed not in trained
            trained.add(seed)
            return baseline(train[:300], valid, seed)

        return fit

    monkeypatch.setenv("PRIVSDK_DATA", str(tmp_path))
    monkeypatch.setattr(__main__, "partitions", lambda name, folder, quick: tuple(part[:300] for part in parts))
    vae = replace(__main__.DATA_SETS["adult"], baselines={"VAE": nothing_twice(BASELINES["VAE"])})
    monkeypatch.setattr(__main__, "DATA_SETS", {"adult": vae})
    command = ["--runs", str(tmp_path), "--quick", "--seeds"]
    __main__.main([*command, "1"])
    first = capsys.readouterr().out
    __main__.main([*command, "1"])
    assert capsys.readouterr().out == first
    __main__.main([*command, "2"])
    assert "±" in capsys.readouterr().out
    assert "| VAE | Sex |" in first
    assert "0.850 / 0.843" in first


def test_what_is_not_made_for_a_data_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PRIVSDK_DATA", str(tmp_path))
    monkeypatch.setattr(__main__, "partitions", lambda name, folder, quick: ())
    with pytest.raises(SystemExit):
        __main__.main(["--data-set", "celeba", "--baselines", "VFAE", "--runs", str(tmp_path)])
    assert "VFAE is not made for celeba, only LAFTR" in capsys.readouterr().err


def test_images_are_represented_from_their_pixels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 40))
    samples = Samples(rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8), *labels)
    fitted = laftr.fitted(samples, samples[:10], laftr.of_faces(), passes=1, seed=0)
    z = fitted.represent(samples)
    assert z.shape == (40, 50)
    assert np.array_equal(z, fitted.represent(samples))
    assert fitted.cost.multiply_adds == 62_568_448
