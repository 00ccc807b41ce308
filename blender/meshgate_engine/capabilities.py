"""The capabilities of each format, as Blender and its add-ons write it: one row a format.

``src/domain/format.rs`` has the service's table; ``blender/tests/test_capabilities.py`` compares both.
"""

from dataclasses import dataclass, replace
from enum import Enum


class Clips(Enum):
    """Which clips of a scene a file holds."""

    NONE = "none"
    TIMELINE = "what plays together"
    SKELETON = "one of a skeleton"
    ALL = "all, by name"
    SCENE = "all, as Blender has them"


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a format. The defaults stand for no target: a scene that is only read."""

    # The module in ``formats`` that reads and writes it.
    module: str = ""
    # Blender's own file: it keeps all scenes, node trees, units and paths.
    is_native: bool = False
    clips: Clips = Clips.SCENE
    # One shape, without skeleton and pose.
    is_static: bool = False
    # Skeletons, and so a rest pose; without them a mesh has the shape of its pose.
    skeletons: bool = True
    # The exporter writes keys only, and evaluates no constraints and drivers of bones.
    keys_only: bool = False
    # The exporter samples every object in every clip, whether the clip moves it or not.
    samples_all_objects: bool = False
    # Motion of objects, also by constraints, drivers and simulations.
    object_transforms: bool = True
    # Meshes whose shape changes over time.
    changing_meshes: bool = False
    # Values of blend shapes outside of clips.
    shape_values: bool = True
    # Parts of clips that the format holds besides objects, bones and blend shapes: lights, cameras, visibility.
    clip_parts: frozenset[str] = frozenset()
    # Blender's types of objects that the format accepts in place of a mesh; None if a file needs no mesh.
    instead_of_mesh: frozenset[str] | None = None
    # Of Blender's rare types of objects (``report/object_losses.py``), those that the format holds.
    objects: frozenset[str] = frozenset()
    materials: bool = False
    # Features of materials beyond colours, metal and roughness; if not ``textured_features``, as plain values only.
    material_features: frozenset[str] = frozenset()
    textured_features: bool = True
    # Features that the format holds, but Blender's exporter does not write.
    unwritten_features: frozenset[str] = frozenset()
    # Materials are a second file.
    materials_beside: bool = False
    # Materials after Phong: importers invent the highlights, and a texture has a colour of its own beside it.
    phong: bool = False
    # What the exporter writes of a Principled BSDF: the inputs, besides colours, whose textures it writes; one channel
    # of an image; the colour that tints a texture; the strength of a textured glow and of a normal map; the tints of
    # highlights and sheen; alpha that is cut off at a value.
    textured_values: tuple[str, ...] = ("Metallic", "Roughness", "Specular IOR Level")
    image_channels: bool = False
    texture_tints: bool = False
    emission_strength: bool = False
    normal_strength: bool = True
    highlight_tints: bool = False
    alpha_cutoff: bool = False
    textures: bool = False
    # Textures are files beside the main one, which can be used without them.
    textures_beside: bool = False
    # Extensions of the only formats of images that it allows; None where it allows all.
    image_formats: frozenset[str] | None = None
    # Readers use the first UV layer and ignore transforms.
    first_uvs_only: bool = False
    # Wrap modes (``extension`` of Blender's image nodes); None where all are held.
    wrap_modes: frozenset[str] | None = None
    # Textures of several images (UDIM).
    tiles: bool = False
    # Expressions, springs and licence of an avatar.
    avatar: bool = False
    # The most bones that move one vertex.
    bone_weights: int | None = None
    # The service counts the contents of a result (``src/inspect/``); other results are read back.
    counted_by_service: bool = False

    @property
    def uses_gltf_exporter(self) -> bool:
        """Whether glTF's add-on writes it."""
        return self.module in {"gltf", "vrm"}


