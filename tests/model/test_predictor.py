"""Time: a clip at once equals frame by frame; teacher forcing differs only where it may."""

from collections.abc import Callable

import pytest
import torch

from posecast.config.schema import Config
from posecast.model.predictor import Draws, Predictor, at, batch_major, free_running, seeded, time_major

from ..conftest import small


def awake(config: Config) -> Predictor:
    torch.manual_seed(0)
    predictor = Predictor(config)
    for parameter in predictor.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return predictor.eval()


def random_clip(predictor: Predictor, num_instants: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    channels = 3 * (2 * predictor.pose_window + 1)

    def picture(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, 16, 16, generator=generator)

    return {
        "frames": picture(2, num_instants, 3),
        "poses": picture(2, num_instants, channels),
        "anchor_frame": picture(2, 3),
        "anchor_pose": picture(2, 3),
    }


def free(predictor: Predictor, num_instants: int = 5) -> Draws:
    generator = torch.Generator().manual_seed(2)
    return free_running(torch.randn(2, num_instants - 1, *predictor.latent_shape, generator=generator))


def forced(predictor: Predictor) -> Draws:
    draws = free(predictor)
    return draws._replace(forced=~draws.forced)


@torch.inference_mode()
def test_a_clip_at_once_equals_frame_by_frame(either: Config) -> None:
    """All forced runs as one batch; step by step with the true previous frame must give the same."""
    predictor = awake(either)
    clip = random_clip(predictor)
    draws = forced(predictor)
    at_once = predictor(**clip, draws=draws)
    networks = predictor.networks
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    first = networks.encode_frame(clip["frames"][:, 0])
    memory, owed = predictor.begin(first, clip["poses"][:, 0], anchor, draws.first_noise)
    for t in range(4):
        frames = clip["frames"]
        painted, rate, memory = predictor.observe_step(
            networks.encode_frame(frames[:, t + 1]),
            networks.encode_frame(frames[:, t]) if networks.feedback else (),
            networks.encode_condition(clip["poses"][:, t + 1], anchor),
            memory,
            draws.noise[:, t],
        )
        torch.testing.assert_close(at_once.predictions[:, t], painted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(at_once.rate_nats[:, t], rate + owed, atol=1e-3, rtol=1e-4)
        owed = torch.zeros(())  # z_1 is paid for once
        mse = (painted - frames[:, t + 1]).square().mean((1, 2, 3))
        torch.testing.assert_close(at_once.mse[:, t], mse, atol=1e-6, rtol=1e-4)


@torch.inference_mode()
def test_feedback_feeds_the_own_prediction_back(fed_back: Config) -> None:
    """Frame by frame, each painted from the one painted before, with the memory carried on: the clip is the same."""
    predictor = awake(fed_back)
    clip = random_clip(predictor)
    draws = free(predictor)
    unrolled = predictor(**clip, draws=draws)
    networks, frames = predictor.networks, clip["frames"]
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    painted = frames[:, 0]
    memory, owed = predictor.begin(networks.encode_frame(painted), clip["poses"][:, 0], anchor, draws.first_noise)
    for t in range(4):
        painted, rate, memory = predictor.observe_step(
            networks.encode_frame(frames[:, t + 1]),
            networks.encode_frame(painted),
            networks.encode_condition(clip["poses"][:, t + 1], anchor),
            memory,
            draws.noise[:, t],
        )
        torch.testing.assert_close(unrolled.predictions[:, t], painted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(unrolled.rate_nats[:, t], rate + owed, atol=1e-3, rtol=1e-4)
        owed = torch.zeros(())  # z_1 is paid for once


@torch.inference_mode()
def test_forcing_on_and_off_agree_on_the_first_predicted_frame_only(fed_back: Config) -> None:
    predictor = awake(fed_back)
    clip = random_clip(predictor)
    on, off = predictor(**clip, draws=forced(predictor)), predictor(**clip, draws=free(predictor))
    torch.testing.assert_close(on.predictions[:, 0], off.predictions[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(on.predictions[:, 1], off.predictions[:, 1], atol=1e-4)


@torch.inference_mode()
def test_forced_frames_are_chosen_one_by_one(fed_back: Config) -> None:
    predictor = awake(fed_back)
    clip = random_clip(predictor)
    mixed = free(predictor).forced.clone()
    remembers = bool(predictor.networks.memory_shape[0])  # then z knows what was painted before, too
    mixed[0, 0 if remembers else 2 : 3] = True  # clip 0, third prediction: painted from the true frame
    drawn = (free(predictor)._replace(forced=mixed), forced(predictor), free(predictor))
    result, on, off = (predictor(**clip, draws=draws) for draws in drawn)
    torch.testing.assert_close(result.predictions[0, 2], on.predictions[0, 2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.predictions[1], off.predictions[1], atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_fed_back_predictions(fed_back: Config) -> None:
    """Without that the sum would not be trained as the bound on log p(x_2..T | x_1, p)."""
    predictor = awake(fed_back)
    clip = random_clip(predictor)
    draws = free(predictor)
    draws.noise.requires_grad_(True)
    predictor(**clip, draws=draws).mse[:, -1].sum().backward()
    assert draws.noise.grad is not None
    assert draws.noise.grad[:, 0].any()  # the first z moves the last frame, through every frame between


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_a_first_frame_not_given_is_not_seen(fed_back: Config, start: Callable[[Predictor], Draws]) -> None:
    """Not by the painter: the first prediction is the same whatever the frame was, and another than with it."""
    predictor = awake(fed_back)
    clip = random_clip(predictor)
    draws = start(predictor)
    hidden = draws._replace(given=torch.tensor([False, True]))
    changed = clip | {"frames": torch.cat((clip["frames"][:, :1].flip(-1), clip["frames"][:, 1:]), 1)}
    seen, unseen, other = (
        predictor(**c, draws=d).predictions[:, 0] for c, d in ((clip, draws), (clip, hidden), (changed, hidden))
    )
    torch.testing.assert_close(unseen[0], other[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(unseen[0], seen[0], atol=1e-4)
    torch.testing.assert_close(unseen[1], seen[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_an_imagined_clip_is_what_a_rollout_would_paint(either: Config, start: Callable[[Predictor], Draws]) -> None:
    """z is the prior's mean: no noise moves it, no target either, and it costs nothing."""
    predictor = awake(either)
    clip = random_clip(predictor)
    draws = start(predictor)
    draws = draws._replace(noise=draws.noise[:1], first_noise=draws.first_noise[:1])  # the second clip is imagined
    assert draws.observed().tolist() == [[True] * 4, [False] * 4]
    noisier = draws._replace(noise=draws.noise + 1.0)
    one, two = predictor(**clip, draws=draws), predictor(**clip, draws=noisier)
    torch.testing.assert_close(one.predictions[1], two.predictions[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(one.predictions[0], two.predictions[0], atol=1e-4)
    assert one.rate_nats[0].all()
    assert not one.rate_nats[1].any()
    networks = predictor.networks
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    first = networks.encode_frame(clip["frames"][:, 0])
    painted, _ = predictor.imagine_step(
        first if networks.feedback else (),
        networks.encode_condition(clip["poses"][:, 1], anchor),
        predictor.begin(first, clip["poses"][:, 0], anchor)[0],
        None,
    )
    torch.testing.assert_close(one.predictions[1, 0], painted[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("start", [free, forced])
def test_observed_and_imagined_clips_do_not_mix(either: Config, start: Callable[[Predictor], Draws]) -> None:
    """A clip is predicted in a mixed batch as it is alone."""
    predictor = awake(either)
    clip, whole = random_clip(predictor), start(predictor)
    mixed = whole._replace(noise=whole.noise[:1], first_noise=whole.first_noise[:1])
    together = predictor(**clip, draws=mixed)
    for number, row in enumerate((slice(0, 1), slice(1, 2))):
        own = Draws(*(part[row] for part in mixed))
        alone = predictor(**{name: part[row] for name, part in clip.items()}, draws=own)
        torch.testing.assert_close(together.predictions[number], alone.predictions[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.rate_nats[number], alone.rate_nats[0], atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def test_without_feedback_nothing_depends_on_the_frames_before() -> None:
    predictor = awake(small("no feedback"))
    clip, draws = random_clip(predictor), free(predictor)
    other = clip | {"frames": torch.cat((clip["frames"][:, :3].flip(-1), clip["frames"][:, 3:]), 1)}
    one, two = (predictor(**each, draws=draws).predictions for each in (clip, other))
    torch.testing.assert_close(one[:, 2:], two[:, 2:], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(one[:, 0], two[:, 0], atol=1e-4)  # z saw its own frame


def test_time_major_keeps_channels_last_through_slices() -> None:
    x = torch.randn(2, 5, 3, 8, 8)
    flat = time_major(x)
    assert torch.equal(flat[2 * 3 : 2 * 4], x[:, 3])
    assert at((flat,), slice(2, 4))[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch_major(flat, 2), x)


def test_seeded_noise_depends_on_the_whole_key() -> None:
    keys = [(0,), (1,), (0, 1), (1, 0), (0, 1, 2), (2, 1, 0)]
    draws = {key: torch.randn(4, generator=seeded(*key)) for key in keys}
    assert all(torch.equal(draw, torch.randn(4, generator=seeded(*key))) for key, draw in draws.items())
    assert len({tuple(draw.tolist()) for draw in draws.values()}) == len(keys)
