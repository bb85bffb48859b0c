"""Muon: steps are orthogonal, sized like Adam's; which parameters it takes; saved and loaded whole."""

import dataclasses
from typing import Literal

import pytest
import torch
from torch import nn

from posecast.config.schema import Config, Training
from posecast.model.predictor import Predictor
from posecast.training.optimizers import Muon, as_kernel, as_matrix, build_optimizers, is_large_kernel, orthogonalised


@pytest.mark.parametrize("shape", [(24, 90), (90, 24), (32, 48)])
def test_orthogonalised_keeps_directions_and_evens_out_their_strengths(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    made = orthogonalised(matrices)
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.75
    assert float(values.max()) < 1.25
    for matrix, found in zip(matrices, made, strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        nearest = u @ v
        alike = (found * nearest).sum() / found.norm() / nearest.norm()
        assert alike > 0.95


def test_a_kernel_is_a_matrix_and_back_without_being_moved() -> None:
    kernel = torch.randn(16, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    matrix = as_matrix(kernel)
    assert torch.equal(as_kernel(matrix, kernel.shape), kernel)
    torch.testing.assert_close(matrix.square().sum(1), kernel.square().sum((1, 2, 3)))
    assert matrix.data_ptr() == kernel.data_ptr()


def test_a_kernel_without_gradient_directions_stays_finite() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 16, 20)), torch.zeros(1, 16, 20))


def test_a_step_has_the_size_of_adams() -> None:
    kernel = nn.Parameter(torch.zeros(32, 32, 3, 3))
    optimizer = Muon([kernel], lr=1e-2)
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    size = float(kernel.detach().square().mean().sqrt())
    assert 0.1e-2 < size < 0.3e-2  # Adam's updates are about 0.2 to 0.4 of the learning rate


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_gradients_of_any_size_move_weights_alike(optimizer: Literal["adamw", "muon"]) -> None:
    """What only the KL teaches has gradients of 1e-9 and less, in units of squared error."""
    training = Training(optimizer=optimizer, learning_rate=1e-2)
    moved = []
    for size in (1e-2, 1e-10):
        module = nn.Conv2d(32, 32, 3)
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
            parameter.grad = size * torch.ones_like(parameter)
        for one in build_optimizers(module, training):
            one.step()
        moved.append([parameter.detach() for parameter in module.parameters()])
    torch.testing.assert_close(*moved, rtol=0.05, atol=0)


def test_kernels_of_one_shape_do_not_mix() -> None:
    """Stepped in one batch, each kernel moves as it would alone, whatever its memory format."""
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(16, 16, 3, 3, generator=generator) for _ in range(2)]
    gradients = [torch.randn(16, 16, 3, 3, generator=generator) for _ in range(2)]
    together = [nn.Parameter(one.clone(memory_format=torch.channels_last)) for one in starts]
    alone = [nn.Parameter(one.clone()) for one in starts]
    for group in (together, *([one] for one in alone)):
        optimizer = Muon(group, lr=0.1, weight_decay=0.1)
        for _ in range(3):
            for kernel in group:
                number = next(i for i, one in enumerate([*together, *alone]) if one is kernel) % 2
                kernel.grad = gradients[number].clone()
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_parameter_has_one_optimiser(tiny: Config, name: str) -> None:
    training = dataclasses.replace(tiny.training, optimizer=name)  # pyright: ignore[reportArgumentType]
    predictor = Predictor(tiny)
    optimizers = build_optimizers(predictor, training)
    taken = [id(p) for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in predictor.parameters())
    if name == "muon":
        assert all(is_large_kernel(p) for p in optimizers[0].param_groups[0]["params"])
        assert len(optimizers) == 2


def test_networks_without_large_kernels_are_trained_too(tiny: Config) -> None:
    training = dataclasses.replace(tiny.training, optimizer="muon")
    small = nn.Sequential(nn.Conv2d(3, 8, 3))
    assert [type(one) for one in build_optimizers(small, training)] == [torch.optim.AdamW]


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
