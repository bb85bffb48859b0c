"""The pose asks the whole anchor: where the answer is does not matter, what it is does."""

import pytest
import torch

from posecast.model.attention import HEADS, AnchorAttention


@pytest.fixture
def attention() -> AnchorAttention:
    torch.manual_seed(0)
    layer = AnchorAttention(16)
    torch.nn.init.normal_(layer.out.weight)
    return layer.eval()


def cells(seed: int) -> torch.Tensor:
    return torch.randn(2, 16, 3, 5, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_attention_of_the_paper(attention: AnchorAttention) -> None:
    """Vaswani et al. 2017, equation 1, head by head."""
    pose, anchor = cells(1), cells(2)
    query, key, value = attention.ask(pose), attention.answer(anchor), attention.value(anchor)
    depth = 16 // HEADS
    found = torch.empty_like(query)
    for head in range(HEADS):
        of_head = slice(head * depth, (head + 1) * depth)
        q, k, v = (x[:, of_head].flatten(2) for x in (query, key, value))
        weights = torch.einsum("ndl,ndm->nlm", q, k).div(depth**0.5).softmax(2)
        found[:, of_head] = torch.einsum("nlm,ndm->ndl", weights, v).unflatten(2, (3, 5))
    torch.testing.assert_close(attention(pose, anchor), attention.out(found))


@pytest.mark.parametrize("few", [0, 1024])
def test_instants_ask_the_same_anchors(attention: AnchorAttention, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-major, each instant as it would alone; by torch's kernel and by products of matrices."""
    monkeypatch.setattr("posecast.model.attention.FEW_CELLS", few)
    anchor, instants = cells(2), [cells(seed) for seed in (3, 4, 5)]
    together = attention(torch.cat(instants), anchor)
    monkeypatch.undo()
    alone = torch.cat([attention(pose, anchor) for pose in instants])
    torch.testing.assert_close(together, alone)


def test_where_the_anchor_shows_it_does_not_matter(attention: AnchorAttention) -> None:
    pose, anchor = cells(1), cells(2)
    shuffled = anchor.flatten(2)[:, :, torch.randperm(15)].unflatten(2, (3, 5))
    torch.testing.assert_close(attention(pose, shuffled), attention(pose, anchor))
    assert not torch.allclose(attention(pose, cells(3)), attention(pose, anchor))


def test_cells_that_ask_alike_are_answered_alike(attention: AnchorAttention) -> None:
    pose = cells(1)[:, :, :1, :1].expand(-1, -1, 3, 5)
    answered = attention(pose, cells(2))
    torch.testing.assert_close(answered, answered[:, :, :1, :1].expand_as(answered))


def test_channels_last_stays(attention: AnchorAttention) -> None:
    asked = cells(1).contiguous(memory_format=torch.channels_last)
    assert attention(asked, asked).is_contiguous(memory_format=torch.channels_last)
