"""Clips that a format of one timeline does not hold."""

from ..job import Job, listed


def report_lost(job: Job, before: list[str], shown: list[str], after: list[str]) -> None:
    """Tells what becomes of several clips: ``shown`` are those that play together in the scene.

    Of one that goes by another name in the result: USD changes what is no identifier, as ``Run|fast``, and Alembic
    has no names.
    """
    if len(after) != 1:
        return
    lost = [name for name in before if name not in shown]
    without = f": without {', '.join(lost)}" if lost else ""
    if len(shown) > 1:
        job.lose(f"{len(before)} clips: {job.output_format} holds one, in which {listed(shown)} play together{without}")
    elif after[0] not in before and len(lost) == len(before) - 1 > 0:
        job.lose(f"{len(lost)} of {len(before)} clips: {job.output_format} holds one{without}")
