"""Networks of the course: names, shapes and sizes as in the course's checkpoints."""

from typing import Literal

import pytest
import torch
from torch import nn

from posecast.config.schema import Lab4
from posecast.model.lab4 import Lab4Networks


@pytest.fixture(scope="module")
def networks() -> Lab4Networks:
    torch.manual_seed(0)
    return Lab4Networks(Lab4(), (32, 64)).eval()


def test_the_networks_have_1585620_parameters(networks: Lab4Networks) -> None:
    assert sum(parameter.numel() for parameter in networks.parameters()) == 1_585_620


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("frame_transformation.0.conv1.weight", (16, 3, 3, 3)),
        ("frame_transformation.0.skip.weight", (16, 3, 1, 1)),
        ("frame_transformation.1.block.0.conv1.0.weight", (16, 16, 1, 1)),
        ("frame_transformation.1.block.0.depth_conv.weight", (16, 1, 3, 3)),
        ("frame_transformation.1.block.1.conv.weight", (64, 16, 1, 1)),
        ("frame_transformation.1.block.1.conv_out.weight", (16, 32, 1, 1)),
        ("frame_transformation.6.weight", (128, 64, 3, 3)),
        ("label_transformation.1.weight", (16, 3, 7, 7)),
        ("label_transformation.2.running_mean", (16,)),
        ("label_transformation.4.skip.weight", (32, 16, 1, 1)),
        ("Gaussian_Predictor.0.conv1.weight", (3, 160, 3, 3)),
        ("Gaussian_Predictor.6.weight", (24, 12, 1, 1)),
        ("Decoder_Fusion.0.block.0.conv2.weight", (172, 172, 1, 1)),
        ("Decoder_Fusion.2.block.0.adaptor.weight", (86, 43, 1, 1)),
        ("Decoder_Fusion.3.conv1.weight", (86, 86, 3, 3)),
        ("Decoder_Fusion.5.weight", (192, 96, 1, 1)),
        ("Generator.1.skip.weight", (96, 192, 1, 1)),
        ("Generator.7.weight", (3, 24, 1, 1)),
    ],
)
def test_layers_have_the_courses_names_and_shapes(networks: Lab4Networks, name: str, shape: tuple[int, ...]) -> None:
    assert networks.state_dict()[name].shape == shape


def test_layers_without_change_of_width_have_no_skip_weights(networks: Lab4Networks) -> None:
    names = networks.state_dict()
    assert "Decoder_Fusion.3.skip.weight" not in names
    assert "Generator.0.block.0.adaptor.weight" not in names


@pytest.mark.parametrize("output", ["sigmoid", "clamp", "none"])
def test_outputs_are_bounded_as_configured(output: Literal["sigmoid", "clamp", "none"]) -> None:
    torch.manual_seed(0)
    networks = Lab4Networks(Lab4(8, 4, 4, 8, output=output), (8, 8)).eval()
    last = networks.Generator[7]
    assert isinstance(last, nn.Conv2d)
    torch.nn.init.normal_(last.weight, std=50.0)
    features = networks.encode_frame(torch.rand(2, 3, 8, 8)), networks.encode_condition(torch.rand(2, 3, 8, 8), ())
    decoded = networks.decode(*features, torch.randn(2, 4, 8, 8))
    is_bounded = bool(((decoded >= 0) & (decoded <= 1)).all())
    assert is_bounded == (output != "none")


@pytest.mark.parametrize("frame", ["current", "previous"])
def test_the_posterior_depends_on_the_configured_frame(frame: Literal["current", "previous"]) -> None:
    torch.manual_seed(0)
    networks = Lab4Networks(Lab4(8, 4, 4, 8, posterior_sees=frame), (8, 8)).eval()
    a, b = (networks.encode_frame(torch.rand(1, 3, 8, 8)) for _ in range(2))
    pose = networks.encode_condition(torch.rand(1, 3, 8, 8), ())
    prior, _ = networks.prior(b, pose, networks.begin(b, pose, None)[0])
    of_a, of_b = (networks.posterior(current, b, pose, prior).mean for current in (a, b))
    assert torch.equal(of_a, of_b) == (frame == "previous")


def test_a_blank_pose_map_gives_finite_features_in_evaluation_mode(networks: Lab4Networks) -> None:
    """In training mode BatchNorm would divide by the standard deviation of a blank batch."""
    blank = torch.ones(1, 3, 32, 64)
    (features,) = networks.encode_condition(blank, ())
    assert torch.isfinite(features).all()
    both = networks.encode_condition(torch.cat((blank, torch.rand(1, 3, 32, 64))), ())[0]
    torch.testing.assert_close(both[:1], features, atol=1e-5, rtol=1e-4)
