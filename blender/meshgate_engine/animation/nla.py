"""NLA tracks: glTF's exporter finds the clips there."""

import bpy

from . import clip_playback, clips


def lay_on_tracks(scene: bpy.types.Scene, found: list[clips.Clip]) -> None:
    """Puts each clip on a muted track of its own, on everything that it moves; other tracks are removed."""
    clip_playback.activate(scene, None)
    for owner in clips.owners(scene):
        if owner.animation_data:
            for track in list(owner.animation_data.nla_tracks):
                owner.animation_data.nla_tracks.remove(track)
    for clip in found:
        for owner, slot in clip.parts:
            data = owner.animation_data or owner.animation_data_create()
            track = data.nla_tracks.new()
            track.name = clip.name
            strip = track.strips.new(clip.name, round(clip.start), clip.action)
            strip.action_slot = slot
            track.mute = True
