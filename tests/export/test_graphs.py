"""Rollouts of exported graphs equal those of torch, for every kind of networks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.export.checked_graphs import write_checked
from posecast.export.engine import is_installed
from posecast.export.graphs import write_graphs
from posecast.model.draws import future_generators
from posecast.model.onnx_rollout import GRAPHS, OnnxRollout
from posecast.model.predictor import Predictor
from posecast.model.rollout import rollout_together
from posecast.model.rollout_input import RolloutInput

from ..conftest import FED_BACK, moving_square, small

if not is_installed():
    pytest.skip("the extra posecast[export]", allow_module_level=True)


def predictor_of(config: Config) -> Predictor:
    torch.manual_seed(1)
    predictor = Predictor(config).eval().requires_grad_(False)
    for weight in predictor.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    return predictor


def inputs() -> Iterator[RolloutInput]:
    """Yield sequences of different lengths; the second has an anchor other than its first frame."""
    first, second = moving_square(12), moving_square(9, seed=4)
    yield RolloutInput(first.frames[0], first.poses)
    yield RolloutInput(second.frames[0], second.poses, (second.frames[5], second.poses[5]))


def generators(futures: int) -> list[torch.Generator] | None:
    return [generator for number in range(2) for generator in future_generators(1, number, range(futures))] or None


def assert_equal_rollouts(config: Config, folder: Path) -> None:
    predictor = predictor_of(config)
    write_graphs(predictor, folder, {"posecast": "test"})
    graphs = OnnxRollout(folder, predictor.latent_shape, predictor.pose_window)
    for futures in (0, 1, 3):
        expected = torch.stack(list(rollout_together(predictor, list(inputs()), generators=generators(futures))))
        frames = torch.stack(list(graphs.frames(list(inputs()), generators(futures), 12)))
        assert expected[:8].std() > 1e-3
        torch.testing.assert_close(frames[:8], expected[:8], atol=1e-5, rtol=0)
    predictor.engine = graphs
    chosen = torch.stack(list(rollout_together(predictor, list(inputs()), generators=generators(3))))
    assert torch.equal(chosen, frames)


def test_the_default_has_equal_rollouts(tmp_path: Path) -> None:
    assert_equal_rollouts(small("no feedback, stationary"), tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(GRAPHS)


@pytest.mark.long
@pytest.mark.parametrize("kind", [*FED_BACK, "no feedback", "people"])
def test_other_networks_have_equal_rollouts(kind: str, tmp_path: Path) -> None:
    is_people = kind == "people"
    config = build_config("people", flags={"size": "16x16", "widths": [8, 16]}) if is_people else small(kind)
    assert_equal_rollouts(config, tmp_path)


@pytest.mark.long
def test_parity_is_measured_at_the_size_of_the_run(tmp_path: Path) -> None:
    predictor = predictor_of(build_config(flags={"size": "64x32", "widths": [8, 16]}))
    parity = write_checked(predictor, tmp_path)
    assert parity.frames == 100
    assert parity.psnr_db > 100
    assert 0 < parity.largest_difference < 1e-4
    assert "onnxruntime" in parity.sentence()
