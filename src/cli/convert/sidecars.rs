//! Further files beside a named result, where other models may have files too. The material library takes the name of
//! its obj, and an existing file is replaced only if it belongs to this model.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::plan::Output;

/// Most bytes of an obj to search for its library. Only comments precede it; any other statement ends the search.
const MAX_HEAD: u64 = 4096;

/// The material library of an obj: its name in the result, and its name at the destination.
#[derive(Debug)]
pub struct Library {
    old: String,
    new: String,
}

impl Library {
    /// Returns the library to rename; `None` if there is none, or both names are equal.
    pub fn of(files: &[PathBuf], output: &Output) -> Option<Library> {
        let Output::File(target) = output else { return None };
        let main = files.first()?;
        let library = main.with_extension("mtl");
        if main.extension()? != "obj" || !files.contains(&library) {
            return None;
        }
        let old = library.file_name()?.to_str()?.to_owned();
        let new = target.with_extension("mtl").file_name()?.to_str()?.to_owned();
        // A `mtllib` line cannot hold every name.
        let fits = new.trim() == new && !new.contains(|c: char| c.is_control());
        (fits && new != old).then_some(Library { old, new })
    }

    /// The name at the destination of the file `name` of the result.
    pub fn rename<'a>(&'a self, name: &'a Path) -> &'a Path {
        if name == Path::new(&self.old) { Path::new(&self.new) } else { name }
    }

    /// Copies the head of the obj and renames the library in it; leaves the rest in `from`.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn copy_head(&self, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        let mut left = MAX_HEAD;
        loop {
            line.clear();
            left -= from.by_ref().take(left).read_until(b'\n', &mut line)? as u64;
            if line.strip_prefix(b"mtllib ").is_some_and(|name| name.trim_ascii() == self.old.as_bytes()) {
                return writeln!(to, "mtllib {}", self.new);
            }
            to.write_all(&line)?;
            if !line.starts_with(b"#") || left == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether two files have equal content.
///
/// # Errors
/// When one of them cannot be read.
pub fn are_equal(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let count = a.len().min(b.len());
        if a[..count] != b[..count] || a.is_empty() != b.is_empty() {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
        one.consume(count);
        other.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(obj: &str) -> String {
        let library = Library { old: "far.mtl".into(), new: "near by.mtl".into() };
        let (mut from, mut to) = (obj.as_bytes(), Vec::new());
        library.copy_head(&mut from, &mut to).unwrap();
        io::copy(&mut from, &mut to).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn renaming_the_library_changes_nothing_else() {
        let head = "# Blender\n#\nmtllib far.mtl\no a\nmtllib far.mtl\n";
        assert_eq!(copied(head), head.replacen("far", "near by", 1));
        for same in ["", "# only", "o a\nmtllib far.mtl\n", "# a\nmtllib farther.mtl\nv 0 0 0\n"] {
            assert_eq!(copied(same), same);
        }
        let long = format!("#{}\nmtllib far.mtl\n", "x".repeat(10_000));
        assert_eq!(copied(&long), long);
    }

    #[test]
    fn only_the_library_of_a_named_obj_is_renamed() {
        let files = ["out/a.obj", "out/a.mtl", "out/b.mtl"].map(PathBuf::from);
        let of = |target: &str| Library::of(&files, &Output::File(target.into()));
        let library = of("there/x y.obj").unwrap();
        assert_eq!(library.rename(Path::new("a.mtl")), Path::new("x y.mtl"));
        assert_eq!(library.rename(Path::new("b.mtl")), Path::new("b.mtl"));
        assert!(of("there/a.obj").is_none() && of("a\nb.obj").is_none());
        assert!(Library::of(&files, &Output::Zip("x.zip".into())).is_none());
        assert!(Library::of(&files[..1], &Output::File("x.obj".into())).is_none());
    }

    #[test]
    fn files_are_compared_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let long = vec![7; 100_000];
        let mut other = long.clone();
        other[99_999] = 8;
        let (one, same) = (put("one", &long), put("same", &long));
        assert!(are_equal(&one, &same).unwrap());
        assert!(!are_equal(&one, &put("other", &other)).unwrap());
        assert!(!are_equal(&one, &put("short", b"7")).unwrap());
        assert!(are_equal(&one, &folder.path().join("none")).is_err());
    }
}
