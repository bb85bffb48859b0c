"""A clip at once against frame by frame; teacher forcing, hidden first frames and observed clips."""

from collections.abc import Callable

import pytest
import torch

from posecast.config.schema import Config
from posecast.model.draws import Draws, free_running
from posecast.model.predictor import Predictor

from ..conftest import small
from .conftest import without_zeros

Clip = dict[str, torch.Tensor]


def new_predictor(config: Config) -> Predictor:
    torch.manual_seed(0)
    return without_zeros(Predictor(config))


def random_clip(predictor: Predictor, num_frames: int = 5) -> Clip:
    generator = torch.Generator().manual_seed(1)
    channels = 3 * (2 * predictor.pose_window + 1)

    def images(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, 16, 16, generator=generator)

    return {
        "frames": images(2, num_frames, 3),
        "poses": images(2, num_frames, channels),
        "anchor_frame": images(2, 3),
        "anchor_pose": images(2, 3),
    }


def free(predictor: Predictor, num_frames: int = 5) -> Draws:
    generator = torch.Generator().manual_seed(2)
    return free_running(torch.randn(2, num_frames - 1, *predictor.latent_shape, generator=generator))


def forced(predictor: Predictor) -> Draws:
    draws = free(predictor)
    return draws._replace(teacher_forced=~draws.teacher_forced)


