"""Puppet page in Chromium, opened from disk: what it computes, what a person can do with it, what it may not do."""

import base64
import importlib.resources
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecast.config.overrides import build_config
from posecast.config.schema import Config
from posecast.data.dancer.dance import Dance, dance
from posecast.data.pose_maps import SKELETON, draw_pose_maps
from posecast.data.recordings import Footage
from posecast.export.engine import is_installed
from posecast.export.page import BUILT_PAGE, PuppetFootage, RecordedDance, export_page
from posecast.model.checkpoint import load_run
from posecast.model.rollout import rollout_together
from posecast.model.rollout_input import RolloutInput
from posecast.training.train import train

from ..conftest import TINY, small

if not is_installed():
    pytest.skip("the extra posecast[export]", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
IS_BUILT = importlib.resources.files("posecast.export").joinpath(BUILT_PAGE).is_file()
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not IS_BUILT, reason="the page is not built; run `make page`"),
]

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "</script><img src=x onerror=alert(1)><b>Ann</b>"
PATIENCE_S = 300.0


@dataclass
class Browsed:
    """A page in the browser, with what it requested and reported."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def ask(self, expression: str, argument: Any = None) -> Any:
        return self.page.evaluate(expression, argument)

    def until(self, expression: str) -> Any:
        """Wait for something true; the page's policy forbids playwright's own way, which evaluates text."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if value := self.ask(expression):
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} stayed false; {self.complaints}")

    def floats(self, expression: str, argument: Any = None) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.ask(expression, argument)), np.float32)

    def rested(self) -> np.ndarray:
        """Return the picture once it no longer changes."""
        before, deadline = -1, time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            time.sleep(0.5)
            after = self.ask("posecast.step")
            if after == before:
                return self.floats("posecast.pictures()")
            before = after
        raise AssertionError(f"the picture does not stand still; {self.complaints}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visitor(browser: Any) -> Iterator[Callable[..., Browsed]]:
    """Yield a function that opens a file and waits for its networks; every page is closed at the end."""
    contexts: list[Any] = []

    def opened(path: Path, **options: Any) -> Browsed:
        usual = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US"}
        contexts.append(browser.new_context(**usual | options))
        browsed = Browsed(contexts[-1].new_page())
        browsed.page.on("request", lambda request: browsed.requests.append(request.url))
        browsed.page.on("pageerror", lambda error: browsed.complaints.append(str(error)))
        browsed.page.on("console", lambda message: browsed.complaints.append(message.text))
        browsed.page.on("dialog", lambda dialog: browsed.complaints.append(dialog.message))
        browsed.page.goto(path.as_uri())
        browsed.until("(window.posecast?.step ?? -1) >= 0")
        return browsed

    try:
        yield opened
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Browsed]]:
    """Return a function that opens a file in a page of this test."""
    with visitor(browser) as opened:
        yield opened


@dataclass(frozen=True)
class Puppet:
    """A run, its page, and the dance in it."""

    run: Path
    file: Path
    danced: Dance

    def expected(self, num_frames: int) -> np.ndarray:
        """Return the mean rollout by torch, `[T, 3, H, W]`."""
        recording = self.danced.recording
        inputs = [RolloutInput(recording.frames[0], recording.poses[: num_frames + 1])]
        return np.concatenate([batch.numpy() for batch in rollout_together(load_run(self.run), inputs)])


