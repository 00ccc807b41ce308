"""Reports clips, and parts of clips, that a target cannot hold and that are in no count."""

from collections.abc import Iterator

import bpy

from ..animation import clips
from ..capabilities import Clips
from ..job import Job
from ..materials import texture_usage

# Parts of clips, in the order of the report.
_PARTS = ("lights", "cameras", "visibility")
_TOLERANCE = 1e-3  # smaller differences of speed and repetition are none


def report_losses(job: Job) -> None:
    """Reports lost parts of clips, arrangements of NLA strips and animated materials."""
    if not job.animation:
        return
    if job.target.clips in {Clips.TIMELINE, Clips.ALL}:
        found = clips.find()
        groups = [clips.playing_together(found)] if job.target.clips is Clips.TIMELINE else [[clip] for clip in found]
        changed = [set(_changed_parts(group)) for group in groups]
        not_held = [part for part in _PARTS if part not in job.target.clip_parts]
        for part in not_held:
            # A clip that has nothing else is missing in the counts.
            lost = sum(part in kinds and bool(kinds.difference(not_held)) for kinds in changed)
            job.lose(part, lost, "no such motion")
    if job.target.clips not in {Clips.NONE, Clips.SCENE}:
        job.lose("strips", _arranged_strips(), "clips as they are")
    if job.target.materials:
        changing = sum(map(_is_animated, texture_usage.scene_materials()))
        job.lose("material changes", changing, "changing materials")


def report_lost_clips(job: Job, before: list[str], shown: list[str], after: list[str]) -> None:
    """Reports the clips that a format of one timeline loses; ``shown`` are those that play together.

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


def _arranged_strips() -> int:
    """How many strips play in a row, at another speed, repeated, backwards, or mixed with those below."""
    found = set()
    for owner in bpy.context.scene.objects:
        data = owner.animation_data
        for track in data.nla_tracks if data and data.use_nla else ():
            strips = [strip for strip in track.strips if strip.type == "CLIP" and not strip.mute and not track.mute]
            found |= {(track, strip) for strip in strips if len(strips) > 1 or _is_altered(strip)}
    return len(found)


def _is_altered(strip: bpy.types.NlaStrip) -> bool:
    mixed = strip.blend_type != "REPLACE" or strip.use_animated_influence
    return mixed or strip.use_reverse or any(abs(each - 1) > _TOLERANCE for each in (strip.scale, strip.repeat))


def _changed_parts(group: list[clips.Clip]) -> Iterator[str]:
    """The parts in which a group of clips changes anything: of ``_PARTS``, or one that every clip holds."""
    for clip in group:
        for owner, slot in clip.parts:
            # Only the viewport shows the colour of an object.
            for path in clips.changed_paths(clip.action, slot) - {"color"}:
                other = "visibility" if path in {"hide_viewport", "hide_render"} else "held by every clip"
                yield {"LIGHT": "lights", "CAMERA": "cameras"}.get(owner.id_type, other)


def _is_animated(material: bpy.types.Material) -> bool:
    owners = [owner for owner in (material, material.node_tree) if owner and owner.animation_data]
    parts = [(owner.animation_data.action, owner.animation_data.action_slot) for owner in owners]
    return any(action and slot and clips.changed_paths(action, slot) for action, slot in parts)
