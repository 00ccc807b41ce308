//! Plans the conversions: which files are read and written. Touches no disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::domain::Format;

/// A usage error, in one sentence.
type UsageError = String;

/// The destination of all results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The only result.
    One(Output),
    /// A folder, with the subfolders of the inputs.
    Folder(PathBuf),
}

/// The source of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Stdin,
    File(PathBuf),
    /// A folder that is one model.
    Folder(PathBuf),
}

/// One model to convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub origin: Origin,
    /// Its path in the folder of results: relative to the folder given as IN, or the file's name.
    pub relative: PathBuf,
}

/// The destination of one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout,
    /// Further files go beside it.
    File(PathBuf),
    Zip(PathBuf),
    /// `file` if the result is one file, else the folder `bundle` with all files.
    Tree {
        file: PathBuf,
        bundle: PathBuf,
    },
}

/// One conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedConversion {
    pub input: Input,
    pub target: Format,
    pub output: Output,
}

/// Interprets `-o OUT` and `--to`: returns the destination and the target formats.
///
/// `single` means that there is exactly one input, `is_folder` that OUT is an existing folder.
///
/// # Errors
/// One sentence that says what to type instead.
pub fn destination(
    out: &Path,
    is_folder: bool,
    single: bool,
    to: &[Format],
) -> Result<(Destination, Vec<Format>), UsageError> {
    if out == Path::new("-") {
        return match to {
            [target] if single => Ok((Destination::One(Output::Stdout), vec![*target])),
            [_] => Err("only one model fits standard output; give a folder: -o FOLDER".to_owned()),
            _ => Err("standard output takes one format: --to FORMAT".to_owned()),
        };
    }
    let extension =
        out.extension().map(OsStr::to_string_lossy).filter(|_| !is_folder && !ends_with_slash(out));
    let format = extension.as_deref().and_then(Format::from_extension);
    let zip = extension.as_deref().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    let name = out.display();

    if format.is_some() || zip {
        if !single {
            return Err(format!("several models do not fit one file; give a folder instead of {name}"));
        }
        return match (format, to) {
            (Some(format), [target]) if format != *target => {
                Err(format!("--to {target} contradicts the name {name}"))
            }
            (Some(format), [] | [_]) => Ok((Destination::One(Output::File(out.to_owned())), vec![format])),
            (None, [target]) => Ok((Destination::One(Output::Zip(out.to_owned())), vec![*target])),
            (None, []) => Err(format!("no target format for {name}; add --to FORMAT")),
            _ => Err(format!("several formats do not fit one file; give a folder instead of {name}")),
        };
    }
    if to.is_empty() {
        return Err(match extension {
            Some(extension) => {
                format!("{extension:?} is not a format (see `meshgate formats`); add --to FORMAT")
            }
            None => "no target format; add --to FORMAT".to_owned(),
        });
    }
    if extension.is_some() && single && to.len() == 1 {
        return Err(format!(
            "{name} may mean a file or a folder; end it with a format's extension, or with /"
        ));
    }
    Ok((Destination::Folder(out.to_owned()), to.to_vec()))
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last() == Some(&b'/')
}

/// Whether a file found in a folder is a model (and not a texture or the like).
pub fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        let extension = extension.to_string_lossy();
        Format::from_extension(&extension).is_some() || extension.eq_ignore_ascii_case("zip")
    })
}

/// Lists the conversions, input by input.
///
/// # Errors
/// When two conversions would still write the same file.
pub fn conversions(
    inputs: &[Input],
    destination: &Destination,
    targets: &[Format],
    as_zip: bool,
) -> Result<Vec<PlannedConversion>, UsageError> {
    let several = targets.len() > 1;
    let mut conversions = Vec::new();
    let mut uses: HashMap<PathBuf, usize> = HashMap::new();
    for input in inputs {
        *uses.entry(stem(&input.relative)).or_default() += 1;
    }
    for input in inputs {
        for &target in targets {
            let output = match destination {
                Destination::One(output) => output.clone(),
                Destination::Folder(folder) => {
                    let stem = stem(&input.relative);
                    // The results of a.fbx and a.obj keep the source's extension in their names.
                    let stem = if uses[&stem] > 1 { input.relative.clone() } else { stem };
                    in_tree(&folder.join(stem), target, several, as_zip)
                }
            };
            conversions.push(PlannedConversion { input: input.clone(), target, output });
        }
    }
    clash(&conversions)?;
    Ok(conversions)
}

fn in_tree(stem: &Path, target: Format, several: bool, as_zip: bool) -> Output {
    let file = stem.with_added_extension(extension(target));
    if as_zip {
        return Output::Zip(file.with_added_extension("zip"));
    }
    let mut bundle = stem.as_os_str().to_owned();
    if several {
        // Each target has its own folder, since their textures may have equal names.
        bundle.push(format!("-{target}"));
    }
    Output::Tree { file, bundle: bundle.into() }
}

/// The file extension for results of this format.
pub fn extension(format: Format) -> &'static str {
    format.info().extensions.first().copied().unwrap_or(format.name())
}

/// The path without a model's extension; any other extension is part of the name.
fn stem(path: &Path) -> PathBuf {
    if is_model(path) { path.with_extension("") } else { path.to_owned() }
}

fn clash(conversions: &[PlannedConversion]) -> Result<(), UsageError> {
    let mut seen: HashMap<&Path, &PlannedConversion> = HashMap::new();
    for planned in conversions {
        let Some(path) = planned.output.path() else { continue };
        if let Some(other) = seen.insert(path, planned) {
            return Err(format!(
                "{} and {} would both become {}; convert them into different folders",
                planned.input.name(),
                other.input.name(),
                path.display()
            ));
        }
    }
    Ok(())
}

impl Input {
    /// The name to show to people.
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::Stdin => "-".to_owned(),
            Origin::File(path) | Origin::Folder(path) => path.display().to_string(),
        }
    }
}

impl Output {
    /// The file of a result that is one file; `None` for standard output.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Output::Stdout => None,
            Output::File(path) | Output::Zip(path) | Output::Tree { file: path, .. } => Some(path),
        }
    }

    /// The name to show to people before the file exists.
    pub fn name(&self) -> String {
        self.path().map_or_else(|| "-".to_owned(), |path| path.display().to_string())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
