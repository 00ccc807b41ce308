"""The wording of losses, all of it: one sentence for each loss.

``{count}`` things of ``{total}`` are lost; ``{name}`` and ``{names}`` say which, ``{first}`` the first five of the
names; ``{target}`` is the format.
"""

from ..job import Loss, listed

# Kind -> the words for one, for many, and for a part of a total.
KINDS = {
    "other scenes": ("1 other scene", "{count} other scenes"),
    "GREASEPENCIL": ("1 grease pencil drawing", "{count} grease pencil drawings"),
    "POINTCLOUD": ("1 point cloud", "{count} point clouds"),
    "VOLUME": ("1 volume", "{count} volumes"),
    "CURVES": ("1 group of hair curves", "{count} groups of hair curves"),
    "SPEAKER": ("1 speaker", "{count} speakers"),
    "LIGHT_PROBE": ("1 light probe", "{count} light probes"),
    "hair particles": ("1 hair particle system", "{count} hair particle systems"),
    "skin": ("the skin of {name}",),
    "bone weights": ("bone weights of 1 vertex", "bone weights of {count} vertices"),
    "modifiers": ("modifiers of {name}",),
    # Animation.
    "clips": ("1 clip", "{count} clips", "{count} of {total} clips"),
    "other clips": ("", "", "{count} of {total} clips ({names})"),
    "lights": ("the lights' part of 1 clip", "the lights' part of {count} clips"),
    "cameras": ("the cameras' part of 1 clip", "the cameras' part of {count} clips"),
    "visibility": ("what is shown and hidden in 1 clip", "what is shown and hidden in {count} clips"),
    "strips": ("how 1 strip of NLA tracks is played", "how {count} strips of NLA tracks are played"),
    "blend shape values": ("the values of blend shapes",),
    "mesh motion": ("the motion of 1 mesh", "the motion of {count} meshes"),
    "mesh motion by modifiers": ("the motion of 1 mesh by modifiers", "the motion of {count} meshes by modifiers"),
    "surface motion": ("the motion of 1 curve, text or metaball", "the motion of {count} curves, texts or metaballs"),
    "particle motion": ("the motion of 1 particle system", "the motion of {count} particle systems"),
    "material changes": ("the changes of 1 material", "the changes of {count} materials"),
    # Materials and textures.
    "feature": ("1 material loses its {name}", "{count} materials lose their {name}"),
    "unlit": ("1 unlit material became lit", "{count} unlit materials became lit"),
    "texture tint": ("the tint of 1 texture by vertex colours", "the tint of {count} textures by vertex colours"),
    "texture nodes": ("what nodes make of 1 texture", "what nodes make of {count} textures"),
    "texture placement": ("1 texture transform", "{count} texture transforms"),
    "texture UVs": ("UVs of 1 texture", "UVs of {count} textures"),
    "tiles": ("all tiles but the first of 1 texture", "all tiles but the first of {count} textures"),
    "tile files": ("1 texture of tiles",),
    # They begin as the service's own clause, which only counts, and take its place.
    "textures": (
        "1 texture did not come out",
        "{count} textures did not come out",
        "{count} of {total} textures did not come out",
    ),
    "moving images": ("1 moving image", "{count} moving images"),
    # Avatars.
    "expressions": ("1 expression", "{count} expressions"),
    "springs": ("1 spring", "{count} springs"),
    "all expressions": ("expressions",),
    "expression materials": ("", "", "{count} of {total} material changes in expressions"),
    # Code and files that a .blend names.
    "drivers": ("1 driver that would run Python", "{count} drivers that would run Python"),
    "text marks": (
        "the mark of 1 text to run when the file is opened",
        "the mark of {count} texts to run when the file is opened",
    ),
    "script nodes": ("1 script node", "{count} script nodes"),
    "Freestyle modules": ("1 Freestyle module", "{count} Freestyle modules"),
    "computed paths": ("1 node reading files", "{count} nodes reading files"),
}

# Reason -> the words for one, and for many.
REASONS = {
    "holds none": ("{target} holds none",),
    "not written": ("Blender's exporter does not write it",),
    "not read": ("it is not read",),
    "names": ("{first}",),
    "active scene": ("only the active one is converted",),
    "no mesh": ("it is not a mesh in the source",),
    "blend shapes": ("{names} (it has blend shapes)",),
    "largest weights": ("{target} is written with the {name} largest of each",),
    "one clip": ("{target} holds one",),
    "one clip of the others": ("{target} holds one: without {names}",),
    "played together": ("{target} holds one, in which {first} play together",),
    "played together without": ("{target} holds one, in which {first} play together: without {others}",),
    "no such motion": ("{target} holds no such motion",),
    "no such thing": ("{target} holds no such thing",),
    "clips as they are": ("{target} holds each clip as it is",),
    "clips only": ("{target} holds them in clips only",),
    "changing meshes": ("{target} holds no meshes that change with time",),
    "scaled": ("the model is scaled",),
    "skinned": ("{target} holds none beside a skeleton or blend shapes",),
    "changing materials": ("{target} holds none that change with time",),
    "no cutoff": ("{target} holds no cutoff",),
    "lit only": ("{target} has no unlit materials",),
    "no mix": ("{target} cannot combine textures with vertex colours",),
    "as they are": ("{target} holds it as it is", "{target} holds them as they are"),
    "UVs only": ("{target} cannot hold it", "{target} cannot hold them"),
    "UVs of the colour": ("{target} holds those of its material's colour alone",),
    "no tiles": ("{target} holds no tiles",),
    "missing tiles": ("some of {name} are not there",),
    "single file": ("a single {target} holds none, a usdz does",),
    "files of images": ("a .blend cannot hold the files of {first}",),
    "bones only": ("only the motion of the bones is converted",),
    "not in VRM 1.0": ("VRM 1.0 knows none of the kind",),
    "would run": ("they would run where the file is rendered",),
    "computed": ("paths that are computed are not followed",),
}


def sentence(loss: Loss, target: str) -> str:
    """A loss in words, as the clause of a report."""
    names = {"names": ", ".join(loss.names), "first": listed(loss.names), "others": ", ".join(loss.others)}
    values = {"count": loss.count, "total": loss.total, "name": loss.name, "target": target, **names}
    kind, reason = KINDS[loss.kind], REASONS[loss.reason]
    what = kind[2] if loss.total else kind[0] if loss.count == 1 else kind[1]
    return f"{what.format(**values)}: {reason[0 if loss.count == 1 else -1].format(**values)}"
