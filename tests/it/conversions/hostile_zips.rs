//! Hostile zips and folders, converted end to end.

use std::os::unix::fs::{PermissionsExt, symlink};

use meshgate::conversion::{FinishedConversion, Spec};
use meshgate::domain::{ConversionError, ErrorCode, Format, Options};
use meshgate::intake::{FileSource, NamedFile, Source};

use super::bad_input::CUBE;
use super::hostile_input::refused;
use super::{Fixture, LONG};
use crate::intake::zip_of;

#[tokio::test(flavor = "multi_thread")]
async fn harmful_zips_get_a_one_line_error() {
    let fixture = Fixture::new();
    let cube = CUBE.as_bytes();
    let mut encrypted = zip_of(&[("a.obj", cube)]);
    let directory = encrypted.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    encrypted[6] |= 1;
    encrypted[directory + 8] |= 1;
    let nested = zip_of(&[("inner.zip", &zip_of(&[("a.obj", cube)]))]);
    let bomb = zip_of(&[("a.obj", &vec![b' '; 64 << 20])]);
    let deep = format!("{}a.obj", "a/".repeat(2000));
    let long = format!("{}/a.obj", "long".repeat(40));
    let long = format!("{}a.obj", format!("{long}/").repeat(30));
    let rows = [
        ("slip.zip", zip_of(&[("../../slip.obj", cube)]), ErrorCode::InvalidArchive, "outside"),
        ("root.zip", zip_of(&[("/etc/slip.obj", cube)]), ErrorCode::InvalidArchive, "outside"),
        ("bomb.zip", bomb, ErrorCode::TooLarge, "200 times"),
        ("nested.zip", nested, ErrorCode::InvalidArchive, "another zip"),
        ("encrypted.zip", encrypted, ErrorCode::EncryptedArchive, "password"),
        ("two.zip", zip_of(&[("a.obj", cube), ("b.obj", cube)]), ErrorCode::AmbiguousModel, "a.obj"),
        ("deep.zip", zip_of(&[(&deep, cube)]), ErrorCode::InvalidArchive, "deeply"),
        ("long.zip", zip_of(&[(&long, cube)]), ErrorCode::InvalidArchive, "too long"),
        ("empty.zip", zip_of(&[]), ErrorCode::UnknownFormat, "empty"),
        ("cut.zip", zip_of(&[("a.obj", cube)])[..60].to_vec(), ErrorCode::InvalidArchive, "damaged"),
    ];
    for (name, zip, code, word) in rows {
        refused(&fixture, &fixture.put(&format!("{name}.d/{name}"), zip), Format::Stl, code, word).await;
    }
    assert!(!fixture.path("slip.obj").exists());
    fixture.converter.executor().shutdown().await;
}

async fn send(fixture: &Fixture, sources: Source) -> Result<FinishedConversion, ConversionError> {
    let spec = Spec { sources, main: None, target: Format::Glb, options: Options::default(), timeout: LONG };
    fixture.converter.convert(spec, &|_, _| ()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_files_in_a_folder_are_left_out() {
    let fixture = Fixture::new();
    fixture.put("sent/model.obj", format!("mtllib model.mtl\nusemtl a\n{CUBE}"));
    fixture.put(
        "sent/model.mtl",
        "newmtl a\nmap_Kd skin.png\nmap_Bump pipe.png\nmap_Ks empty.png\nmap_Ke -dash.png\n",
    );
    fixture.put("sent/empty.png", "");
    fixture.put("sent/-dash.png", b"\x89PNG\r\n\x1a\n");
    fixture.put(&format!("sent/{}", "x".repeat(255)), "x");
    fixture.put("sent/Model.MTL", "newmtl other\n");
    fixture.put("secret.png", b"the-secret-of-this-machine");
    symlink("../secret.png", fixture.path("sent/skin.png")).unwrap();
    symlink("..", fixture.path("sent/up")).unwrap();
    symlink("nowhere", fixture.path("sent/dangling.obj")).unwrap();
    let node = |name: &str, kind, device| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, fixture.path(name), kind, mode, device)
    };
    node("sent/pipe.png", rustix::fs::FileType::Fifo, 0).unwrap();
    if rustix::process::geteuid().is_root() {
        let zero = rustix::fs::makedev(1, 5);
        if let Err(error) = node("sent/zero.png", rustix::fs::FileType::CharacterDevice, zero) {
            eprintln!("no device among the traps: {error}");
        }
    }
    // Unreadable for everybody except root.
    let closed = fixture.put("sent/closed.png", "x");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();

    for sources in
        [Source::Folder(fixture.path("sent")), Source::FileWithSiblings(fixture.path("sent/model.obj"))]
    {
        let conversion =
            send(&fixture, sources.clone()).await.unwrap_or_else(|error| panic!("{sources:?}: {error}"));
        let missing = &conversion.report.input.counts.missing_textures;
        assert!(missing.iter().any(|name| name == "skin.png"), "{sources:?}: {:?}", conversion.report);
        let bytes = std::fs::read(&conversion.files[0]).unwrap();
        assert!(!bytes.windows(10).any(|bytes| bytes == b"the-secret"), "{sources:?}");
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_are_never_read_as_options_or_commands() {
    let fixture = Fixture::new();
    let long = format!("{}.obj", "猫".repeat(83));
    for name in [
        "-rf.obj",
        "--python-expr=x.obj",
        "$(id).obj",
        "'; x.obj",
        long.as_str(),
        "con\x1b[2J.obj",
        "%s%n.obj",
    ] {
        let path = fixture.put(name, CUBE);
        let sent = Source::Files(vec![NamedFile {
            file: FileSource::UserFile(path.clone()),
            name: name.to_owned(),
        }]);
        for sources in [sent, Source::FileWithSiblings(path)] {
            let conversion =
                send(&fixture, sources).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert_eq!(conversion.report.output.counts.triangles, 12, "{name:?}");
            assert!(!conversion.stem.contains(char::is_control), "{name:?}");
        }
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_beyond_the_limits_is_refused() {
    let mut fixture = Fixture::new();
    fixture.put("sent/a.obj", CUBE);
    fixture.put("sent/texture.png", vec![0; 3 << 20]);
    let limits = meshgate::intake::ModelLimits { max_unpacked: 1 << 20, max_entries: 10 };
    fixture.limit(limits);
    let error = send(&fixture, Source::Folder(fixture.path("sent"))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge, "{error}");
    std::fs::remove_file(fixture.path("sent/texture.png")).unwrap();
    for number in 0..10 {
        fixture.put(&format!("sent/{number}.png"), "x");
    }
    let error = send(&fixture, Source::Folder(fixture.path("sent"))).await.unwrap_err();
    assert_eq!(error.detail, "the model has more than 10 files");
    std::fs::remove_file(fixture.path("sent/0.png")).unwrap();
    send(&fixture, Source::Folder(fixture.path("sent"))).await.unwrap();
}
