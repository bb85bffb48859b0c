"""Anchored networks: sizes, memory order, and the inputs each part depends on."""

import dataclasses
from typing import Any

import pytest
import torch

from posecast.config.schema import Anchored
from posecast.model.anchored import AnchoredNetworks

from .conftest import without_zeros

SMALL = Anchored(widths=(8, 16), blocks=1, latent_channels=2, attention=1, decoder="copy")
PRIORS = ["fixed", "learned", "recurrent", "stationary"]


def features_of(networks: AnchoredNetworks, seed: int = 0, size: tuple[int, int] = (16, 16)) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def image(channels: int) -> torch.Tensor:
        return torch.rand(2, channels, *size, generator=generator)

    frames, windows = [image(3) for _ in range(3)], image(3 * (2 * networks.pose_window + 1))
    return {
        "current": networks.encode_frame(frames[0]),
        "previous": networks.encode_frame(frames[1]),
        "condition": networks.encode_condition(windows, networks.encode_anchor(frames[2], image(3))),
    }


def small_networks(size: tuple[int, int] = (16, 16), **changes: Any) -> AnchoredNetworks:
    return without_zeros(AnchoredNetworks(dataclasses.replace(SMALL, **changes), size), std=0.1)


@pytest.mark.parametrize(
    ("size", "config"),
    [
        ((32, 64), Anchored(widths=(8, 16, 24), blocks=1)),
        ((64, 128), Anchored(widths=(8, 16, 24, 32), blocks=1)),
        ((256, 512), Anchored(widths=(8, 8, 16, 16), blocks=1, patch=4)),
    ],
)
def test_configuration_alone_adapts_networks_to_a_size(size: tuple[int, int], config: Anchored) -> None:
    networks = AnchoredNetworks(config, size).eval()
    features = features_of(networks, size=size)
    current = features.pop("current")
    prior, _ = networks.prior(**features, memory=torch.zeros(2, *networks.memory_shape))
    z = networks.posterior(current, **features, prior=prior).mean
    assert z.shape[1:] == networks.latent_shape
    assert networks.decode(**features, z=z).shape == (2, 3, *size)


def test_channels_last_is_kept_through_the_networks() -> None:
    networks = small_networks()
    for features in features_of(networks).values():
        for scale in features:
            assert scale.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("scope", ["spatial", "global"])
@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_supports_both_latent_scopes(prior: str, scope: str) -> None:
    networks = small_networks((16, 32), prior=prior, latent_scope=scope)
    features = features_of(networks, size=(16, 32))
    current = features.pop("current")
    memory, _ = networks.begin(current, features["condition"], None)
    assert memory.shape == (2, *networks.memory_shape)
    p, memory = networks.prior(**features, memory=memory)
    q = networks.posterior(current, **features, prior=p)
    grid = (1, 1) if scope == "global" else (4, 8)
    assert q.mean.shape[1:] == p.mean.shape[1:] == networks.latent_shape == (2, *grid)
    assert networks.remember(memory, q.mean).shape == memory.shape
    assert networks.decode(**features, z=q.mean).shape == (2, 3, 16, 32)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_posterior_depends_on_the_frame_and_on_all_inputs_of_the_prior(prior: str) -> None:
    """A stationary prior reads its memory instead of the previous frame, and so does its posterior."""
    networks = small_networks(prior=prior)
    features, other = features_of(networks), features_of(networks, seed=1)
    memory, other_memory = (networks.begin(f["current"], f["condition"], None)[0] for f in (features, other))

    def posterior(memory: torch.Tensor = memory, **changed: Any) -> torch.Tensor:
        inputs = features | changed
        current = inputs.pop("current")
        p, memory = networks.prior(**inputs, memory=memory)
        return networks.posterior(current, **inputs, prior=p).mean

    stationary = prior == "stationary"
    for name in features:
        is_same = torch.equal(posterior(), posterior(**{name: other[name]}))
        assert is_same == (stationary and name == "previous"), name
    assert not stationary or not torch.equal(posterior(), posterior(other_memory))


def test_a_decoded_frame_depends_on_all_inputs() -> None:
    torch.manual_seed(0)
    networks = small_networks()
    features, other = features_of(networks), features_of(networks, seed=1)
    del features["current"], other["current"]
    z = torch.randn(2, *networks.latent_shape)
    decoded = networks.decode(**features, z=z)
    assert ((decoded > 0) & (decoded < 1)).all()
    assert not torch.equal(decoded, networks.decode(**features, z=-z))
    for name in features:
        assert not torch.equal(decoded, networks.decode(**(features | {name: other[name]}), z=z)), name


@torch.inference_mode()
def test_conditions_of_a_clip_equal_those_of_each_time_step() -> None:
    networks = small_networks()
    frames, poses = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    windows = torch.rand(3, 2, 9, 16, 16)
    anchor = networks.encode_anchor(frames, poses)
    at_once = networks.encode_condition(windows.flatten(0, 1), anchor)
    for t in range(3):
        for together, alone in zip(at_once, networks.encode_condition(windows[t], anchor), strict=True):
            torch.testing.assert_close(together[2 * t : 2 * t + 2], alone, atol=1e-5, rtol=1e-5)
    other_anchors = networks.encode_anchor(frames.flip(-1), poses), networks.encode_anchor(frames, poses.flip(-1))
    for other in other_anchors:
        for scale, changed in zip(at_once, networks.encode_condition(windows.flatten(0, 1), other), strict=True):
            assert not torch.allclose(scale, changed, atol=1e-4)


def test_new_attention_has_no_effect() -> None:
    without = AnchoredNetworks(dataclasses.replace(SMALL, attention=0), (16, 16)).eval()
    networks = AnchoredNetworks(dataclasses.replace(SMALL, attention=2), (16, 16)).eval()
    networks.load_state_dict(without.state_dict(), strict=False)
    conditions = features_of(networks)["condition"], features_of(without)["condition"]
    for scale, scale_without in zip(*conditions, strict=True):
        assert torch.equal(scale, scale_without)


@pytest.mark.parametrize(("size", "scale"), [((32, 64), 0), ((64, 64), 0), ((64, 128), 1), ((256, 512), 2)])
def test_larger_images_are_copied_in_larger_cells(size: tuple[int, int], scale: int) -> None:
    networks = AnchoredNetworks(Anchored(widths=(8, 8, 8), blocks=1, decoder="copy"), size)
    assert networks.copy_scale == scale
    assert networks.copied is not None
    assert networks.copied.cell == 2 ** (scale + 1)


@pytest.mark.parametrize("feedback", ["none", "frame"])
@pytest.mark.parametrize("latent_scope", ["spatial", "global"])
def test_the_posterior_of_a_recurrent_prior_sees_earlier_frames(feedback: Any, latent_scope: Any) -> None:
    """Only the memory differs: frame, pose and previous frame are the same."""
    networks = small_networks(prior="recurrent", feedback=feedback, latent_scope=latent_scope).eval()
    features = features_of(networks)
    current = features.pop("current")
    if feedback == "none":
        features["previous"] = ()
    posteriors = []
    for filled in (0.0, 1.0):
        prior, _ = networks.prior(**features, memory=torch.full((2, *networks.memory_shape), filled))
        posteriors.append(networks.posterior(current, **features, prior=prior).mean)
    assert posteriors[0].shape[1:] == networks.latent_shape
    assert not torch.allclose(*posteriors)
