"""Layers of the anchored networks: what new layers compute, and scales of features."""

import torch

from posecast.model.layers import Encoder, GaussianHead, Modulation, ResidualBlock

from .conftest import without_zeros


def test_a_new_residual_block_is_the_identity() -> None:
    x = torch.rand(2, 8, 4, 6)
    assert torch.equal(ResidualBlock(8, normalise=True)(x), x)


def test_an_encoder_halves_the_size_at_every_scale() -> None:
    features = Encoder(3, (8, 16, 24), patch=2, num_blocks=1, finest_blocks=0)(torch.rand(2, 3, 16, 32))
    assert [scale.shape for scale in features] == [(2, 8, 8, 16), (2, 16, 4, 8), (2, 24, 2, 4)]


def test_a_global_gaussian_is_the_average_over_cells() -> None:
    torch.manual_seed(0)
    head = GaussianHead(8, 8, 2, global_latent=False)
    global_head = GaussianHead(8, 8, 2, global_latent=True)
    global_head.load_state_dict(head.state_dict())
    features = torch.rand(3, 8, 4, 6)
    assert head(features).mean.shape == (3, 2, 4, 6)
    torch.testing.assert_close(global_head(features).mean, head(features).mean.mean((2, 3), keepdim=True))


def test_a_rebased_modulation_computes_the_same_from_new_coordinates() -> None:
    torch.manual_seed(0)
    modulation = without_zeros(Modulation(3, 8))
    x, z = torch.rand(2, 8, 4, 6), torch.rand(2, 3, 1, 1)
    basis, centre = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    rebased = ((z.flatten(1).double() - centre) @ basis.T).float()[:, :, None, None]
    before = modulation(x, z)
    modulation.rebase(basis, centre)
    torch.testing.assert_close(modulation(x, rebased), before, atol=1e-4, rtol=1e-4)
