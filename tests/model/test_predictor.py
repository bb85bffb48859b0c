"""Time: a clip at once equals frame by frame; teacher forcing differs only where it may."""

import torch

from posecast.config import Config
from posecast.model.predictor import Predictor, at, batch_major, seeded, time_major


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
        "noise": torch.randn(2, num_instants - 1, *predictor.latent_shape, generator=generator),
    }


def forced(rate: bool, num_instants: int = 5) -> torch.Tensor:
    return torch.full((2, num_instants - 1), rate)


@torch.inference_mode()
def test_a_clip_at_once_equals_frame_by_frame(either: Config) -> None:
    """All forced runs as one batch; step by step with the true previous frame must give the same."""
    predictor = awake(either)
    clip = random_clip(predictor)
    at_once = predictor(**clip, forced=forced(True))
    networks = predictor.networks
    anchor = networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"])
    for t in range(4):
        frames = clip["frames"]
        painted, rate = predictor.observe_step(
            networks.encode_frame(frames[:, t + 1]),
            networks.encode_frame(frames[:, t]),
            networks.encode_pose(clip["poses"][:, t + 1]),
            anchor,
            clip["noise"][:, t],
        )
        torch.testing.assert_close(at_once.predictions[:, t], painted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(at_once.rate_nats[:, t], rate, atol=1e-3, rtol=1e-4)
        mse = (painted - frames[:, t + 1]).square().mean((1, 2, 3))
        torch.testing.assert_close(at_once.mse[:, t], mse, atol=1e-6, rtol=1e-4)


@torch.inference_mode()
def test_feedback_feeds_the_own_prediction_back(either: Config) -> None:
    predictor = awake(either)
    clip = random_clip(predictor)
    fed_back = predictor(**clip, forced=forced(False)).predictions
    networks = predictor.networks
    painted, _ = predictor.observe_step(
        networks.encode_frame(clip["frames"][:, 3]),
        networks.encode_frame(fed_back[:, 1]),
        networks.encode_pose(clip["poses"][:, 3]),
        networks.encode_anchor(clip["anchor_frame"], clip["anchor_pose"]),
        clip["noise"][:, 2],
    )
    torch.testing.assert_close(fed_back[:, 2], painted, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_forcing_on_and_off_agree_on_the_first_predicted_frame_only(either: Config) -> None:
    predictor = awake(either)
    clip = random_clip(predictor)
    on, off = predictor(**clip, forced=forced(True)), predictor(**clip, forced=forced(False))
    torch.testing.assert_close(on.predictions[:, 0], off.predictions[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(on.predictions[:, 1], off.predictions[:, 1], atol=1e-4)


@torch.inference_mode()
def test_forced_frames_are_chosen_one_by_one(either: Config) -> None:
    predictor = awake(either)
    clip = random_clip(predictor)
    mixed = forced(False)
    mixed[0, 2] = True  # clip 0, third prediction: painted from the true frame
    result, on, off = (predictor(**clip, forced=f) for f in (mixed, forced(True), forced(False)))
    torch.testing.assert_close(result.predictions[0, 2], on.predictions[0, 2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.predictions[1], off.predictions[1], atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_fed_back_predictions(either: Config) -> None:
    """Without that the sum would not be trained as the bound on log p(x_2..T | x_1, p)."""
    predictor = awake(either)
    clip = random_clip(predictor)
    clip["noise"].requires_grad_(True)
    predictor(**clip, forced=forced(False)).mse[:, -1].sum().backward()
    assert clip["noise"].grad is not None
    assert clip["noise"].grad[:, 0].any()  # the first z moves the last frame, through every frame between


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