def made(folder: Path, config: Config, name: str, num_frames: int = 80) -> Puppet:
    size = tuple(int(side) for side in config.size.split("x"))
    danced = dance(num_frames, size=size)
    train(config, Footage([danced.recording], [danced.recording]), folder / "run", precision="32-true")
    joints = danced.keypoints[:, :, :2]
    joints = np.where(danced.keypoints[:, :, 2:] > 0, joints, np.nan)
    dances = [RecordedDance("dance", joints[1:]), RecordedDance("maps", None, danced.recording.poses[1:])]
    frames, poses = danced.recording.frames, danced.recording.poses
    footage = PuppetFootage(frames[0], poses[0], joints[0], True, dances, 28.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("posecast.export.engine.graphs_folder", lambda: folder / "cache")
        export_page(folder / "run", folder / "page.html", footage, name=name)
    return Puppet(folder / "run", folder / "page.html", danced)


@pytest.fixture(scope="module")
def puppet(tmp_path_factory: pytest.TempPathFactory) -> Puppet:
    flags = {**TINY, "size": "32x64", "latent_channels": 4, "latent_scope": "global", "prior": "stationary"}
    flags |= {"feedback": "none", "steps": 120, "warmup_steps": 10, "initial_weights": "random"}
    return made(tmp_path_factory.mktemp("puppet"), build_config("anchored", flags=flags), HOSTILE)


@pytest.fixture(scope="module")
def opened(browser: Any, puppet: Puppet) -> Iterator[Browsed]:
    with visitor(browser) as opened:
        yield opened(puppet.file)


@pytest.fixture
def browsed(opened: Browsed) -> Browsed:
    """Return the page as after opening it."""
    opened.page.check("input[name=futures][value='1']")
    opened.page.set_checked("#pinned", True)
    opened.page.select_option("#dances", "0")
    opened.page.click("#reset")
    opened.rested()
    return opened


def psnr_db(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.square(ours.astype(float) - theirs).mean(), 1e-20)))


def test_opening_requests_nothing_and_reports_nothing(browsed: Browsed, puppet: Puppet) -> None:
    assert browsed.requests[0] == puppet.file.as_uri()
    assert all(address.startswith(("data:", "blob:")) for address in browsed.requests[1:])
    assert browsed.complaints == []


def test_nothing_can_be_requested(visit: Callable[..., Browsed], puppet: Puppet) -> None:
    browsed = visit(puppet.file)
    refused = browsed.ask("fetch('https://example.org/').then(() => false, () => true)")
    assert refused
    assert any("Content Security Policy" in complaint for complaint in browsed.complaints)


def test_a_hostile_name_is_text(browsed: Browsed) -> None:
    assert browsed.ask("document.getElementById('name').textContent") == HOSTILE
    assert browsed.ask("document.querySelectorAll('img, b').length") == 0
    assert HOSTILE in browsed.ask("document.title")


def test_pose_maps_equal_those_of_python(browsed: Browsed) -> None:
    rng = np.random.default_rng(0)
    count, (height, width) = 1000, (32, 64)
    centre = rng.uniform([-10, -10], [width + 10, height + 10], (count, 1, 2))
    poses = centre + rng.normal(0, 1, (count, len(SKELETON), 2)) * rng.choice([0.1, 2, 8, 40], (count, 1, 1))
    poses[rng.random(poses.shape[:2]) < 0.1] = np.nan
    poses[:20] = np.nan
    poses[20:40] = np.round(poses[20:40])
    poses = poses.astype(np.float32)
    plain = [[None if np.isnan(value) else float(value) for value in pose.ravel()] for pose in poses]
    drawn = np.frombuffer(base64.b64decode(browsed.ask("poses => posecast.poseMaps(poses)", plain)), np.uint8)
    expected = draw_pose_maps(poses, (height, width))
    assert np.abs(drawn.reshape(expected.shape).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("dance_number", [0, 1])
def test_frames_of_a_dance_equal_those_of_python(browsed: Browsed, puppet: Puppet, dance_number: int) -> None:
    frames = browsed.floats("number => posecast.frames(number, 79)", dance_number).reshape(79, 3, 32, 64)
    assert psnr_db(frames, puppet.expected(79)) >= 60


@pytest.mark.parametrize("kind", ["lab4", "fixed", "learned", "recurrent", "stationary", "no feedback"])
def test_frames_of_all_networks_equal_those_of_python(kind: str, visit: Callable[..., Browsed], tmp_path: Path) -> None:
    puppet = made(tmp_path, small(kind), kind, num_frames=40)
    browsed = visit(puppet.file)
    frames = browsed.floats("posecast.frames(0, 39)").reshape(39, 3, 16, 16)
    assert psnr_db(frames, puppet.expected(39)) >= 60
    browsed.page.check("input[name=futures][value='4']")
    browsed.page.click("#play")
    start = browsed.ask("posecast.step")
    browsed.until(f"posecast.step > {start + 5}")
    assert browsed.complaints == []


def test_the_play_button_plays_the_frames_of_python(browsed: Browsed, puppet: Puppet) -> None:
    browsed.page.click("#play")
    seen = {}
    time.sleep(0.5)  # by when it has begun
    while max(seen, default=0) < 50:
        step, picture = browsed.ask("[posecast.step, posecast.pictures()]")
        seen[step] = np.frombuffer(base64.b64decode(picture), np.float32).reshape(3, 32, 64)
    expected = puppet.expected(79)
    pairs = [(frame, expected[step - 1]) for step, frame in seen.items() if 3 <= step < 75]
    assert len(pairs) > 5
    assert psnr_db(np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])) >= 60


