"""Attention from the pose to the anchor against the paper's equation; pixels copied from the anchor."""

import pytest
import torch
from torch import nn

from posecast.model.attention import HEADS, AnchorAttention, AnchorCopy, apply_change, position_encoding

CELL, SIZE = 2, (8, 16)


@pytest.fixture
def attention() -> AnchorAttention:
    torch.manual_seed(0)
    layer = AnchorAttention(16)
    torch.nn.init.normal_(layer.out.weight)
    return layer.eval()


def features(seed: int) -> torch.Tensor:
    return torch.randn(2, 16, 3, 5, generator=torch.Generator().manual_seed(seed))


def test_attention_is_that_of_the_paper(attention: AnchorAttention) -> None:
    """Compare with Vaswani et al. 2017, equation 1, head by head."""
    pose, anchor = features(1), features(2)
    query, key, value = attention.ask(pose), attention.answer(anchor), attention.value(anchor)
    depth = 16 // HEADS
    means = torch.empty_like(query)
    for head in range(HEADS):
        of_head = slice(head * depth, (head + 1) * depth)
        q, k, v = (x[:, of_head].flatten(2) for x in (query, key, value))
        weights = torch.einsum("ndl,ndm->nlm", q, k).div(depth**0.5).softmax(2)
        means[:, of_head] = torch.einsum("nlm,ndm->ndl", weights, v).unflatten(2, (3, 5))
    torch.testing.assert_close(attention(pose, anchor), attention.out(means))


