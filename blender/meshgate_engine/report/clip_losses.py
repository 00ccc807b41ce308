"""Reports clips that a format of one timeline does not hold."""

from ..job import Job


def report_lost(job: Job, before: list[str], shown: list[str], after: list[str]) -> None:
    """Reports which of several clips are lost; ``shown`` are those that play together in the scene.

    The clip of the result may have another name: USD changes names that are not identifiers, and Alembic has none.
    """
    if len(after) != 1:
        return
    lost = [name for name in before if name not in shown]
    if len(shown) > 1:
        reason = "played together without" if lost else "played together"
        job.lose("clips", len(before), reason, names=tuple(shown), others=tuple(lost))
    elif after[0] not in before and len(lost) == len(before) - 1 > 0:
        job.lose("clips", len(lost), "one clip of the others", total=len(before), names=tuple(lost))