def test_dragging_a_hand_moves_pixels_and_keeps_lengths(browsed: Browsed) -> None:
    before, joints = browsed.rested(), np.reshape(browsed.ask("posecast.joints()"), (-1, 2))
    handle = browsed.page.locator("[data-handle=left_wrist]")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browsed.page.mouse.move(x, y)
    browsed.page.mouse.down()
    browsed.page.mouse.move(x + 60, y - 160, steps=8)
    browsed.page.mouse.up()
    after, moved = browsed.rested(), np.reshape(browsed.ask("posecast.joints()"), (-1, 2))
    assert np.abs(after - before).max() > 1e-3  # a tiny network; equal poses give equal pictures
    names = [joint.name for joint in SKELETON]
    changed = {name for name, far in zip(names, np.abs(moved - joints).max(1) > 1e-3, strict=True) if far}
    assert {"left_wrist", "left_hand"} <= changed <= {"left_elbow", "left_wrist", "left_hand"}
    limbs = [(names.index(joint.parent), row) for row, joint in enumerate(SKELETON) if joint.parent]
    old, new = (np.array([np.linalg.norm(points[a] - points[b]) for a, b in limbs]) for points in (joints, moved))
    is_free = [names[row] in ("left_elbow", "left_wrist") for _, row in limbs]  # foreshortened limbs may be stretched
    np.testing.assert_allclose(new[~np.array(is_free)], old[~np.array(is_free)], atol=1e-3)
    assert (new[is_free] >= old[is_free] - 1e-3).all()


def test_pinned_feet_stay_when_the_hips_move(browsed: Browsed) -> None:
    names = [joint.name for joint in SKELETON]
    feet = [names.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "heel", "toe")]
    moves = {}
    for is_pinned in (True, False):
        browsed.page.click("#reset")
        browsed.rested()
        browsed.page.set_checked("#pinned", is_pinned)
        before = np.reshape(browsed.ask("posecast.joints()"), (-1, 2))
        browsed.page.focus("[data-handle=mid_hip]")
        for _ in range(4):
            browsed.page.keyboard.press("ArrowDown")
        browsed.rested()
        moves[is_pinned] = np.reshape(browsed.ask("posecast.joints()"), (-1, 2)) - before
    np.testing.assert_allclose(moves[True][feet], 0, atol=1e-3)
    assert moves[True][names.index("neck"), 1] > 0.5
    np.testing.assert_allclose(moves[False][:, 1], 4 * 32 / 64, atol=1e-3)


def test_futures_differ_and_a_reset_repeats_them(browsed: Browsed) -> None:
    browsed.page.check("input[name=futures][value='4']")
    seen = []
    for _ in range(2):
        browsed.page.click("#reset")
        time.sleep(0.5)  # by when it has begun
        browsed.until("posecast.step > 20")
        seen.append(browsed.ask("[posecast.step, posecast.pictures()]"))
    pictures = [np.frombuffer(base64.b64decode(text), np.float32).reshape(4, -1) for _, text in seen]
    distances = [np.abs(a - b).max() for a, b in itertools.combinations(pictures[0], 2)]
    assert min(distances) > 1e-4
    if seen[0][0] == seen[1][0]:
        np.testing.assert_array_equal(*pictures)
    assert browsed.ask("document.querySelectorAll('figure:not([hidden])').length") == 4
    browsed.page.check("input[name=futures][value='1']")
    browsed.rested()
    assert browsed.ask("document.querySelectorAll('figure:not([hidden])').length") == 1


