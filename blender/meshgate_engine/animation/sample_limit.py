"""Limits motion that is sampled frame by frame: two keys can span more frames than a conversion has time for."""

import math

import bpy

from ..blender_api import actions, scene
from ..capabilities import Clips
from ..errors import ConversionError
from ..job import Job
from . import clips, mesh_animation

# Blender's last frame; exporters leave out what comes after it.
LAST_FRAME = 1_048_574
# The most samples of a conversion, one for each frame of each thing that moves. FBX takes ten minutes for so many
# samples of bones; an hour of 46 bones at 60 frames per second has as many.
MOST_SAMPLES = 10_000_000
# The same for targets of one timeline, which take a tenth of the time.
MOST_TIMELINE_SAMPLES = 100_000_000


def check(job: Job) -> None:
    """Raises ``import_failed`` when the motion is too long to be sampled for the target."""
    target = job.target
    # A .blend keeps the keys, and static targets have no motion; writers of one skeleton check their clip themselves.
    if target.is_static or target.clips in {Clips.SCENE, Clips.SKELETON}:
        return
    found = clips.find()
    if target.clips is Clips.TIMELINE:
        check_clips(clips.playing_together(found), most=MOST_TIMELINE_SAMPLES)
        if mesh_animation.has_modifiers():
            world = bpy.context.scene
            check_frames(world.frame_start, world.frame_end, 1, most=MOST_TIMELINE_SAMPLES)
    else:
        least = len(scene.objects()) if target.samples_all_objects else 1
        check_clips(clips.exported_to(target, found), least)


def check_clips(taken: list[clips.Clip], least: int = 1, most: int = MOST_SAMPLES) -> None:
    """Raises ``import_failed`` when clips take more than ``most`` samples; each moves ``least`` things or more."""
    samples = 0
    for clip in taken:
        # A skeleton is sampled with each of its bones, anything else alone.
        poses = [getattr(owner, "pose", None) for owner in {owner for owner, _slot in clip.parts}]
        moving = max(sum(1 + len(pose.bones) if pose else 1 for pose in poses), least)
        # The last key may be later than the end that Blender gives the clip.
        curves = [curve for _owner, slot in clip.parts for curve in actions.curves(clip.action, slot)]
        end = max([clip.end, *(float(curve.range()[1]) for curve in curves)])
        samples = check_frames(clip.start, end, moving, samples, most)


def check_frames(start: float, end: float, moving: int, samples: int = 0, most: int = MOST_SAMPLES) -> int:
    """Adds the samples of ``moving`` things to ``samples``. Raises ``import_failed`` where that is too many."""
    # Clips that begin before frame 0 are moved to it.
    last = end - min(start, 0.0)
    samples += math.ceil((end - start + 1) * moving)
    if last < LAST_FRAME and samples <= most:
        return samples
    what = f"it takes {samples} samples, one for each frame of each thing that moves, and {most} are the most"
    if last >= LAST_FRAME:
        what = f"it goes on to frame {last:.0f}, and Blender's last one is {LAST_FRAME}"
    advice = "convert shorter clips, or to blend, or with animation=false"
    raise ConversionError("import_failed", f"the motion is too long: {what}; {advice}")
