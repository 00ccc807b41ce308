//! Files that change while they are read. (`intake::model_files` has the tests that need no race.)

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use meshgate::intake::{ModelLimits, Source};
use rustix::fs::{CWD, RenameFlags};

use super::{Desk, OBJ, listing};

/// Enough attempts to hit a race many times, if there is one.
const TRIES: usize = 300;

#[test]
fn links_swapped_in_at_any_time_are_not_followed() {
    let desk = Desk::new();
    let secret = desk.folder.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("skin.png"), "secret").unwrap();
    let main = desk.put("a.obj", format!("mtllib a.mtl\n{OBJ}"));
    desk.put("a.mtl", "newmtl a\nmap_Kd sub/skin.png\nnewmtl b\nmap_Kd other.png\n");
    desk.put("sub/skin.png", "public");
    desk.put("other.png", "public");
    let other_folder = desk.folder.path().join("link-to-folder");
    let other_file = desk.folder.path().join("link-to-file");
    symlink(&secret, &other_folder).unwrap();
    symlink(secret.join("skin.png"), &other_file).unwrap();

    let over = AtomicBool::new(false);
    let mut copied = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (one, other) in
                    [(&other_folder, desk.sent().join("sub")), (&other_file, desk.sent().join("other.png"))]
                {
                    rustix::fs::renameat_with(CWD, one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            }
        });
        for number in 0..TRIES {
            let source = if number % 2 == 0 {
                Source::Folder(desk.sent())
            } else {
                Source::FileWithSiblings(main.clone())
            };
            // A file that cannot be read is left out or is an error; both are correct here.
            let Ok(model) = desk.prepare(&source, None, ModelLimits::default()) else { continue };
            for name in listing(&model.folder).iter().filter(|name| name.contains(".png")) {
                let content = fs::read_to_string(model.folder.join(name)).unwrap();
                if content != "public" {
                    over.store(true, Ordering::Relaxed);
                }
                assert_eq!(content, "public", "{name}");
                copied += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(copied > 0, "no texture was ever there");
}
