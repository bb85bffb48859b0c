"""Time-major rows against indexing, and their memory order."""

import pytest
import torch

from posecast.model.layout import (
    batch_major,
    by_time_step,
    expand_rows,
    first_clips,
    repeat_rows,
    rows_of_clips,
    slice_rows,
    time_major,
)

CLIPS = torch.randn(3, 5, 2, 8, 8)


def test_time_major_keeps_channels_last_through_slices() -> None:
    rows = time_major(CLIPS)
    assert torch.equal(rows[3 * 3 : 3 * 4], CLIPS[:, 3])
    assert slice_rows((rows,), slice(3, 6))[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(by_time_step((rows,), 3)[3][0], CLIPS[:, 3])
    assert torch.equal(batch_major(rows, 3), CLIPS)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_first_clips_are_those_of_every_time_step(count: int) -> None:
    rows = time_major(CLIPS)
    assert torch.equal(first_clips(rows, 3, count), time_major(CLIPS[:count]))
    assert torch.equal(first_clips(rows[:3], 3, count), CLIPS[:count, 0])
    assert torch.equal(first_clips(time_major(CLIPS[:, :, 0, 0, 0]), 3, count), time_major(CLIPS[:count, :, 0, 0, 0]))


def test_rows_are_split_by_clips() -> None:
    parts = rows_of_clips(time_major(CLIPS), [2, 1])
    assert torch.equal(parts[0], time_major(CLIPS[:2]))
    assert torch.equal(parts[1], time_major(CLIPS[2:]))
    assert all(part.stride(1) == 1 for part in parts)  # channels still vary fastest


def test_repeated_rows_stand_next_to_each_other() -> None:
    rows = CLIPS[:, 0]
    for repeated in (repeat_rows((rows,), 2)[0], expand_rows((rows,), 2)[0]):
        assert torch.equal(repeated, rows[[0, 0, 1, 1, 2, 2]])
        assert repeated.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(expand_rows((rows[:1],), 4)[0], rows[[0, 0, 0, 0]])
    assert expand_rows((), 4) == repeat_rows((), 4) == ()
