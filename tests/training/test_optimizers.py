"""Muon: orthogonal steps of the size of Adam's; the parameters of each optimiser."""

import dataclasses
from typing import Literal

import pytest
import torch
from torch import nn

from posecast.config.schema import Config, Training
from posecast.model.predictor import Predictor
from posecast.training.optimizers import Muon, as_kernel, as_matrix, build_optimizers, is_large_kernel, orthogonalised


@pytest.mark.parametrize("shape", [(24, 90), (90, 24), (32, 48)])
def test_orthogonalised_keeps_singular_vectors_and_equalises_values(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    results = orthogonalised(matrices)
    values = torch.linalg.svdvals(results)
    assert float(values.min()) > 0.75
    assert float(values.max()) < 1.25
    for matrix, result in zip(matrices, results, strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        nearest = u @ v
        cosine = (result * nearest).sum() / result.norm() / nearest.norm()
        assert cosine > 0.95


def test_a_kernel_becomes_a_matrix_and_back_without_a_copy() -> None:
    kernel = torch.randn(16, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    matrix = as_matrix(kernel)
    assert torch.equal(as_kernel(matrix, kernel.shape), kernel)
    torch.testing.assert_close(matrix.square().sum(1), kernel.square().sum((1, 2, 3)))
    assert matrix.data_ptr() == kernel.data_ptr()


def test_a_zero_gradient_stays_finite() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 16, 20)), torch.zeros(1, 16, 20))


def test_a_step_has_the_size_of_adams() -> None:
    kernel = nn.Parameter(torch.zeros(32, 32, 3, 3))
    optimizer = Muon([kernel], lr=1e-2)
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    size = float(kernel.detach().square().mean().sqrt())
    assert 0.1e-2 < size < 0.3e-2  # Adam's updates are about 0.2 to 0.4 of the learning rate


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_size_of_gradients_does_not_matter(optimizer: Literal["adamw", "muon"]) -> None:
    """Gradients from the KL term alone are 1e-9 and less, because the loss is in units of squared error."""
    training = Training(optimizer=optimizer, learning_rate=1e-2)
    weights = []
    for size in (1e-2, 1e-10):
        module = nn.Conv2d(32, 32, 3)
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
            parameter.grad = size * torch.ones_like(parameter)
        for built in build_optimizers(module, training):
            built.step()
        weights.append([parameter.detach() for parameter in module.parameters()])
    torch.testing.assert_close(*weights, rtol=0.05, atol=0)


def test_kernels_of_one_shape_do_not_mix() -> None:
    """In one batch, each kernel changes as it would alone, whatever its memory format."""
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(16, 16, 3, 3, generator=generator) for _ in range(2)]
    gradients = [torch.randn(16, 16, 3, 3, generator=generator) for _ in range(2)]
    together = [nn.Parameter(start.clone(memory_format=torch.channels_last)) for start in starts]
    alone = [nn.Parameter(start.clone()) for start in starts]
    optimizers = [Muon(group, lr=0.1, weight_decay=0.1) for group in (together, [alone[0]], [alone[1]])]
    for _ in range(3):
        for kernels in (together, alone):
            for kernel, gradient in zip(kernels, gradients, strict=True):
                kernel.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for batched, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batched.detach(), single.detach(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_parameter_has_one_optimiser(tiny: Config, name: Literal["adam", "adamw", "muon"]) -> None:
    training = dataclasses.replace(tiny.training, optimizer=name)
    predictor = Predictor(tiny)
    optimizers = build_optimizers(predictor, training)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    trained = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in predictor.parameters())
    if name == "muon":
        assert all(is_large_kernel(kernel) for kernel in optimizers[0].param_groups[0]["params"])
        assert len(optimizers) == 2


def test_networks_without_large_kernels_are_trained(tiny: Config) -> None:
    training = dataclasses.replace(tiny.training, optimizer="muon")
    small = nn.Sequential(nn.Conv2d(3, 8, 3))
    assert [type(optimizer) for optimizer in build_optimizers(small, training)] == [torch.optim.AdamW]


def test_a_closure_is_called() -> None:
    kernel = nn.Parameter(torch.ones(16, 16, 1, 1))
    optimizer = Muon([kernel], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = kernel.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 256.0
    assert float(kernel.detach().square().sum()) < 256.0