_GLTF_FEATURES = frozenset(
    {
        *("transmission", "clearcoat", "sheen", "sheen colour", "anisotropy", "volume", "ambient occlusion"),
        *("specular colour", "specular strength", "index of refraction"),
    }
)

_USD = Capabilities(
    module="usd",
    clips=Clips.TIMELINE,
    changing_meshes=True,
    shape_values=False,
    clip_parts=frozenset({"lights", "cameras"}),
    objects=frozenset({"POINTCLOUD", "CURVES"}),
    materials=True,
    material_features=frozenset({"clearcoat", "sheen colour", "index of refraction"}),
    unwritten_features=frozenset({"ambient occlusion", "specular colour"}),
    textured_values=("Metallic", "Roughness", "Coat Weight", "Coat Roughness"),
    image_channels=True,
    texture_tints=True,
    normal_strength=False,
    alpha_cutoff=True,
    textures=True,
    textures_beside=True,
    wrap_modes=frozenset({"REPEAT", "EXTEND", "CLIP", "MIRROR"}),
    tiles=True,
)
_GLTF = Capabilities(
    module="gltf",
    clips=Clips.ALL,
    materials=True,
    material_features=_GLTF_FEATURES,
    image_channels=True,
    texture_tints=True,
    emission_strength=True,
    highlight_tints=True,
    alpha_cutoff=True,
    textures=True,
    bone_weights=4,
    counted_by_service=True,
)

_MESH = Capabilities(
    module="stl",
    clips=Clips.NONE,
    is_static=True,
    skeletons=False,
    instead_of_mesh=frozenset(),
    counted_by_service=True,
)

TABLE = {
    "fbx": Capabilities(
        module="fbx",
        clips=Clips.ALL,
        samples_all_objects=True,
        clip_parts=frozenset({"cameras"}),
        materials=True,
        material_features=frozenset({"sheen colour", "clearcoat colour", "specular strength"}),
        phong=True,
        emission_strength=True,
        highlight_tints=True,
        textures=True,
        first_uvs_only=True,
        wrap_modes=frozenset({"REPEAT", "EXTEND", "CLIP"}),
    ),
    "obj": Capabilities(
        module="obj",
        clips=Clips.NONE,
        is_static=True,
        skeletons=False,
        instead_of_mesh=frozenset({"CURVE"}),
        materials=True,
        material_features=frozenset(
            {"transmission", "clearcoat", "sheen", "anisotropy", "specular strength", "index of refraction"}
        ),
        textured_features=False,
        materials_beside=True,
        phong=True,
        counted_by_service=True,
        textures=True,
        first_uvs_only=True,
        wrap_modes=frozenset({"REPEAT"}),
    ),
    "gltf": _GLTF,
    "glb": _GLTF,
    "vrm": replace(
        _GLTF, module="vrm", clips=Clips.NONE, object_transforms=False, instead_of_mesh=frozenset(), avatar=True
    ),
    "vrma": Capabilities(
        module="vrma", clips=Clips.SKELETON, keys_only=True, object_transforms=False, counted_by_service=True
    ),
    "bvh": Capabilities(module="bvh", clips=Clips.SKELETON, object_transforms=False, counted_by_service=True),
    "usd": _USD,
    "usda": _USD,
    "usdc": _USD,
    "usdz": replace(_USD, textures_beside=False, image_formats=frozenset({"png", "jpg", "exr", "avif"})),
    "stl": _MESH,
    "ply": replace(_MESH, module="ply"),
    "abc": Capabilities(
        module="abc",
        clips=Clips.TIMELINE,
        skeletons=False,
        changing_meshes=True,
        clip_parts=frozenset({"lights", "cameras", "visibility"}),
        instead_of_mesh=frozenset({"CURVE", "CURVES"}),
        objects=frozenset({"CURVES"}),
    ),
    "blend": Capabilities(module="blend", is_native=True, textures=True, tiles=True, avatar=True),
}


def of(name: str) -> Capabilities:
    """The row of a format."""
    return TABLE.get(name) or Capabilities()
