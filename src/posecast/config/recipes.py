"""Named recipes: complete configurations.

Out: `RECIPES`, by name. Next: `overrides.py`, which applies a settings file and flags to a recipe.
"""

from __future__ import annotations

import dataclasses

from posecast.config.schema import Anchored, Bound, Budget, Config, Lab4, Training

RECIPES: dict[str, Config] = {
    # docs/explanation/architecture.md gives the reason for each value.
    "anchored": Config(
        "anchored",
        Anchored(attention=2, feedback="none", pose_blocks=1, finest_blocks=0),
        training=Training(
            initial_weights="dancers",
            clip_length=2,
            batch_size=14,
            optimizer="muon",
            prior_mean_share=0.5,
            shift_prob=0.5,
            pose_dropout=0.1,
            validate_every=10,
        ),
    ),
    # The assignment's networks and KL weight, with settings that work in its public solutions.
    "lab4": Config(
        "lab4",
        Lab4(),
        bound=Bound(likelihood_variance="course"),
        training=Training(
            clip_length=16,
            batch_size=2,
            optimizer="adam",
            learning_rate=1e-3,
            warmup_steps=0,
            beta2=0.999,
            ema_decay=0.0,
        ),
        budget=Budget(epochs=70),
    ),
}


# Predictions are fed back: clips of 2, 4 and then 8 frames, half of them without their first frame.
_FED_BACK = dataclasses.replace(
    RECIPES["anchored"],
    networks=Anchored(attention=2),
    training=dataclasses.replace(
        RECIPES["anchored"].training,
        initial_weights="random",
        clip_length=8,
        batch_size=4,
        clip_length_curriculum=(0.01, 0.5, 1.0),
        first_frame_dropout=0.5,
        validate_every=5,
    ),
)


# For footage of many people and a photo of a person who is not in it; measured in docs/lab-notes/people.md.
RECIPES["people"] = dataclasses.replace(_FED_BACK, recipe="people", networks=Anchored(attention=2, decoder="copy"))


# For an interpretable z, such as the light and how long it lasts; measured in docs/lab-notes/latent.md.
RECIPES["stationary"] = dataclasses.replace(
    _FED_BACK,
    recipe="stationary",
    networks=Anchored(attention=2, latent_scope="global", latent_channels=16, prior="stationary"),
)
