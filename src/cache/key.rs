//! The identity of a conversion: conversions with equal identities have equal results.

use blake3::{Hash, Hasher};

use crate::domain::{Format, Options};

/// Raised when the encoding below, or the meaning of what is stored under an identity, changes.
const ENCODING: u64 = 2;

/// Everything that a result depends on.
#[derive(Debug, Clone)]
pub struct IdentityInputs<'a> {
    /// The versions of the engine and its add-ons.
    pub engine: &'a str,
    /// The API key that the result belongs to; `None` if it is shared.
    pub owner: Option<&'a str>,
    pub target: Format,
    pub options: &'a Options,
    /// The model's main file, if the request names it. For local files, unless the model is one file with its own name.
    pub main: Option<&'a str>,
    /// For local files: what intake found besides the files, which is the model's name, its warnings and its missing
    /// textures, as text. `None` if the model is one file with its own name, and for uploads.
    pub called: Option<&'a str>,
    /// In any order.
    pub files: Vec<HashedFile>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashedFile {
    /// The name as it was sent: other files refer to it, and results are named after it.
    pub name: String,
    pub hash: [u8; 32],
    pub bytes: u64,
}

pub fn identity(inputs: &IdentityInputs) -> Hash {
    let mut text = Encoder::default();
    text.number(ENCODING);
    text.text(env!("CARGO_PKG_VERSION"));
    text.text(inputs.engine);
    text.optional(inputs.owner);
    text.text(inputs.target.name());
    // Equal options have equal JSON, and serialising them cannot fail.
    text.text(&serde_json::to_string(inputs.options).unwrap_or_default());
    text.optional(inputs.main);
    text.optional(inputs.called);
    let mut files: Vec<&HashedFile> = inputs.files.iter().collect();
    files.sort_unstable();
    text.number(files.len() as u64);
    for file in files {
        text.text(&file.name);
        text.hash(&file.hash);
        text.number(file.bytes);
    }
    text.finish()
}

/// Hashes values, each with its length, so that no two lists of values have the same encoding.
#[derive(Default)]
pub struct Encoder(Hasher);

impl Encoder {
    pub fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    pub fn optional(&mut self, text: Option<&str>) {
        self.number(text.is_some().into());
        if let Some(text) = text {
            self.text(text);
        }
    }

    pub fn hash(&mut self, hash: &[u8; 32]) {
        self.0.update(hash);
    }

    pub fn finish(self) -> Hash {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::format::TABLE;
    use crate::domain::options::{EngineChoice, Packaging};

    /// [`IdentityInputs`] that own their values.
    #[derive(Debug, Clone, PartialEq)]
    struct Owned {
        engine: String,
        owner: Option<String>,
        target: Format,
        options: Options,
        main: Option<String>,
        called: Option<String>,
        files: Vec<HashedFile>,
    }

    impl Owned {
        fn identity(&self) -> Hash {
            identity(&IdentityInputs {
                engine: &self.engine,
                owner: self.owner.as_deref(),
                target: self.target,
                options: &self.options,
                main: self.main.as_deref(),
                called: self.called.as_deref(),
                files: self.files.clone(),
            })
        }

        fn sorted(mut self) -> Self {
            self.files.sort();
            self
        }
    }

    /// Few letters and few contents, so that compared values are often nearly equal.
    fn name() -> impl Strategy<Value = String> {
        "[ab/]{0,3}"
    }

    fn hashed_file() -> impl Strategy<Value = HashedFile> {
        (name(), 0u8..3, 0u64..3).prop_map(|(name, content, bytes)| HashedFile {
            name,
            hash: [content; 32],
            bytes,
        })
    }

    prop_compose! {
        fn options()(
            packaging in prop::sample::select(&[Packaging::Auto, Packaging::Single, Packaging::Zip][..]),
            animation: bool,
            scale in prop::sample::select(&[1.0, 0.01, 1e-6, 1.000_000_1][..]),
            triangulate: bool,
            draco: bool,
            blender: bool,
        ) -> Options {
            let engine = if blender { EngineChoice::Blender } else { EngineChoice::Auto };
            Options { packaging, animation, scale, triangulate, draco, engine }
        }
    }

    prop_compose! {
        fn owned()(
            engine in "[ab]{0,2}",
            owner in prop::option::of(name()),
            target in 0..TABLE.len(),
            options in options(),
            main in prop::option::of(name()),
            called in prop::option::of(name()),
            files in prop::collection::vec(hashed_file(), 0..4),
        ) -> Owned {
            Owned { engine, owner, target: TABLE[target].format, options, main, called, files }
        }
    }

    proptest! {
        #[test]
        fn the_order_of_files_does_not_matter(owned in owned(), seed: prop::sample::Index) {
            let mut other = owned.clone();
            if !other.files.is_empty() {
                let by = seed.index(other.files.len());
                other.files.rotate_left(by);
                other.files[..by].reverse();
            }
            prop_assert_eq!(owned.identity(), other.identity());
        }

        #[test]
        fn different_requests_have_different_identities(one in owned(), other in owned()) {
            let same = one.clone().sorted() == other.clone().sorted();
            prop_assert_eq!(one.identity() == other.identity(), same);
        }

        #[test]
        fn any_single_change_changes_the_identity(owned in owned(), options in options(), file in hashed_file(), at: prop::sample::Index) {
            let before = owned.identity();
            let mut changes = vec![
                Owned { engine: format!("{}x", owned.engine), ..owned.clone() },
                Owned { owner: Some(owned.owner.clone().unwrap_or_default() + "x"), ..owned.clone() },
                Owned { options: options.clone(), ..owned.clone() },
                Owned { main: owned.called.clone(), called: owned.main.clone(), ..owned.clone() },
                Owned { files: [owned.files.clone(), vec![file]].concat(), ..owned.clone() },
            ];
            if !owned.files.is_empty() {
                let at = at.index(owned.files.len());
                for change in [
                    (|file| file.name.push('x')) as fn(&mut HashedFile),
                    |file| file.hash[31] ^= 1,
                    |file| file.bytes += 1,
                ] {
                    let mut changed = owned.clone();
                    change(&mut changed.files[at]);
                    changes.push(changed);
                }
            }
            for changed in changes {
                prop_assert_eq!(changed.identity() == before, changed == owned, "{:?}", changed);
            }
        }
    }

    #[test]
    fn adjacent_values_are_not_confused() {
        let file = |name: &str| HashedFile { name: name.into(), hash: [0; 32], bytes: 1 };
        let of = |engine: &str, main: Option<&str>, files: Vec<HashedFile>| {
            let options = Options::default();
            identity(&IdentityInputs {
                engine,
                owner: None,
                target: Format::Glb,
                options: &options,
                main,
                called: None,
                files,
            })
        };
        assert_ne!(of("a", Some("b"), vec![]), of("ab", Some(""), vec![]));
        assert_ne!(of("a", Some(""), vec![]), of("a", None, vec![]));
        assert_ne!(of("a", None, vec![file("ab"), file("c")]), of("a", None, vec![file("a"), file("bc")]));
    }

    /// A wrong hit is worse than a miss.
    #[test]
    fn the_identity_is_stable_across_restarts() {
        let options = Options::default();
        let files = vec![HashedFile { name: "a.obj".into(), hash: *blake3::hash(b"x").as_bytes(), bytes: 1 }];
        let inputs = IdentityInputs {
            engine: "5",
            owner: None,
            target: Format::Glb,
            options: &options,
            main: None,
            called: None,
            files,
        };
        assert_eq!(identity(&inputs), identity(&inputs.clone()));
    }
}
