//! The table of formats: what each one is called, can hold, and needs.
//!
//! Everything that speaks of formats derives from [`TABLE`]: which pairs make sense, the help texts, the losses of a
//! report. `docs/ADDING.md` shows how to add one.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use Feature::{
    BlendShapes, Cameras, Clips, Humanoid, Lights, Materials, Mesh, Normals, Skeleton, Skin, Textures, Uvs,
    VertexColours,
};

/// A file format of 3D models or motions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Fbx,
    Obj,
    Gltf,
    Glb,
    Vrm,
    Vrma,
    Bvh,
    Usd,
    Usda,
    Usdc,
    Usdz,
    Stl,
    Ply,
    Abc,
    Blend,
}

/// A kind of content that a format may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Mesh,
    Normals,
    Uvs,
    VertexColours,
    Materials,
    Textures,
    Skeleton,
    Skin,
    BlendShapes,
    Clips,
    Cameras,
    Lights,
    Humanoid,
}

impl Feature {
    pub const ALL: [Feature; 13] = [
        Mesh,
        Normals,
        Uvs,
        VertexColours,
        Materials,
        Textures,
        Skeleton,
        Skin,
        BlendShapes,
        Clips,
        Cameras,
        Lights,
        Humanoid,
    ];

    /// The word used in sentences such as "a bvh file has no mesh".
    pub const fn word(self) -> &'static str {
        match self {
            Mesh => "mesh",
            Normals => "normals",
            Uvs => "UVs",
            VertexColours => "vertex colours",
            Materials => "materials",
            Textures => "textures",
            Skeleton => "skeleton",
            Skin => "skin",
            BlendShapes => "blend shapes",
            Clips => "animation",
            Cameras => "cameras",
            Lights => "lights",
            Humanoid => "humanoid",
        }
    }
}

/// Extensions of images.
pub const IMAGES: &[&str] = &[
    "png", "jpg", "jpeg", "webp", "avif", "tga", "bmp", "tif", "tiff", "exr", "hdr", "dds", "ktx", "ktx2",
    "basis", "jp2", "psd", "gif", "sgi", "cin", "dpx",
];

