"""Number of odd but valid inputs, and of hostile ones, that the tests generate, each with its expected outcome.

A case of a parametrised test below is one input. Tests that use the inputs of another test once more, and tests of
inputs that are refused, are left out of the odd inputs. Print the numbers: `python -m tests.odd_inputs`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
VALID = {
    "names": {
        "test_names.py": "name_is_read_as_a_file",
        "test_odd_names.py": "a_data_set_may_have_any_name",
    },
    "drives and moved data": {
        "test_drives.py": "a_data_set_is_packed_and_read_where_a_drive_lacks_something",
        "data/test_fingerprint.py": "data_that_moved_is_the_same",
    },
    "encodings of the output": {"test_output.py": "letters_that_an_encoding_lacks_are_replaced"},
    "images": {
        "data/test_odd_images.py": "a_16_bit_png_is_turned_upright a_jpeg_with_a_broken_tag_is_turned_upright "
        "a_jpeg_with_damaged_exif_is_read_as_stored a_palette_with_transparency_shows_its_colours "
        "a_png_is_turned_upright an_animated_png_gives_its_first_image bitmaps_are_read "
        "bytes_after_an_image_do_no_harm chunks_that_are_not_needed_do_no_harm every_kind_of_jpeg_is_read "
        "every_kind_of_png_is_read pixels_in_many_chunks_are_read small_jpegs_are_read",
    },
    "clips": {
        "video/test_odd_footage.py": "clip_cut_without_encoding_starts_at_the_cut damaged_part_is_left_out "
        "clip_is_turned_and_mirrored_as_a_player_does every_format_is_read every_size_is_read "
        "frames_with_exif_are_turned_upright joined_recordings_are_read_to_their_end "
        "stream_that_a_player_shows_is_read time_stamps_give_the_times",
        "video/test_rgb.py": "size_says_the_colours_of_a_video_without_tags tags_say_the_colours",
    },
    "keypoints": {
        "video/test_keypoint_files.py": "assumptions_are_stated frames_are_counted_in_all_containers "
        "confidences_are_interpreted_once_for_the_whole_file",
        "video/test_keypoint_formats.py": "all_frames_have_their_joints empty_people_are_left_out "
        "frames_may_have_nobody_or_several_people other_files_in_a_folder_are_no_matter",
    },
    "settings": {
        "config/test_settings_file.py": "a_number_of_yaml_is_read_as_one an_empty_yaml_file_has_no_settings "
        "files_of_any_editor_are_read numbers_in_lists_are_read_likewise",
    },
    "submissions": {"course/test_kaggle_score.py": "what_the_board_takes_is_scored"},
    "checkpoints": {
        "model/test_odd_lab4_checkpoints.py": "other_precisions_become_float32 prefixes_of_names_are_removed "
        "safetensors_are_read the_name_of_a_file_does_not_matter weights_are_found_in_every_form "
        "weights_of_other_devices_are_read weights_stored_otherwise_are_read",
        "model/test_lab4_checkpoint.py": "published_forms_are_imported",
    },
}
"""Tests of inputs that are read, by the kind of input and the file of the tests."""
HOSTILE = {
    "links and special files": {
        "strangers/test_links.py": "run_with_a_link_out_of_it_or_a_special_file_is_refused "
        "every_use_of_such_a_run_is_refused experiment_with_a_link_out_of_it_is_refused "
        "special_file_in_a_data_set_is_refused_or_ignored footage_that_a_run_records_is_neither_read_nor_packed",
    },
    "names and text": {
        "strangers/test_names_in_files.py": "name_in_a_plan_or_a_grid_that_leads_elsewhere_is_refused "
        "plan_of_another_form_is_refused other_name_in_a_plan_is_shown_as_text text_in_a_run_is_shown_as_text",
    },
    "numbers and nesting": {
        "strangers/test_exhausting_files.py": "json_that_exhausts_a_machine_is_refused "
        "huge_file_is_refused_before_it_is_read extreme_numbers_in_scores_and_log_are_shown_or_refused "
        "settings_that_exhaust_a_machine_are_refused",
    },
    "weights, images, submissions and keypoints": {
        "strangers/test_hostile_content.py": "weights_that_lie_are_refused hostile_keypoints_are_refused "
        "image_that_claims_to_be_huge_is_refused hostile_submission_is_refused",
    },
    "checkpoints": {
        "model/test_odd_lab4_checkpoints.py": "no_code_is_run",
        "model/test_harmful_checkpoints.py": "no_function_is_called no_method_is_called no_opcode_runs_a_program",
    },
}
"""Tests of files that were made to do harm."""


def count(kinds: dict[str, dict[str, str]]) -> Counter[str]:
    """Return the number of inputs of each kind, after checking that every test named above has several cases."""
    files = [str(TESTS / file) for tests in kinds.values() for file in tests]
    options = ["--collect-only", "-o", "addopts=-q --import-mode=importlib --strict-markers", "-n", "0"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    collected = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True).stdout
    cases = Counter(re.findall(r"^tests/([\w/]+\.py::\w+)\[", collected, re.MULTILINE))
    numbers: Counter[str] = Counter()
    for kind, tests in kinds.items():
        for name in (f"{file}::test_{name}" for file, names in tests.items() for name in names.split()):
            assert cases[name] > 1, name
            numbers[kind] += cases[name]
    return numbers


if __name__ == "__main__":
    for title, kinds in (("odd but valid", VALID), ("hostile", HOSTILE)):
        numbers = count(kinds)
        print(f"{numbers.total():5}  {title}")
        for kind, number in numbers.items():
            print(f"{number:5}    {kind}")