@pytest.mark.parametrize("few_cells", [0, 1024])
def test_time_steps_attend_to_the_same_anchors(
    attention: AnchorAttention, few_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both torch's kernel and matrix products give for all time steps at once what they give for each alone."""
    monkeypatch.setattr("posecast.model.attention.FEW_CELLS", few_cells)
    anchor, time_steps = features(2), [features(seed) for seed in (3, 4, 5)]
    together = attention(torch.cat(time_steps), anchor)
    monkeypatch.undo()
    alone = torch.cat([attention(pose, anchor) for pose in time_steps])
    torch.testing.assert_close(together, alone)


def test_attention_does_not_depend_on_positions_in_the_anchor(attention: AnchorAttention) -> None:
    pose, anchor = features(1), features(2)
    shuffled = anchor.flatten(2)[:, :, torch.randperm(15)].unflatten(2, (3, 5))
    torch.testing.assert_close(attention(pose, shuffled), attention(pose, anchor))
    assert not torch.allclose(attention(pose, features(3)), attention(pose, anchor))


def test_equal_queries_give_equal_results(attention: AnchorAttention) -> None:
    pose = features(1)[:, :, :1, :1].expand(-1, -1, 3, 5)
    results = attention(pose, features(2))
    torch.testing.assert_close(results, results[:, :, :1, :1].expand_as(results))


def test_attention_keeps_channels_last(attention: AnchorAttention) -> None:
    pose = features(1).contiguous(memory_format=torch.channels_last)
    assert attention(pose, pose).is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def anchor_copy() -> AnchorCopy:
    torch.manual_seed(0)
    return AnchorCopy(8, CELL, SIZE).eval()


def cell_features(seed: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 8, SIZE[0] // CELL, SIZE[1] // CELL, generator=torch.Generator().manual_seed(seed))


def anchor_frames() -> torch.Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(9))


def test_each_copied_cell_is_a_mean_of_cells_weighted_by_attention(anchor_copy: AnchorCopy) -> None:
    pose, anchor, frames = cell_features(1), cell_features(2), anchor_frames()
    in_place, copied = anchor_copy(pose, anchor, frames).chunk(2, 1)
    torch.testing.assert_close(in_place, frames)
    query = anchor_copy.ask(pose) + anchor_copy.ask_place(anchor_copy.place)
    key = anchor_copy.answer(anchor) + anchor_copy.answer_place(anchor_copy.place)
    for row, y, x in ((0, 0, 0), (1, 3, 7), (1, 2, 4)):
        weights = torch.softmax((query[row, :, y, x, None, None] * key[row]).sum(0).flatten() / 8**0.5, 0)
        cells = frames[row].unfold(1, CELL, CELL).unfold(2, CELL, CELL).flatten(1, 2)  # [3, cells, 2, 2]
        expected = (weights[None, :, None, None] * cells).sum(1)
        torch.testing.assert_close(copied[row, :, CELL * y : CELL * y + CELL, CELL * x : CELL * x + CELL], expected)


def test_copies_are_linear_in_colours(anchor_copy: AnchorCopy) -> None:
    """Weights depend on features alone, so colours that were never trained on are copied as well as others."""
    pose, anchor, frames = cell_features(1), cell_features(2), anchor_frames()
    recoloured = 1.0 - frames[:, [2, 0, 1]]
    copies, recoloured_copies = (anchor_copy(pose, anchor, x).unflatten(1, (2, 3)) for x in (frames, recoloured))
    torch.testing.assert_close(recoloured_copies, 1.0 - copies[:, :, [2, 0, 1]])


def test_time_steps_copy_from_the_same_anchors(anchor_copy: AnchorCopy) -> None:
    time_steps = [cell_features(1), cell_features(3), cell_features(4)]
    anchor, frames = cell_features(2), anchor_frames()
    together = anchor_copy(torch.cat(time_steps), anchor, frames)
    torch.testing.assert_close(together, torch.cat([anchor_copy(pose, anchor, frames) for pose in time_steps]))


def test_bfloat16_changes_colours_by_less_than_two_steps_of_256(anchor_copy: AnchorCopy) -> None:
    pose, anchor, frames = cell_features(1), cell_features(2), anchor_frames()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = anchor_copy(pose, anchor, frames)
    assert (rounded - anchor_copy(pose, anchor, frames)).abs().max() < 2 / 255


def test_a_zero_change_gives_the_mean_of_both_copies_and_shifts_reach_every_colour() -> None:
    frames = anchor_frames().clamp(0.01, 0.99)
    no_change = torch.zeros(2, 4, *SIZE)
    torch.testing.assert_close(apply_change(torch.cat((frames, frames), 1), no_change), frames)
    mixed = apply_change(torch.cat((frames, 1 - frames), 1), no_change)
    torch.testing.assert_close(mixed, torch.full_like(frames, 0.5))
    in_place = no_change.clone()
    in_place[:, 3] = 30.0
    torch.testing.assert_close(apply_change(torch.cat((frames, 1 - frames), 1), in_place), frames)
    white = no_change.clone()
    white[:, :3] = 20.0
    assert apply_change(torch.zeros(2, 6, *SIZE), white).min() > 0.99


def test_position_encodings_differ_and_neighbours_are_alike() -> None:
    waves = position_encoding(4, 8)[0].flatten(1).T
    similarity = waves @ waves.T
    assert (similarity.argmax(1) == torch.arange(32)).all()
    assert similarity[0, 1] > similarity[0, 4]


def test_a_copy_learns_to_move_colours() -> None:
    """A square on the left of the anchor is needed on the right; colours that were not trained on must come, too."""
    torch.manual_seed(0)
    anchor_copy = AnchorCopy(8, CELL, SIZE)
    encoder = nn.Conv2d(1, 8, CELL, stride=CELL)  # encodes the position of a square
    left, right = torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    left[..., 2:6, 2:6], right[..., 2:6, 10:14] = 1.0, 1.0

    def error(colours: torch.Tensor) -> torch.Tensor:
        count = len(colours)
        frames = left * colours[:, :, None, None] + (1 - left) * 0.5
        target = right * colours[:, :, None, None] + (1 - right) * 0.5
        pose, anchor = (encoder(square).expand(count, -1, -1, -1) for square in (right, left))
        return (anchor_copy(pose, anchor, frames)[:, 3:] - target).square().mean()

    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([*anchor_copy.parameters(), *encoder.parameters()], 0.03)
    before = error(torch.eye(3)).item()
    for _ in range(150):
        optimizer.zero_grad()
        error(torch.rand(8, 3, generator=generator) * 0.5 + 0.25).backward()
        optimizer.step()
    assert error(torch.eye(3)).item() < 0.05 * before  # pure red, green and blue are in no batch
