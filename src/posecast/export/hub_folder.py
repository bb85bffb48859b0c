"""A run as a folder in the conventions of model hubs: config.json, model.safetensors, and a model card.

In: a run folder, a statement of consent. Out: the folder, which `posecast.load_run` loads and which names neither the
data set nor its path. Nothing is uploaded. Next: `hub_card.md` is the card's template.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import posecast
from posecast.errors import InputError, printable
from posecast.files import check_claim, claim_folder, read_json, write_json, write_text
from posecast.model.checkpoint import RUN_MARKER, WEIGHTS, load_run, read_config, save_weights

CARD = "README.md"
FILES = (RUN_MARKER, WEIGHTS, CARD)
PRIVATE = ("source",)
"""Entries of config.json that say where the data set was."""
LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")
MAX_TEXT = 1000
BASELINES = {
    "copy_first_frame": "first frame, copied",
    "mean_frame": "mean training frame",
    "nearest_pose": "frame of the nearest pose",
    "mean_of_8_nearest_poses": "mean frame of the 8 nearest poses",
}
MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&]")
"""Characters that Markdown or HTML could take for markup."""


def export_hub(run: Path, out: Path, *, name: str, consent: str, licence: str = "other", force: bool = False) -> bool:
    """Write a run as a folder for a model hub.

    Args:
        run: Folder of the run.
        out: Folder to write.
        name: Name of the model.
        consent: Statement of the consent of the person in the footage, which stands in the card.
        licence: Identifier of the licence, as hubs write it.
        force: Whether an earlier export there may be replaced.

    Returns:
        Whether the card has scores.

    Raises:
        InputError: The run cannot be read, the folder may not be used, or a text is missing or too long.
    """
    texts = {"name": _checked("--name", name), "consent": _checked("--consent", consent)}
    if not LICENCE.fullmatch(licence):
        raise InputError(f"--licence is {printable(licence)!r}; expected an identifier such as apache-2.0 or other.")
    weights = load_run(run).state_dict()
    _, facts = read_config(run)
    check_claim(out, marker=CARD, force=force)
    scores = read_json(run / "scores.json", "the scores of a run") if (run / "scores.json").is_file() else None
    card = _card({**texts, "licence": licence}, facts, scores, sum(values.numel() for values in weights.values()))
    claim_folder(out, marker=CARD, ours=FILES, force=force)
    write_json(out / RUN_MARKER, {key: value for key, value in facts.items() if key not in PRIVATE})
    save_weights(out / WEIGHTS, weights)
    write_text(out / CARD, card)
    return scores is not None


def _checked(option: str, text: str) -> str:
    """Return a text as one line."""
    line = " ".join(text.split())
    if not 0 < len(line) <= MAX_TEXT:
        raise InputError(f"{option} has {len(line)} characters; expected 1 to {MAX_TEXT}.")
    return line


def _plain(value: Any) -> Any:
    """Return a text as one line of Markdown in which nothing is markup; other values as they are."""
    if not isinstance(value, str):
        return value
    return MARKUP.sub(lambda match: "\\" + match[0], printable(" ".join(value.split())))


def _card(texts: dict[str, str], facts: dict[str, Any], scores: dict[str, Any] | None, num_weights: int) -> str:
    """Return the model card."""
    environment = Environment(
        loader=PackageLoader("posecast", "export"),
        undefined=StrictUndefined,
        finalize=_plain,  # what a run of a stranger says stays text
        keep_trailing_newline=True,
    )
    machine = facts.get("machine") or {}
    return environment.get_template("hub_card.md").render(
        texts,
        version=posecast.__version__,
        size=facts["size"],
        recipe=facts["recipe"],
        num_weights=num_weights,
        num_steps=facts.get("num_steps"),
        seed=facts["seed"],
        processor=machine.get("processor"),
        precision=machine.get("precision"),
        initial_weights=facts.get("initial_weights"),
        scores=_scores(scores) if scores else None,
    )


def _scores(content: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the card's table and the definitions of its metrics.

    Raises:
        InputError: scores.json is not as `posecast evaluate` writes it.
    """
    try:
        psnr, ssim = content["summary"]["psnr_db"], content["summary"]["ssim"]
        futures = int(content["summary"]["futures"])
        rows = [("prior mean", float(psnr["mean"]), float(ssim["mean"]))]
        rows.append((f"average of {futures} samples", float(psnr["sample"]), float(ssim["sample"])))
        baselines = [(text, content["baselines"].get(key)) for key, text in BASELINES.items()]
        rows += [(text, float(value), None) for text, value in baselines if value is not None]
        return {
            "rows": rows,
            "split": str(content["split"]),
            "selected_on": str(content["selected_on"]),
            "num_sequences": len(content["sequences"]),
            "num_frames": sum(int(sequence["frames"]) for sequence in content["sequences"]),
            "psnr": str(content["psnr"]),
            "ssim": str(content["ssim"]),
            "seed": int(content["seed"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"scores.json is damaged ({error!r}); run 'posecast evaluate' again.") from error
