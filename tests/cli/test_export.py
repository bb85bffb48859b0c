"""The command export: what it asks for, and refusals before long work."""

from pathlib import Path

import pytest

from posecast.cli.main import main


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "graphs", "--data", "DATA"], "--data is not for --format onnx"),
        (["--out", "graphs", "--name", "Ann"], "--name is not for --format onnx"),
        (["--out", "ann.html", "--format", "page", "--consent", "Ann agreed."], "--consent is not for --format page"),
        (["--out", "hub", "--format", "hub"], "--format hub needs --consent TEXT"),
        (["--out", "hub", "--format", "hub", "--consent", " "], "--consent has 0 characters"),
        (["--out", "hub", "--format", "hub", "--consent", "Ann.", "--licence", "No: x"], "expected an identifier"),
        (["--out", "ann.html", "--format", "page"], "--format page needs --data DATA"),
        (["--out", "ann", "--format", "page", "--data", "DATA"], "expected a file name that ends in .html"),
        (["--out", "ann.html", "--format", "page", "--data", "DATA", "--name", " "], "expected 1 to 80"),
        (["--out", "ann.html", "--format", "gif"], "gif"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "RUN", *words]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
