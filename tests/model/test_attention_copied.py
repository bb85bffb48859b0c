"""Colours copied from the anchor: what is computed, what is kept, and that it can be learned."""

import pytest
import torch
from torch import nn

from posecast.config.schema import Anchored
from posecast.model.anchored import AnchoredNetworks
from posecast.model.attention import Copied, changed, places

CELL, SIZE = 2, (8, 16)


@pytest.fixture
def copied() -> Copied:
    torch.manual_seed(0)
    return Copied(8, CELL, SIZE).eval()


def features(seed: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 8, SIZE[0] // CELL, SIZE[1] // CELL, generator=torch.Generator().manual_seed(seed))


def photos(seed: int = 9) -> torch.Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_each_cell_is_a_mean_of_cells_weighed_by_attention(copied: Copied) -> None:
    pose, anchor, photo = features(1), features(2), photos()
    in_place, found = copied(pose, anchor, photo).chunk(2, 1)
    torch.testing.assert_close(in_place, photo)
    query = copied.ask(pose) + copied.ask_place(copied.place)
    key = copied.answer(anchor) + copied.answer_place(copied.place)
    for row, y, x in ((0, 0, 0), (1, 3, 7), (1, 2, 4)):
        weights = torch.softmax((query[row, :, y, x, None, None] * key[row]).sum(0).flatten() / 8**0.5, 0)
        pieces = photo[row].unfold(1, CELL, CELL).unfold(2, CELL, CELL).flatten(1, 2)  # [3, cells, 2, 2]
        expected = (weights[None, :, None, None] * pieces).sum(1)
        torch.testing.assert_close(found[row, :, CELL * y : CELL * y + CELL, CELL * x : CELL * x + CELL], expected)


def test_colours_nobody_has_seen_are_copied_as_any_other(copied: Copied) -> None:
    """Weights do not depend on colours beyond what features say: other colours, the same places."""
    pose, anchor, photo = features(1), features(2), photos()
    other = 1.0 - photo[:, [2, 0, 1]]
    in_other = copied(pose, anchor, other).unflatten(1, (2, 3))
    torch.testing.assert_close(in_other, 1.0 - copied(pose, anchor, photo).unflatten(1, (2, 3))[:, :, [2, 0, 1]])


def test_instants_ask_the_same_anchors(copied: Copied) -> None:
    instants, anchor, photo = [features(1), features(3), features(4)], features(2), photos()
    together = copied(torch.cat(instants), anchor, photo)
    torch.testing.assert_close(together, torch.cat([copied(pose, anchor, photo) for pose in instants]))


def test_in_bfloat16_colours_keep_the_steps_of_a_screen(copied: Copied) -> None:
    pose, anchor, photo = features(1), features(2), photos()
    with torch.autocast("cpu", torch.bfloat16):
        rough = copied(pose, anchor, photo)
    assert (rough - copied(pose, anchor, photo)).abs().max() < 2 / 255


def test_no_change_gives_the_copy_and_a_change_reaches_every_colour() -> None:
    photo = photos().clamp(0.01, 0.99)
    nothing = torch.zeros(2, 4, *SIZE)
    torch.testing.assert_close(changed(torch.cat((photo, photo), 1), nothing), photo)
    torch.testing.assert_close(changed(torch.cat((photo, 1 - photo), 1), nothing), torch.full_like(photo, 0.5))
    in_place = nothing.clone()
    in_place[:, 3] = 30.0
    torch.testing.assert_close(changed(torch.cat((photo, 1 - photo), 1), in_place), photo)
    white = nothing.clone()
    white[:, :3] = 20.0
    assert changed(torch.zeros(2, 6, *SIZE), white).min() > 0.99


def test_places_differ_and_neighbours_are_alike() -> None:
    waves = places(4, 8)[0].flatten(1).T
    likeness = waves @ waves.T
    assert (likeness.argmax(1) == torch.arange(32)).all()
    assert likeness[0, 1] > likeness[0, 4]


@pytest.mark.parametrize(("size", "scale"), [((32, 64), 0), ((64, 64), 0), ((64, 128), 1), ((256, 512), 2)])
def test_larger_pictures_are_looked_up_in_larger_pieces(size: tuple[int, int], scale: int) -> None:
    networks = AnchoredNetworks(Anchored(widths=(8, 8, 8), blocks=1, decoder="copy"), size)
    assert networks.copying == scale
    assert networks.copied is not None
    assert networks.copied.cell == 2 ** (scale + 1)


def test_it_learns_to_bring_a_colour_from_where_it_is() -> None:
    """A square of any colour stands on the left in the anchor and is asked for on the right; new colours come, too."""
    torch.manual_seed(0)
    copied = Copied(8, CELL, SIZE)
    read = nn.Conv2d(1, 8, CELL, stride=CELL)  # where a square is
    here, there = torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    here[..., 2:6, 2:6], there[..., 2:6, 10:14] = 1.0, 1.0

    def error(colours: torch.Tensor) -> torch.Tensor:
        count = len(colours)
        photo = here * colours[:, :, None, None] + (1 - here) * 0.5
        target = there * colours[:, :, None, None] + (1 - there) * 0.5
        found = copied(read(there).expand(count, -1, -1, -1), read(here).expand(count, -1, -1, -1), photo)[:, 3:]
        return (found - target).square().mean()

    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([*copied.parameters(), *read.parameters()], 0.03)
    before = error(torch.eye(3)).item()
    for _ in range(150):
        optimizer.zero_grad()
        error(torch.rand(8, 3, generator=generator) * 0.5 + 0.25).backward()
        optimizer.step()
    assert error(torch.eye(3)).item() < 0.05 * before  # pure red, green and blue were in no batch
