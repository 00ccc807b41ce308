"""NLA tracks: glTF's exporter finds the clips there."""

from . import clip_playback, clips


def lay_on_tracks(found: list[clips.Clip]) -> None:
    """Puts each clip on a muted track of its own, on everything that it moves; other tracks are removed."""
    clip_playback.activate()
    for data in [owner.animation_data for owner in clips.owners() if owner.animation_data]:
        for track in list(data.nla_tracks):
            data.nla_tracks.remove(track)
    for clip in found:
        for owner, slot in clip.parts:
            data = owner.animation_data or owner.animation_data_create()
            track = data.nla_tracks.new()
            track.name = clip.name
            strip = track.strips.new(clip.name, round(clip.start), clip.action)
            strip.action_slot = slot
            track.mute = True
