"""Prepares clips for the exporter: frame range, NLA tracks, and the choice of one."""

import math

import bpy
import numpy as np

from ..blender_api import actions
from ..capabilities import Capabilities, Clips
from ..job import Job
from . import clip_playback, clips


def choose_one(job: Job, item: bpy.types.Object, found: list[clips.Clip]) -> clips.Clip | None:
    """The clip of a skeleton for a target that holds one clip; None without clips. Reports the others as lost."""
    current = item.animation_data.action if item.animation_data else None
    mine = [clip for clip in found if clip.slots_of(item)]
    # The one that is assigned, or else the first.
    chosen = min(mine, key=lambda clip: clip.action != current, default=None)
    if chosen:
        names = tuple(clip.name for clip in found if clip is not chosen)
        job.lose("other clips", len(names), "one clip", total=len(found), names=names)
    return chosen


def prepare(target: Capabilities) -> None:
    """Sets the scene's frame range; for glTF puts every clip on a track of its own, for one timeline assigns it."""
    scene = bpy.context.scene
    found = clips.find()
    if not found or target.clips is Clips.SCENE:
        return
    if any(clip.start < 0 for clip in found):
        _shift_all(scene, -math.floor(min(clip.start for clip in found)))
        found = clips.find()
    if target.uses_gltf_exporter:
        _add_nla_tracks(found)
    shown = clips.exported_to(target, found)
    scene.frame_start = int(min(clip.start for clip in shown))
    scene.frame_end = max(scene.frame_start, round(max(clip.end for clip in shown)))
    if target.clips is Clips.TIMELINE:
        clip_playback.activate(*shown)
        scene.frame_set(scene.frame_start)


def _add_nla_tracks(found: list[clips.Clip]) -> None:
    """Puts each clip on a muted track of its own, where glTF's exporter looks for it; other tracks are removed."""
    clip_playback.activate()
    for data in [owner.animation_data for owner in clips.owners() if owner.animation_data]:
        for track in list(data.nla_tracks):
            data.nla_tracks.remove(track)
    for clip in found:
        for owner, slot in clip.parts:
            data = owner.animation_data or owner.animation_data_create()
            track = data.nla_tracks.new()
            track.name = clip.name
            track.strips.new(clip.name, round(clip.start), clip.action).action_slot = slot
            track.mute = True


def _shift_all(scene: bpy.types.Scene, frames: int) -> None:
    """Moves all clips by ``frames``: exporters leave out what lies before frame 0."""

    def shift(points: np.ndarray) -> None:
        points[:, 0] += frames

    for curve in actions.all_curves():
        actions.change_keys(curve, shift)
    for action in bpy.data.actions:
        if action.use_frame_range:
            action.frame_end += frames
            action.frame_start += frames
    for owner in clips.owners():
        for track in owner.animation_data.nla_tracks if owner.animation_data else ():
            # From the last to the first: strips must not overlap.
            for strip in reversed(track.strips):
                strip.action_frame_end += frames
                strip.action_frame_start += frames
                strip.frame_start_ui += frames
    scene.frame_set(scene.frame_current + frames)
