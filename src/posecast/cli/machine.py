"""Command that examines the machine."""

from __future__ import annotations

from posecast.cli.options import print_note


def doctor() -> None:
    """Show what posecast finds on this machine and how fast it will be, as a page for a bug report.

    The page names no person, host or folder.
    """
    from posecast.cli.doctor import diagnose
    from posecast.cli.tables import print_diagnosis

    print_diagnosis(diagnose(print_note))
