//! An S3 server in its own process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use meshgate::config::{CloudOptions, Location};
use rustix::process::{Pid, Signal, kill_process};

/// moto on its own port; it ends when this is dropped, or with this process.
pub struct Server {
    process: Child,
    /// `http://127.0.0.1:PORT`
    pub address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The server that tests share; each test has its own bucket.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&["--port", "0"], &[]))
    }

    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/moto/bin/python");
        assert!(python.exists(), "run: make setup");
        let mut process = Command::new(python)
            .arg(root.join("tests/moto/serve.py"))
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let address = loop {
            let line = said.next().unwrap_or_else(|| panic!("it ended: {before:#?}")).unwrap();
            if let Some((_, address)) = line.split_once("Running on ") {
                break address.trim().to_owned();
            }
            before.push(line);
        };
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            said.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Server { process, address, lines }
    }

    /// The number of logged requests so far whose method and address contain `text`.
    pub fn requests(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Creates a user with all rights; returns its key and secret.
    pub async fn new_user(&self) -> (String, String) {
        // moto does not check these credentials, but reads from them which service the request is for.
        let credentials = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, \
                           Signature=none";
        let policy =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let user = "UserName=me&Version=2010-05-08";
        let mut key = String::new();
        for action in [
            format!("Action=CreateUser&{user}"),
            format!("Action=PutUserPolicy&PolicyName=all&{user}&PolicyDocument={policy}"),
            format!("Action=CreateAccessKey&{user}"),
        ] {
            let request = reqwest::Client::new()
                .post(&self.address)
                .header("authorization", credentials)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(action);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            key = answer.text().await.unwrap();
        }
        let part = |name: &str| {
            let (_, rest) = key.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        (part("AccessKeyId"), part("SecretAccessKey"))
    }

    /// The settings for a store in this bucket.
    pub fn location(&self, bucket: &str, options: &[(&str, &str)]) -> Location {
        let usual = [
            ("AWS_ENDPOINT", self.address.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let all = usual.iter().chain(options);
        let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Location::Bucket(format!("s3://{bucket}/some/prefix").parse().unwrap(), CloudOptions(all))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