/// The beginning of a file.
#[derive(Debug)]
pub enum Signature {
    Bytes(&'static [u8]),
    /// The beginning of a text, after white space.
    Text(&'static str),
    /// The first word of a text, in any case.
    Word(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub struct FormatInfo {
    pub format: Format,
    /// Lower-case name, as in options and file names.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    pub media_type: &'static str,
    /// File name extensions, without the dot; the first is the one written.
    pub extensions: &'static [&'static str],
    /// The beginnings of its files, if these tell it from all others. Formats that need more are in `intake/detect.rs`.
    pub signatures: &'static [Signature],
    /// What the format can hold.
    pub holds: &'static [Feature],
    /// What a file of this format must have. A format that cannot hold it cannot become this one.
    pub needs: &'static [Feature],
    /// Whether a result usually is several files (its textures or materials travel beside it).
    pub several_files: bool,
    /// Extensions of the files that a result may have beside the main one.
    pub beside: &'static [&'static [&'static str]],
    /// Fewest bytes of a triangle in each copy of its mesh; 0 if copies share one mesh.
    pub triangle_bytes: u64,
    /// Whether a file holds exactly one mesh.
    pub one_mesh: bool,
    /// Whether a file has one timeline, so that it holds one clip.
    pub one_clip: bool,
}

const EVERYTHING_BUT_HUMANOID: &[Feature] = &[
    Mesh,
    Normals,
    Uvs,
    VertexColours,
    Materials,
    Textures,
    Skeleton,
    Skin,
    BlendShapes,
    Clips,
    Cameras,
    Lights,
];

/// A row's fields that most formats share.
const ROW: FormatInfo = FormatInfo {
    format: Format::Fbx,
    name: "",
    title: "",
    media_type: "application/octet-stream",
    extensions: &[],
    signatures: &[],
    holds: &[],
    needs: &[],
    several_files: false,
    beside: &[],
    triangle_bytes: 0,
    one_mesh: false,
    one_clip: false,
};

/// The table, in the order in which formats are listed to people.
pub static TABLE: &[FormatInfo] = &[
    FormatInfo {
        format: Format::Fbx,
        name: "fbx",
        title: "Autodesk FBX",
        extensions: &["fbx"],
        holds: EVERYTHING_BUT_HUMANOID,
        ..ROW
    },
    FormatInfo {
        format: Format::Obj,
        name: "obj",
        title: "Wavefront OBJ",
        media_type: "model/obj",
        extensions: &["obj"],
        holds: &[Mesh, Normals, Uvs, VertexColours, Materials, Textures],
        needs: &[Mesh],
        several_files: true,
        beside: &[&["mtl"], IMAGES],
        triangle_bytes: 5,
        ..ROW
    },
    FormatInfo {
        format: Format::Gltf,
        name: "gltf",
        title: "glTF 2.0 (JSON)",
        media_type: "model/gltf+json",
        extensions: &["gltf"],
        holds: EVERYTHING_BUT_HUMANOID,
        beside: &[&["bin"], IMAGES],
        ..ROW
    },
    FormatInfo {
        format: Format::Glb,
        name: "glb",
        title: "glTF 2.0 (binary)",
        media_type: "model/gltf-binary",
        extensions: &["glb"],
        holds: EVERYTHING_BUT_HUMANOID,
        ..ROW
    },
    FormatInfo {
        format: Format::Vrm,
        name: "vrm",
        title: "VRM avatar",
        media_type: "model/gltf-binary",
        extensions: &["vrm"],
        holds: &[
            Mesh,
            Normals,
            Uvs,
            VertexColours,
            Materials,
            Textures,
            Skeleton,
            Skin,
            BlendShapes,
            Humanoid,
        ],
        needs: &[Mesh, Skeleton],
        ..ROW
    },
    FormatInfo {
        format: Format::Vrma,
        name: "vrma",
        title: "VRM animation",
        media_type: "model/gltf-binary",
        extensions: &["vrma"],
        holds: &[Skeleton, Clips, Humanoid],
        needs: &[Skeleton, Clips],
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Bvh,
        name: "bvh",
        title: "Biovision motion",
        extensions: &["bvh"],
        signatures: &[Signature::Word("HIERARCHY")],
        holds: &[Skeleton, Clips],
        needs: &[Skeleton, Clips],
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Usd,
        name: "usd",
        title: "Universal Scene Description",
        media_type: "model/vnd.usd",
        extensions: &["usd"],
        holds: EVERYTHING_BUT_HUMANOID,
        several_files: true,
        beside: &[&["vdb"], IMAGES],
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Usda,
        name: "usda",
        title: "USD (text)",
        media_type: "model/vnd.usda",
        extensions: &["usda"],
        signatures: &[Signature::Text("#usda")],
        holds: EVERYTHING_BUT_HUMANOID,
        several_files: true,
        beside: &[&["vdb"], IMAGES],
        triangle_bytes: 3,
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Usdc,
        name: "usdc",
        title: "USD (binary)",
        media_type: "model/vnd.usd",
        extensions: &["usdc"],
        signatures: &[Signature::Bytes(b"PXR-USDC")],
        holds: EVERYTHING_BUT_HUMANOID,
        several_files: true,
        beside: &[&["vdb"], IMAGES],
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Usdz,
        name: "usdz",
        title: "USD (package)",
        media_type: "model/vnd.usdz+zip",
        extensions: &["usdz"],
        holds: EVERYTHING_BUT_HUMANOID,
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Stl,
        name: "stl",
        title: "Stereolithography",
        media_type: "model/stl",
        extensions: &["stl"],
        holds: &[Mesh],
        needs: &[Mesh],
        triangle_bytes: 50,
        one_mesh: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Ply,
        name: "ply",
        title: "Stanford PLY",
        extensions: &["ply"],
        signatures: &[Signature::Bytes(b"ply\n"), Signature::Bytes(b"ply\r")],
        holds: &[Mesh, Normals, Uvs, VertexColours],
        needs: &[Mesh],
        triangle_bytes: 4,
        one_mesh: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Abc,
        name: "abc",
        title: "Alembic",
        extensions: &["abc"],
        signatures: &[Signature::Bytes(b"Ogawa")],
        holds: &[Mesh, Normals, Uvs, VertexColours, Clips, Cameras],
        needs: &[Mesh],
        one_clip: true,
        ..ROW
    },
    FormatInfo {
        format: Format::Blend,
        name: "blend",
        title: "Blender file",
        media_type: "application/x-blender",
        extensions: &["blend"],
        signatures: &[Signature::Bytes(b"BLENDER")],
        holds: &Feature::ALL,
        ..ROW
    },
];

impl Format {
    pub fn all() -> impl Iterator<Item = Format> {
        TABLE.iter().map(|row| row.format)
    }

    pub fn info(self) -> &'static FormatInfo {
        // The table holds every format in the order of the enum; a test keeps it so.
        &TABLE[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.info().name
    }

    pub fn holds(self, feature: Feature) -> bool {
        self.info().holds.contains(&feature)
    }

    /// The format that a file name extension (without the dot, any case) stands for.
    pub fn from_extension(extension: &str) -> Option<Format> {
        TABLE
            .iter()
            .find(|row| row.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
            .map(|row| row.format)
    }

    /// Whether a result of this format may have files with this extension (without the dot) beside its main one.
    pub fn may_have_beside(self, extension: &str) -> bool {
        let mut known = self.info().beside.iter().copied().flatten();
        known.any(|known| known.eq_ignore_ascii_case(extension))
    }

    /// Returns the number of triangles, every copy counted, above which a result surely exceeds `bytes`; `None` if
    /// copies share one mesh.
    pub fn most_triangles(self, bytes: u64) -> Option<u64> {
        bytes.checked_div(self.info().triangle_bytes)
    }

    /// Why a file of this format cannot become one of `target`, or `None` when the pair makes sense.
    ///
    /// The reason is a clause such as `a bvh file has no mesh`.
    pub fn unsupported_reason(self, target: Format) -> Option<String> {
        let missing = target.info().needs.iter().find(|feature| !self.holds(**feature))?;
        Some(format!("{} {self} file has no {}", self.article(), missing.word()))
    }

    /// Whether the format is glTF 2.0 inside.
    pub fn is_gltf_family(self) -> bool {
        matches!(self, Format::Gltf | Format::Glb | Format::Vrm | Format::Vrma)
    }

    fn article(self) -> &'static str {
        // Spelled out when spoken: "an F-B-X file", "a U-S-D file".
        if self.name().starts_with(['a', 'e', 'f', 'h', 'i', 'l', 'm', 'n', 'o', 'r', 's', 'x']) {
            "an"
        } else {
            "a"
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of a text that is no format's name.
#[derive(Debug, thiserror::Error)]
#[error("unknown format: {0}")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .find(|row| row.name.eq_ignore_ascii_case(text))
            .map(|row| row.format)
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_table_matches_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.format as usize, index, "{}", row.name);
            assert_eq!(row.format.info().name, row.name);
            assert_eq!(row.name.parse::<Format>().unwrap(), row.format);
            assert_eq!(Format::from_extension(&row.extensions[0].to_uppercase()), Some(row.format));
        }
    }

    #[test]
    fn every_format_can_hold_what_it_needs() {
        for row in TABLE {
            assert!(row.needs.iter().all(|feature| row.holds.contains(feature)), "{}", row.name);
        }
    }

    #[test]
    fn only_some_formats_allow_companion_files() {
        for (format, extension, may) in [
            (Format::Obj, "MTL", true),
            (Format::Obj, "png", true),
            (Format::Obj, "bin", false),
            (Format::Gltf, "bin", true),
            (Format::Usdc, "exr", true),
            (Format::Usdc, "sh", false),
            (Format::Usdc, "", false),
            (Format::Fbx, "png", false),
        ] {
            assert_eq!(format.may_have_beside(extension), may, "{format} {extension}");
        }
        assert!(TABLE.iter().all(|row| !row.several_files || !row.beside.is_empty()));
        assert_eq!(Format::Stl.most_triangles(1 << 30), Some(21_474_836));
        assert_eq!(Format::Glb.most_triangles(1 << 30), None);
    }

    #[test]
    fn an_unsupported_pair_has_a_reason() {
        assert_eq!(Format::Bvh.unsupported_reason(Format::Stl).unwrap(), "a bvh file has no mesh");
        assert_eq!(Format::Stl.unsupported_reason(Format::Bvh).unwrap(), "an stl file has no skeleton");
        assert_eq!(Format::Vrma.unsupported_reason(Format::Glb), None);
        assert_eq!(Format::Vrm.unsupported_reason(Format::Bvh).unwrap(), "a vrm file has no animation");
    }
}
