"""The machine: what posecast finds on it."""

from __future__ import annotations

from posecast.cli.options import note


def doctor() -> None:
    """Show what posecast finds on this machine, and what to expect of it: a page for a bug report.

    Names no person, host or folder.
    """
    from posecast.cli.doctor import diagnose
    from posecast.cli.tables import print_diagnosis

    print_diagnosis(diagnose(note))