def test_a_slider_of_z_changes_the_picture_for_good(browsed: Browsed) -> None:
    before = browsed.rested()
    slider = browsed.page.locator("#sliders input").first
    slider.fill("3")
    moved = browsed.rested()
    browsed.ask("() => document.querySelector('#sliders input').dispatchEvent(new Event('input'))")
    again = browsed.rested()
    assert np.abs(moved - before).max() > 4 * np.abs(again - moved).max()
    browsed.page.click("#reset")
    assert np.abs(browsed.rested() - before).max() < 2 / 255
    assert browsed.ask("document.querySelector('#sliders output').textContent") == "0.0"


def test_a_dance_without_joints_can_be_played_and_left(browsed: Browsed) -> None:
    browsed.page.select_option("#dances", "1")
    browsed.page.click("#play")
    browsed.until("posecast.step > 5 && posecast.joints() === null")
    browsed.page.click("#play")
    browsed.until("posecast.joints() !== null")
    assert browsed.complaints == []


def test_a_dance_begins_again_at_its_end(browsed: Browsed) -> None:
    browsed.page.locator("#position").fill("70")
    browsed.rested()
    browsed.page.click("#play")
    browsed.until("Number(document.getElementById('position').value) > 72")
    browsed.until("Number(document.getElementById('position').value) < 20")


@pytest.mark.parametrize(
    ("options", "language"), [({"locale": "zh-TW"}, "zh-TW"), ({"locale": "de-DE"}, "en"), ({"locale": "en-GB"}, "en")]
)
def test_the_language_is_that_of_the_browser_and_can_be_switched(
    options: dict[str, Any], language: str, visit: Callable[..., Browsed], puppet: Puppet
) -> None:
    browsed, texts = visit(puppet.file, **options), {"en": "Reset", "zh-TW": "重設"}
    other = "en" if language == "zh-TW" else "zh-TW"
    for expected in (language, other):
        assert browsed.ask("document.documentElement.lang") == expected
        assert browsed.page.inner_text("#reset") == texts[expected]
        empty = browsed.ask("[...document.querySelectorAll('[data-text]')].filter(e => !e.textContent).length")
        assert empty == 0
        browsed.page.click("#language")


@pytest.mark.parametrize(("width", "scheme"), list(itertools.product((320, 390, 768, 1600), ("light", "dark"))))
def test_no_width_scrolls_sideways(width: int, scheme: str, visit: Callable[..., Browsed], puppet: Puppet) -> None:
    browsed = visit(puppet.file, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for language in range(2):
        for futures in (1, 4):
            browsed.page.check(f"input[name=futures][value='{futures}']")
            assert browsed.ask("document.documentElement.scrollWidth") <= width, (language, futures)
        browsed.page.click("#language")


def test_everything_can_be_reached_by_keyboard_and_has_a_name(browsed: Browsed) -> None:
    browsed.page.check("input[name=futures][value='2']")
    unnamed = browsed.ask(
        """[...document.querySelectorAll('button, select, input, canvas, [role]')].filter(element =>
            !element.closest('[hidden]') && !element.getAttribute('aria-label') && !element.textContent.trim()
            && !element.labels?.[0]?.textContent.trim()).map(element => element.outerHTML)"""
    )
    assert unnamed == []
    reached = set()
    browsed.page.focus("#language")
    for _ in range(60):
        browsed.page.keyboard.press("Tab")
        reached.add(browsed.ask("document.activeElement.id || document.activeElement.dataset.handle"))
    assert {"play", "dances", "position", "reset", "pinned", "left_wrist", "right_ankle", "nose"} <= reached


def test_less_motion_is_respected(visit: Callable[..., Browsed], puppet: Puppet) -> None:
    browsed = visit(puppet.file, reduced_motion="reduce")
    halo = "document.querySelector('.inviting [data-handle$=wrist] .halo')"
    assert browsed.ask(f"getComputedStyle({halo}).animationName") == "none"
    browsed.rested()
    assert not browsed.ask("document.getElementById('play').classList.contains('playing')")