@torch.inference_mode()
def test_a_clip_at_once_equals_frame_by_frame(either: Config) -> None:
    """A teacher-forced clip is one batch; single steps from the true previous frames must give the same."""
    predictor = new_predictor(either)
    clip = random_clip(predictor)
    draws = forced(predictor)
    at_once = predictor(**clip, draws=draws)
    networks, frames = predictor.networks, clip["frames"]
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    first = networks.encode_frame(frames[:, 0])
    memory, first_rate = predictor.begin(first, clip["poses"][:, 0], anchor, draws.first_noise)
    for t in range(4):
        decoded, rate, memory = predictor.observe_step(
            networks.encode_frame(frames[:, t + 1]),
            networks.encode_frame(frames[:, t]) if networks.feedback else (),
            networks.encode_condition(clip["poses"][:, t + 1], anchor),
            memory,
            draws.noise[:, t],
        )
        torch.testing.assert_close(at_once.predictions[:, t], decoded, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(at_once.rate_nats[:, t], rate + first_rate, atol=1e-3, rtol=1e-4)
        first_rate = torch.zeros(())  # the rate of z_1 is added to the first prediction only
        mse = (decoded - frames[:, t + 1]).square().mean((1, 2, 3))
        torch.testing.assert_close(at_once.mse[:, t], mse, atol=1e-6, rtol=1e-4)


@torch.inference_mode()
def test_predictions_are_fed_back(fed_back: Config) -> None:
    """Single steps, each from the frame decoded before and with its memory, give the same as the clip."""
    predictor = new_predictor(fed_back)
    clip = random_clip(predictor)
    draws = free(predictor)
    unrolled = predictor(**clip, draws=draws)
    networks, frames = predictor.networks, clip["frames"]
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    decoded = frames[:, 0]
    first = networks.encode_frame(decoded)
    memory, first_rate = predictor.begin(first, clip["poses"][:, 0], anchor, draws.first_noise)
    for t in range(4):
        decoded, rate, memory = predictor.observe_step(
            networks.encode_frame(frames[:, t + 1]),
            networks.encode_frame(decoded),
            networks.encode_condition(clip["poses"][:, t + 1], anchor),
            memory,
            draws.noise[:, t],
        )
        torch.testing.assert_close(unrolled.predictions[:, t], decoded, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(unrolled.rate_nats[:, t], rate + first_rate, atol=1e-3, rtol=1e-4)
        first_rate = torch.zeros(())  # the rate of z_1 is added to the first prediction only


@torch.inference_mode()
def test_forcing_on_and_off_agree_on_the_first_predicted_frame_only(fed_back: Config) -> None:
    predictor = new_predictor(fed_back)
    clip = random_clip(predictor)
    on, off = predictor(**clip, draws=forced(predictor)), predictor(**clip, draws=free(predictor))
    torch.testing.assert_close(on.predictions[:, 0], off.predictions[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(on.predictions[:, 1], off.predictions[:, 1], atol=1e-4)


@torch.inference_mode()
def test_forced_frames_are_chosen_one_by_one(fed_back: Config) -> None:
    predictor = new_predictor(fed_back)
    clip = random_clip(predictor)
    mixed = free(predictor).teacher_forced.clone()
    remembers = bool(predictor.networks.memory_shape[0])  # then z depends on earlier predictions, too
    mixed[0, 0 if remembers else 2 : 3] = True  # the third prediction of clip 0 is decoded from the true frame
    several_draws = (free(predictor)._replace(teacher_forced=mixed), forced(predictor), free(predictor))
    result, on, off = (predictor(**clip, draws=draws) for draws in several_draws)
    torch.testing.assert_close(result.predictions[0, 2], on.predictions[0, 2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.predictions[1], off.predictions[1], atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_fed_back_predictions(fed_back: Config) -> None:
    """Without them the sum would not be trained as the bound on log p(x_2..T | x_1, p)."""
    predictor = new_predictor(fed_back)
    clip = random_clip(predictor)
    draws = free(predictor)
    draws.noise.requires_grad_(True)
    predictor(**clip, draws=draws).mse[:, -1].sum().backward()
    assert draws.noise.grad is not None
    assert draws.noise.grad[:, 0].any()  # the first z changes the last frame through all frames between


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_a_hidden_first_frame_has_no_effect(fed_back: Config, start: Callable[[Predictor], Draws]) -> None:
    """The first prediction is the same for every hidden frame, and differs from that with the frame."""
    predictor = new_predictor(fed_back)
    clip = random_clip(predictor)
    draws = start(predictor)
    hidden = draws._replace(has_first_frame=torch.tensor([False, True]))
    changed = clip | {"frames": torch.cat((clip["frames"][:, :1].flip(-1), clip["frames"][:, 1:]), 1)}
    with_frame, without, without_other = (
        predictor(**c, draws=d).predictions[:, 0] for c, d in ((clip, draws), (clip, hidden), (changed, hidden))
    )
    torch.testing.assert_close(without[0], without_other[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(without[0], with_frame[0], atol=1e-4)
    torch.testing.assert_close(without[1], with_frame[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_an_imagined_clip_is_decoded_as_in_a_rollout(either: Config, start: Callable[[Predictor], Draws]) -> None:
    """Its z is the prior's mean, which depends on neither noise nor targets, and its rate is 0."""
    predictor = new_predictor(either)
    clip = random_clip(predictor)
    draws = start(predictor)
    draws = draws._replace(noise=draws.noise[:1], first_noise=draws.first_noise[:1])  # the second clip is imagined
    result = predictor(**clip, draws=draws)
    other_noise = predictor(**clip, draws=draws._replace(noise=draws.noise + 1.0))
    torch.testing.assert_close(result.predictions[1], other_noise.predictions[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(result.predictions[0], other_noise.predictions[0], atol=1e-4)
    assert result.rate_nats[0].all()
    assert not result.rate_nats[1].any()
    networks = predictor.networks
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    first = networks.encode_frame(clip["frames"][:, 0])
    decoded, _ = predictor.imagine_step(
        first if networks.feedback else (),
        networks.encode_condition(clip["poses"][:, 1], anchor),
        predictor.begin(first, clip["poses"][:, 0], anchor)[0],
        None,
    )
    torch.testing.assert_close(result.predictions[1, 0], decoded[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_observed_and_imagined_clips_do_not_depend_on_each_other(
    either: Config, start: Callable[[Predictor], Draws]
) -> None:
    predictor = new_predictor(either)
    clip, draws = random_clip(predictor), start(predictor)
    mixed = draws._replace(noise=draws.noise[:1], first_noise=draws.first_noise[:1])
    together = predictor(**clip, draws=mixed)
    for index, row in enumerate((slice(0, 1), slice(1, 2))):
        row_draws = Draws(*(tensor[row] for tensor in mixed))
        alone = predictor(**{name: tensor[row] for name, tensor in clip.items()}, draws=row_draws)
        torch.testing.assert_close(together.predictions[index], alone.predictions[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.rate_nats[index], alone.rate_nats[0], atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_without_feedback_nothing_depends_on_the_frames_before() -> None:
    predictor = new_predictor(small("no feedback"))
    clip, draws = random_clip(predictor), free(predictor)
    other = clip | {"frames": torch.cat((clip["frames"][:, :3].flip(-1), clip["frames"][:, 3:]), 1)}
    predictions, others = (predictor(**c, draws=draws).predictions for c in (clip, other))
    torch.testing.assert_close(predictions[:, 2:], others[:, 2:], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(predictions[:, 0], others[:, 0], atol=1e-4)  # z depends on its own frame
