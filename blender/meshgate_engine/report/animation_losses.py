"""Reports parts of clips that a target cannot hold while it holds the rest, which no count shows."""

from collections.abc import Iterator

import bpy

from ..animation import clips
from ..capabilities import Clips
from ..job import Job
from ..materials import texture_usage

# Parts of clips, in the order of the report.
_PARTS = ("lights", "cameras", "shown")

# Smaller differences of speed and repetition are none.
_TOLERANCE = 1e-3

# RNA paths that only the viewport shows.
_VIEWPORT_ONLY = {"color"}


def report_losses(job: Job) -> None:
    """Reports lost parts of clips, arrangements of NLA strips and animated materials."""
    if not job.animation:
        return
    if job.target.clips in {Clips.TIMELINE, Clips.ALL}:
        found = clips.find()
        groups = [clips.playing_together(found)] if job.target.clips is Clips.TIMELINE else [[clip] for clip in found]
        changed = [set(_changed_parts(group)) for group in groups]
        not_held = set(_PARTS) - job.target.clip_parts
        for part in _PARTS:
            # A clip that has nothing else is missing in the counts.
            lost = sum(part in kinds and bool(kinds - not_held) for kinds in changed)
            if part in not_held:
                job.lose(part, lost, "no such motion")
    if job.target.clips not in {Clips.NONE, Clips.SCENE}:
        job.lose("strips", _arranged_strips(), "clips as they are")
    if job.target.materials:
        changing = sum(map(_is_animated, texture_usage.scene_materials()))
        job.lose("material changes", changing, "changing materials")


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
    for clip in group:
        for owner, slot in clip.parts:
            for path in clips.changed_paths(clip.action, slot) - _VIEWPORT_ONLY:
                if owner.id_type == "LIGHT":
                    yield "lights"
                elif owner.id_type == "CAMERA":
                    yield "cameras"
                elif path in {"hide_viewport", "hide_render"}:
                    yield "shown"
                else:
                    yield "rest"


def _is_animated(material: bpy.types.Material) -> bool:
    for owner in (material, material.node_tree):
        data = owner.animation_data if owner else None
        if data and data.action and data.action_slot and clips.changed_paths(data.action, data.action_slot):
            return True
    return False
