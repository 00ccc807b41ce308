//! A missing engine: clients learn that it is missing, the operator learns why.

use std::sync::Arc;

use meshgate::conversion::{Admission, Converter, Spec};
use meshgate::domain::{ConversionError, ErrorCode, Format, Options};
use meshgate::executor::local::locate::Engine;
use meshgate::executor::local::{EngineError, LocalExecutor, Settings};
use meshgate::executor::workdir::WorkDir;
use meshgate::intake::{ModelLimits, Source};

use super::bad_input::CUBE;
use super::{Fixture, LONG};

/// Converts with this engine; returns the error for the client and the reason for the operator.
async fn errors_with(
    engine: impl FnOnce(&WorkDir) -> Result<Settings, EngineError>,
) -> (ConversionError, String) {
    let fixture = Fixture::new();
    let work = WorkDir::open(&fixture.path("other")).unwrap();
    let converter = Converter::new(
        Arc::new(LocalExecutor::new(engine(&work))),
        work,
        ModelLimits::default(),
        Admission::unbounded(1),
    );
    let spec = Spec {
        sources: Source::FileWithSiblings(fixture.put("cube.obj", CUBE)),
        main: None,
        target: Format::Stl,
        options: Options::default(),
        timeout: LONG,
    };
    let error = converter.convert(spec, &|_, _| ()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::EngineUnavailable);
    assert!(!error.detail.contains('/'), "{error}");
    (error, converter.executor().trouble().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_learns_why_the_engine_fails() {
    let path = "/nowhere/python";
    let (error, why) =
        errors_with(|_| Err(EngineError::NotExecutable { setting: "BLENDER_PYTHON", path: path.into() }))
            .await;
    assert_eq!(error.detail, "the engine does not start");
    assert_eq!(why, "BLENDER_PYTHON is /nowhere/python, which is not an executable file");

    let (error, why) =
        errors_with(|work| Ok(Settings::new(Engine::Python("/bin/ls".into()), work.clone()))).await;
    assert_eq!(error.detail, "the engine does not start (exit status: 2)");
    assert!(why.contains("/bin/ls"), "{why}");
}
