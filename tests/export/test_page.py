"""Content of a puppet page, texts in it, and refusals."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from posecast.config.schema import parse_size
from posecast.data.dancer.dance import dance
from posecast.data.dancer.dataset import Choreography, write_synthetic
from posecast.data.images import write_png
from posecast.data.pose_maps import SKELETON, draw_pose_maps
from posecast.errors import InputError
from posecast.export import page
from posecast.export.engine import is_installed
from posecast.export.page import CONTENT, PuppetFootage, RecordedDance, export_page, filled, page_content
from posecast.model.checkpoint import load_run
from posecast.video.extracted_poses import Poses, write_poses
from posecast.video.puppet_footage import puppet_footage

EMPTY_PAGE = f"<html><body>{CONTENT}<script>code</script></body></html>"
SIZE = (16, 16)


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), dtype)


@pytest.fixture
def footage() -> PuppetFootage:
    danced = dance(6, size=SIZE)
    joints = danced.keypoints[:, :, :2]
    photo, pose = danced.recording.frames[0], danced.recording.poses[0]
    return PuppetFootage(photo, pose, joints[0], True, [RecordedDance("dance", joints[1:])], 28.0)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic data set of two recordings."""
    data = tmp_path_factory.mktemp("page") / "data"
    write_synthetic(data, Choreography(sequences=1, frames=12, size=SIZE))
    return data


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the page be a short one, so that the tests need no Node."""
    monkeypatch.setattr(page, "built_page", lambda: EMPTY_PAGE)


def test_content_describes_run_and_footage(run: Path, footage: PuppetFootage) -> None:
    predictor = load_run(run)
    content = page_content(predictor, footage, "  Ann  ")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["name"] == "Ann"
    assert content["about"]["size"] == predictor.config.size
    assert content["about"]["latent_shape"] == list(predictor.latent_shape)
    assert [joint["name"] for joint in content["about"]["skeleton"]] == [joint.name for joint in SKELETON]
    assert {"condition", "step"} <= set(content["graphs"])
    assert (unpacked(content["photo"], "u1").reshape(*SIZE, 3) == footage.photo).all()
    [danced] = content["dances"]
    joints = unpacked(danced["keypoints"], "<f4").reshape(danced["frames"], len(SKELETON), 2)
    np.testing.assert_array_equal(joints, footage.dances[0].keypoints)
    assert set(content["channels"]) <= set(range(predictor.latent_shape[0]))


def test_text_cannot_leave_its_block(run: Path, footage: PuppetFootage) -> None:
    name = "</script><script>alert(1)</script>&<!--\u2028\u202e"
    text = filled(EMPTY_PAGE, page_content(load_run(run), footage, name), {"step": b"graph"})
    assert text.count("<script") == text.count("</script>") == 3
    assert "<!--" not in text
    [content] = re.findall(r'id="content">(.*?)</script>', text, re.DOTALL)
    assert json.loads(content)["name"] == "</script><script>alert(1)</script>&<!--\ufffd\ufffd"
    [graph] = re.findall(r'id="graph-step">(.*?)</script>', text, re.DOTALL)
    assert unpacked(graph, "u1").tobytes() == b"graph"


def test_keypoints_of_the_synthetic_dancer_draw_its_pose_maps(drawn: Path) -> None:
    footage = puppet_footage(drawn, SIZE)
    assert footage.joints_are_of_photo
    assert [(dance.name, len(dance)) for dance in footage.dances] == [("val 1", 11), ("train 1", 12)]
    drawn_map = draw_pose_maps(footage.joints[None], SIZE)[0]
    assert np.abs(drawn_map.astype(int) - footage.photo_pose).max() <= 1


def test_extracted_keypoints_are_scaled_to_the_run(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synthetic(data, Choreography(sequences=1, frames=12, size=SIZE))
    exact = puppet_footage(data, SIZE)
    (data / "synth.json").unlink()
    names = [f"val/{path.stem}" for path in sorted((data / "val/val_img").iterdir())]
    every = np.concatenate([exact.joints[None], exact.dances[0].keypoints])
    confidence = np.isfinite(every[:, :, :1]).astype(np.float32)
    keypoints = np.concatenate([np.nan_to_num(every), confidence], 2)
    windows, sizes = np.tile([0.0, 0, 16, 16], (12, 1)), np.full((12, 2), 16.0)
    write_poses(data / "poses.npz", Poses(names, keypoints, windows, sizes, SIZE, 25.0), confidence[:, :, 0] > 2)
    footage = puppet_footage(data, (32, 32))
    assert footage.fps == 25.0
    assert footage.joints_are_of_photo
    np.testing.assert_allclose(footage.joints, 2 * exact.joints, rtol=1e-6)
    assert footage.dances[1].keypoints is None
    assert footage.dances[1].maps.shape == (12, 32, 32, 3)


def test_pose_maps_alone_give_a_standing_person(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synthetic(data, Choreography(sequences=1, frames=12, size=(32, 64)))
    joints = puppet_footage(data, (32, 64)).joints
    (data / "synth.json").unlink()
    footage = puppet_footage(data, (32, 64))
    assert not footage.joints_are_of_photo
    assert footage.dances[0].keypoints is None
    assert np.isfinite(footage.joints).all()
    height = np.ptp(footage.joints[:, 1])
    assert height == pytest.approx(np.nanmax(joints[:, 1]) - np.nanmin(joints[:, 1]), rel=0.2)
    assert footage.joints[1, 1] > footage.joints[0, 1]  # hips below the neck


def test_keypoints_of_other_images_are_not_used(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_synthetic(data, Choreography(sequences=1, frames=12, size=SIZE))
    for path in (data / "val/val_label").iterdir():
        write_png(path, np.zeros((*SIZE, 3), np.uint8))
    footage = puppet_footage(data, SIZE)
    assert footage.dances[0].keypoints is None
    assert footage.dances[1].keypoints is not None


def test_refusals_come_before_work(
    run: Path, footage: PuppetFootage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: None
) -> None:
    monkeypatch.setattr(page, "keep_graphs", lambda predictor: pytest.fail("computed"))
    taken = tmp_path / "taken.html"
    taken.write_text("mine")
    for out, name, sentence in (
        (taken, "Ann", "already exists"),
        (tmp_path / "page.zip", "Ann", r"ends in \.html"),
        (tmp_path / "page.html", " ", "0 characters"),
        (tmp_path / "page.html", "x" * 81, "81 characters"),
    ):
        with pytest.raises(InputError, match=sentence):
            export_page(run, out, footage, name=name)
    assert taken.read_text() == "mine"
    other = puppet_like(footage, np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(InputError, match="the size of the run"):
        export_page(run, tmp_path / "page.html", other, name="Ann")


def puppet_like(footage: PuppetFootage, photo: np.ndarray) -> PuppetFootage:
    return PuppetFootage(photo, footage.photo_pose, footage.joints, True, footage.dances, footage.fps)


def test_a_missing_page_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "BUILT_PAGE", "absent.html.gz")
    with pytest.raises(InputError, match="make page"):
        page.built_page()


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder train or val"):
        puppet_footage(tmp_path, SIZE)


@pytest.mark.long
def test_the_page_holds_the_graphs_and_its_size_is_limited(
    run: Path, footage: PuppetFootage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: None
) -> None:
    if not is_installed():
        pytest.skip("the extra posecast[export]")
    out = tmp_path / "page.html"
    parity, num_bytes = export_page(run, out, footage, name="Ann")
    text = out.read_text()
    assert parity.psnr_db > 60
    assert num_bytes == out.stat().st_size
    content = json.loads(re.findall(r'id="content">(.*?)</script>', text)[0])
    assert parse_size(content["about"]["size"]) == SIZE
    assert re.findall(r'id="graph-(\w+)"', text) == content["graphs"]
    monkeypatch.setattr(page, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="smaller networks"):
        export_page(run, out, footage, name="Ann", force=True)
    assert out.read_text() == text
