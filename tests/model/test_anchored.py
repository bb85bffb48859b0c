"""Our networks: sizes, memory order, and who sees what."""

import dataclasses

import pytest
import torch

from posecast.config.schema import Anchored
from posecast.model.anchored import AnchoredNetworks

SMALL = Anchored(widths=(8, 16), blocks=1, latent_channels=2, attention=1, decoder="copy")


def features_of(networks: AnchoredNetworks, seed: int = 0, size: tuple[int, int] = (16, 16)) -> dict:
    generator = torch.Generator().manual_seed(seed)

    def picture(channels: int) -> torch.Tensor:
        return torch.rand(2, channels, *size, generator=generator)

    frames, windows = [picture(3) for _ in range(3)], picture(3 * (2 * networks.pose_window + 1))
    return {
        "current": networks.encode_frame(frames[0]),
        "previous": networks.encode_frame(frames[1]),
        "condition": networks.encode_condition(windows, networks.encode_anchor(frames[2], picture(3))),
    }


def awake(networks: AnchoredNetworks) -> AnchoredNetworks:
    """Zero-initialised layers given values, so that nothing is hidden by them."""
    for parameter in networks.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return networks.eval()


@pytest.mark.parametrize(
    ("size", "config"),
    [
        ((32, 64), Anchored(widths=(8, 16, 24), blocks=1)),
        ((64, 128), Anchored(widths=(8, 16, 24, 32), blocks=1)),
        ((256, 512), Anchored(widths=(8, 8, 16, 16), blocks=1, patch=4)),
    ],
)
def test_sizes_by_configuration_alone(size: tuple[int, int], config: Anchored) -> None:
    networks = AnchoredNetworks(config, size).eval()
    features = features_of(networks, size=size)
    current = features.pop("current")
    prior, _ = networks.prior(**features, memory=torch.zeros(2, *networks.memory_shape))
    z = networks.posterior(current, **features, prior=prior).mean
    assert z.shape[1:] == networks.latent_shape
    assert networks.decode(**features, z=z).shape == (2, 3, *size)


def test_channels_last_holds_through_the_networks() -> None:
    networks = awake(AnchoredNetworks(SMALL, (16, 16)))
    for features in features_of(networks).values():
        for scale in features:
            assert scale.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("spans", ["spatial", "global"])
@pytest.mark.parametrize("prior", ["fixed", "learned", "recurrent", "stationary"])
def test_every_prior_spans_what_it_is_told_to(prior: str, spans: str) -> None:
    config = dataclasses.replace(SMALL, prior=prior, latent_scope=spans)
    networks = awake(AnchoredNetworks(config, (16, 32)))
    features = features_of(networks, size=(16, 32))
    current = features.pop("current")
    memory, _ = networks.begin(current, features["condition"], None)
    assert memory.shape == (2, *networks.memory_shape)
    p, memory = networks.prior(**features, memory=memory)
    q = networks.posterior(current, **features, prior=p)
    assert (
        q.mean.shape[1:] == p.mean.shape[1:] == networks.latent_shape == (2, *((1, 1) if spans == "global" else (4, 8)))
    )
    assert networks.remember(memory, q.mean).shape == memory.shape
    assert networks.decode(**features, z=q.mean).shape == (2, 3, 16, 32)


@pytest.mark.parametrize("prior", ["fixed", "learned", "recurrent", "stationary"])
def test_the_posterior_sees_the_frame_and_all_that_the_prior_sees(prior: str) -> None:
    """A stationary prior sees its memory instead of the last frame, and so does its posterior."""
    networks = awake(AnchoredNetworks(dataclasses.replace(SMALL, prior=prior), (16, 16)))
    features, other = features_of(networks), features_of(networks, seed=1)
    memory, others = (networks.begin(f["current"], f["condition"], None)[0] for f in (features, other))

    def posterior(memory: torch.Tensor = memory, **changed: object) -> torch.Tensor:
        seen: dict = features | changed
        current = seen.pop("current")
        p, memory = networks.prior(**seen, memory=memory)
        return networks.posterior(current, **seen, prior=p).mean

    stationary = prior == "stationary"
    for name in features:
        same = torch.equal(posterior(), posterior(**{name: other[name]}))
        assert same == (stationary and name == "previous"), name
    assert not stationary or not torch.equal(posterior(), posterior(others))


def test_a_painted_frame_depends_on_everything_it_is_given() -> None:
    torch.manual_seed(0)
    networks = awake(AnchoredNetworks(SMALL, (16, 16)))
    features, other = features_of(networks), features_of(networks, seed=1)
    del features["current"], other["current"]
    z = torch.randn(2, *networks.latent_shape)
    painted = networks.decode(**features, z=z)
    assert ((painted > 0) & (painted < 1)).all()
    assert not torch.equal(painted, networks.decode(**features, z=-z))
    for name in features:
        assert not torch.equal(painted, networks.decode(**(features | {name: other[name]}), z=z)), name


@torch.inference_mode()
def test_the_condition_knows_pose_and_anchor_of_each_instant() -> None:
    """Time-major: instants of a clip as one batch are what they are one by one."""
    networks = awake(AnchoredNetworks(SMALL, (16, 16)))
    frames, poses = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    windows = torch.rand(3, 2, 9, 16, 16)
    anchor = networks.encode_anchor(frames, poses)
    at_once = networks.encode_condition(windows.flatten(0, 1), anchor)
    for t in range(3):
        for together, alone in zip(at_once, networks.encode_condition(windows[t], anchor), strict=True):
            torch.testing.assert_close(together[2 * t : 2 * t + 2], alone, atol=1e-5, rtol=1e-5)
    others = networks.encode_anchor(frames.flip(-1), poses), networks.encode_anchor(frames, poses.flip(-1))
    for other in others:
        for scale, changed in zip(at_once, networks.encode_condition(windows.flatten(0, 1), other), strict=True):
            assert not torch.allclose(scale, changed, atol=1e-4)


def test_attention_begins_as_if_it_were_not_there() -> None:
    without = AnchoredNetworks(dataclasses.replace(SMALL, attention=0), (16, 16)).eval()
    networks = AnchoredNetworks(dataclasses.replace(SMALL, attention=2), (16, 16)).eval()
    networks.load_state_dict(without.state_dict(), strict=False)
    for one, other in zip(features_of(networks)["condition"], features_of(without)["condition"], strict=True):
        assert torch.equal(one, other)
