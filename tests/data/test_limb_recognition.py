"""Recognition and exchange of limb colours, compared with pose maps drawn from keypoints."""

import numpy as np

from posecast.data.dancer.dance import dance
from posecast.data.limb_recognition import PARTNERS, exchange_sides, limb_shown
from posecast.data.pose_maps import JOINT_INDEX, SKELETON, draw_pose_map, draw_pose_maps

SIZE = (128, 256)


def keypoints() -> np.ndarray:
    return dance(60, size=SIZE, seed=3).keypoints[::6]


def ink(poses: np.ndarray) -> np.ndarray:
    return 255.0 - poses.astype(float)


def test_partners_are_mutual() -> None:
    assert (PARTNERS[PARTNERS] == np.arange(len(SKELETON))).all()
    assert PARTNERS[JOINT_INDEX["left_knee"]] == JOINT_INDEX["right_knee"]
    assert PARTNERS[JOINT_INDEX["neck"]] == JOINT_INDEX["neck"]


def test_white_stays_white() -> None:
    white = np.full((2, 4, 4, 3), 255, np.uint8)
    assert (exchange_sides(white) == 255).all()
    assert (limb_shown(white) == -1).all()


def test_exchanged_colours_match_exchanged_keypoints() -> None:
    """The result is far closer to pose maps of a skeleton with exchanged sides than the original is."""
    points = keypoints()
    plain, expected = draw_pose_maps(points, SIZE), draw_pose_maps(points[:, PARTNERS], SIZE)
    error = np.abs(ink(exchange_sides(plain)) - ink(expected)).sum()
    assert error < 0.35 * np.abs(ink(plain) - ink(expected)).sum()


def test_exchanging_twice_changes_little() -> None:
    plain = draw_pose_maps(keypoints(), SIZE)
    again = exchange_sides(exchange_sides(plain))
    assert np.abs(ink(again) - ink(plain)).sum() < 0.25 * ink(plain).sum()


def test_a_limb_drawn_alone_is_recognised() -> None:
    for name in ("left_knee", "right_elbow", "left_shoulder", "right_ankle"):
        child = JOINT_INDEX[name]
        points = np.full((len(SKELETON), 2), np.nan)
        points[child] = (130.0, 60.0)
        points[JOINT_INDEX[str(SKELETON[child].parent)]] = (150.0, 90.0)
        limb = limb_shown(draw_pose_map(points, SIZE))[70:80, 130:150]
        assert (limb[limb >= 0] == child).mean() > 0.7, name  # neighbouring limbs have nearly the same hue
