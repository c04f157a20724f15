//! Registries on the loopback: Debian's `docker-registry`, and one that does whatever a test says.

use super::{Folder, Program, free_port, wait_for};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The user of a registry with authentication.
pub const USER: &str = "gopher";
/// The user's password: looked for in everything that is printed.
pub const PASSWORD: &str = "hunter2-correct-horse";

/// A name that nobody can resolve, for which a registry with TLS has a certificate.
pub const TLS_NAME: &str = "registry.example";

/// A running `docker-registry`, with its storage in a folder of its own.
pub struct DockerRegistry {
    port: u16,
    folder: Folder,
    _program: Program,
}

impl DockerRegistry {
    /// Without authentication, by plain HTTP.
    pub fn plain() -> Self {
        Self::start(Folder::new(), "")
    }

    /// With one user.
    pub fn with_user() -> Self {
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let folder = Folder::new().with("htpasswd", format!("{USER}:{hash}\n"));
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", folder.path().join("htpasswd").display());
        Self::start(folder, &auth)
    }

    /// With a certificate for 127.0.0.1 and [`TLS_NAME`] by an authority of its own, whose certificate is `ca.crt` in the folder.
    pub fn with_tls() -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "wasmpod test authority");
        let issued = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), TLS_NAME.to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let folder =
            Folder::new().with("ca.crt", issued.pem()).with("tls.crt", certificate.pem()).with("tls.key", key.serialize_pem());
        let path = folder.path().display().to_string();
        Self::start(folder, &format!("  tls: {{certificate: {path}/tls.crt, key: {path}/tls.key}}\n"))
    }

    fn start(folder: Folder, more: &str) -> Self {
        let port = free_port();
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n{more}",
            storage.display()
        );
        let folder = folder.with("config.yml", config);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program::spawn(&mut command);
        wait_for("docker-registry", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        Self { port, folder, _program: program }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A path in the registry's folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// A proxy that tunnels every connection to one port of the loopback, whatever the name; and remembers what it was asked.
pub struct FakeProxy {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeProxy {
    pub fn start(to_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                // It breaks off when either side does.
                std::thread::spawn(move || drop(tunnel(stream, to_port, &log)));
            }
        });
        Self { port, asked }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, to_port: u16, log: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let asked = read_request(&mut BufReader::new(client.try_clone()?));
    let Some(asked) = asked.filter(|asked| asked.method == "CONNECT") else { return Ok(()) };
    log.lock().unwrap().push(asked);
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to_port))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to).and_then(|_| to.shutdown(std::net::Shutdown::Write)));
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Write)
}

/// One request that a [`FakeRegistry`] got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What it answers.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// The bytes of an answer.
pub enum Body {
    /// These, with their length in the header.
    Bytes(Vec<u8>),
    /// These and then so many zero bytes, without saying how many it will be.
    Endless(Vec<u8>, u64),
    /// These, a piece every few milliseconds.
    Slow(Vec<u8>),
    /// A zero byte a second, without end.
    Trickle,
    /// Not even a status, for longer than anybody waits.
    Silence,
    /// These, with a length that promises more, and then nothing.
    Cut(Vec<u8>, usize),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(body.into()) }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A registry that answers what a function says, and remembers what it was asked.
pub struct FakeRegistry {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeRegistry {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        // Both threads end with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { port, asked }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked for something whose path contains `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == method && asked.path.contains(part)).count()
    }
}

/// Answers one request. Who goes away in the midst is no failure: that is what the tests are about.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &(impl Fn(&Asked) -> Answer + ?Sized)) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut first = [0];
    // A client that tries TLS first: close, as a server does that knows only HTTP.
    if stream.peek(&mut first).unwrap_or(0) == 0 || first == [0x16] {
        return;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(asked) = read_request(&mut reader) else { return };
    log.lock().unwrap().push(asked.clone());
    if let Err(error) = write_answer(&mut stream, &asked, answer(&asked)) {
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap_or(0);
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    Some(Asked { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn write_answer(stream: &mut TcpStream, asked: &Asked, answer: Answer) -> std::io::Result<()> {
    let length = match &answer.body {
        Body::Bytes(bytes) => Some(bytes.len()),
        Body::Cut(_, promised) => Some(*promised),
        Body::Slow(_) | Body::Endless(..) | Body::Trickle | Body::Silence => None,
    };
    if matches!(answer.body, Body::Silence) {
        std::thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Whatever\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    match answer.body {
        Body::Bytes(bytes) | Body::Cut(bytes, _) => stream.write_all(&bytes),
        Body::Silence => Ok(()),
        Body::Trickle => loop {
            stream.write_all(&[0])?;
            std::thread::sleep(Duration::from_secs(1));
        },
        Body::Endless(start, more) => {
            stream.write_all(&start)?;
            let zeros = [0; 64 << 10];
            (0..more / zeros.len() as u64).try_for_each(|_| stream.write_all(&zeros))
        }
        Body::Slow(bytes) => bytes.chunks(bytes.len().div_ceil(20).max(1)).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(piece)
        }),
    }
}

/// A WebAssembly artifact as a registry has it.
pub struct Artifact {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

/// `sha256:…` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Artifact {
    pub fn new(wasm: &[u8]) -> Self {
        Self::with_layer_size(wasm, wasm.len() as u64)
    }

    /// One whose manifest says this size of its layer.
    pub fn with_layer_size(wasm: &[u8], size: u64) -> Self {
        let config = br#"{"architecture":"wasm","os":"wasip1"}"#.to_vec();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(&config), "size": config.len() },
            "layers": [{ "mediaType": "application/wasm", "digest": digest(wasm), "size": size }],
        });
        Self { layer: wasm.to_vec(), config, manifest: manifest.to_string().into_bytes() }
    }

    /// The honest answer, whatever the repository and tag.
    pub fn answer(&self, asked: &Asked) -> Answer {
        if asked.path.contains("/manifests/") {
            let answer = Answer::new(200, self.manifest.clone()).with("content-type", "application/vnd.oci.image.manifest.v1+json");
            return answer.with("docker-content-digest", &digest(&self.manifest));
        }
        let blobs = [&self.layer, &self.config];
        match blobs.into_iter().find(|blob| asked.path.ends_with(&digest(blob))) {
            Some(blob) => match asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
                Some(start) => {
                    let start: usize = start.parse().unwrap();
                    let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
                    Answer::new(206, &blob[start..]).with("content-range", &range)
                }
                None => Answer::new(200, blob.clone()),
            },
            None if asked.path == "/v2/" => Answer::new(200, "{}"),
            None => Answer::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#),
        }
    }
}

/// Names and sizes of the files below a directory of the store of `folder`.
pub fn store_files(folder: &Folder, name: &str) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder.path().join("root/images").join(name)).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
}

/// A text without the port of a registry, and without digests.
pub fn without_port(text: &str, port: u16) -> String {
    let text = text.replace(&port.to_string(), "PORT");
    let mut parts = text.split("sha256:");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        plain.push_str("sha256:DIGEST");
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    plain
}

/// An answer that refuses, as the distribution specification has it.
pub fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

/// A pod of containers with these images.
pub fn pod(images: &[&str], more: &str) -> String {
    let containers = images.iter().enumerate().map(|(index, image)| format!("  - {{name: c{index}, image: '{image}'}}\n"));
    let containers: String = containers.collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: test}}\nspec:\n  restartPolicy: Never\n{more}  containers:\n{containers}")
}
