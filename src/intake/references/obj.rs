//! Resolves the material libraries of an OBJ and their textures, line by line, as the files are large.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Write};

use indexmap::IndexSet;

use super::findings::Findings;
use super::rewrite::{relative, rewrite};
use super::statements::{Replacement, Statements};
use crate::domain::ConversionError;
use crate::formats::mtl::texture_name;
use crate::formats::text;
use crate::fs::names;
use crate::intake::model_files::{Files, Resolved};
use crate::intake::source::unreadable;

/// Most different library statements that are resolved; real files have one.
const MAX_STATEMENTS: usize = 1000;

/// Most different texture statements of a library that are resolved.
const MAX_TEXTURES: usize = 20_000;

pub fn resolve(files: &mut Files, index: usize, findings: &mut Findings) -> Result<(), ConversionError> {
    let mut statements = find_statements(files, index, MAX_STATEMENTS, is_mtllib)?;
    let mut libraries = BTreeSet::new();
    if statements.is_empty() {
        libraries.extend(own_library(files, index)?);
    }
    let changed =
        statements.resolve(files, |files, line| library(files, index, line, &mut libraries, findings))?;
    if changed {
        write_changed(files, index, &statements, is_mtllib)?;
    }
    for library in libraries {
        textures(files, library, findings)?;
    }
    Ok(())
}

/// Collects up to `most` different statements of the file.
fn find_statements(
    files: &Files,
    index: usize,
    most: usize,
    is_statement: impl Fn(&[u8]) -> bool,
) -> Result<Statements, ConversionError> {
    let mut statements = Statements::new(most);
    let file = File::open(files.path(index).unwrap_or_default()).map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(1 << 16, files.context().cancel.reader(file));
    let read = text::for_each(&mut reader, |line, whole| {
        if whole && is_statement(line) {
            statements.note(line);
        }
        Ok(())
    });
    read.map(|()| statements).map_err(unreadable)
}

/// Rewrites the file with its changed statements, without statements beyond the limits, which were not resolved.
fn write_changed(
    files: &mut Files,
    index: usize,
    statements: &Statements,
    is_statement: impl Fn(&[u8]) -> bool,
) -> Result<(), ConversionError> {
    rewrite(files, index, |reader, writer| {
        text::for_each(reader, |line, whole| {
            if whole && is_statement(line) {
                return statements.write(line, b"", writer);
            }
            writer.write_all(line)
        })
    })
}

fn is_mtllib(line: &[u8]) -> bool {
    text::statement(line).0.eq_ignore_ascii_case(b"mtllib")
}

/// Resolves one `mtllib` line: a name, which may hold spaces, or several names.
fn library(
    files: &mut Files,
    index: usize,
    line: &[u8],
    libraries: &mut BTreeSet<usize>,
    findings: &mut Findings,
) -> Result<Replacement, ConversionError> {
    let text = names::decode(text::statement(line).1);
    let whole = unquoted(&text);
    let mut wanted = vec![whole];
    let is_found = matches!(files.resolve(index, whole)?, Resolved::Found(_));
    if !is_found && text.to_lowercase().matches(".mtl").count() > 1 {
        wanted = text.split_whitespace().map(unquoted).collect();
    }
    let mut found = IndexSet::new();
    for name in &wanted {
        match files.resolve(index, name)? {
            Resolved::Found(library) => {
                files.take(library)?;
                found.insert(library);
            }
            absent => {
                let outside = absent == Resolved::Outside;
                let why = if outside { "lies outside the model and was not opened" } else { "was not found" };
                findings.warn(format!("material library {} {why}", names::quoted(name)));
            }
        }
    }
    libraries.extend(&found);
    if let (Some(only), 1) = (found.first(), wanted.len())
        && relative(files, index, *only) == whole
        && std::str::from_utf8(line).is_ok()
    {
        return Ok(None);
    }
    let lines = found.into_iter().map(|library| format!("mtllib {}\n", relative(files, index, library)));
    Ok(Some(lines.collect::<String>().into_bytes()))
}

/// Finds the library with the name of the OBJ, which Blender reads when the OBJ names none.
fn own_library(files: &mut Files, index: usize) -> Result<Option<usize>, ConversionError> {
    let name = format!("{}.mtl", names::split_extension(names::base_name(files.name(index))).0);
    let Resolved::Found(library) = files.resolve(index, &name)? else { return Ok(None) };
    files.take(library)?;
    Ok(Some(library))
}

/// Resolves the textures of the library at `index`.
fn textures(files: &mut Files, index: usize, findings: &mut Findings) -> Result<(), ConversionError> {
    let is_texture = |line: &[u8]| texture_name(line).is_some();
    let mut statements = find_statements(files, index, MAX_TEXTURES, is_texture)?;
    if statements.resolve(files, |files, line| texture(files, index, line, findings))? {
        write_changed(files, index, &statements, is_texture)?;
    }
    Ok(())
}

fn texture(
    files: &mut Files,
    index: usize,
    line: &[u8],
    findings: &mut Findings,
) -> Result<Replacement, ConversionError> {
    let Some((before, name)) = texture_name(line) else { return Ok(None) };
    let text = names::decode(name);
    let wanted = unquoted(&text);
    if wanted.contains("<UDIM>") && names::components(wanted).is_some() {
        return Ok(None);
    }
    let Resolved::Found(texture) = files.resolve(index, wanted)? else {
        findings.missing_texture(wanted);
        return Ok(Some(Vec::new()));
    };
    files.take(texture)?;
    let new = relative(files, index, texture);
    if new == wanted && std::str::from_utf8(name).is_ok() {
        return Ok(None);
    }
    Ok(Some([before, new.as_bytes(), b"\n"].concat()))
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name)
}
