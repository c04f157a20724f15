//! Pods in this process, by the library: for what cannot be seen from outside the program.

use super::{Folder, shared_cache};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use wasmpod::container::Program;
use wasmpod::engine::{CompileLimits, Compiler, Engine, EngineConfig, EngineMode};
use wasmpod::image::{self, ImageReference};
use wasmpod::log::{LogSink, LogWriter, Stream, deliver, pipe};
use wasmpod::manifest::{LowerContext, Manifest};
use wasmpod::net::AddressPool;
use wasmpod::pod::backoff::BackoffPolicy;
use wasmpod::pod::spec::PodSpec;
use wasmpod::pod::state::{Attempt, ContainerIndex};
use wasmpod::pod::{ContainerImage, ContainerOutput, Pod, PodConfig, PodImages, Sandbox, SandboxConfig};

/// The one engine of this process.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let compiler = Compiler::Program(env!("CARGO_BIN_EXE_wasmpod-compile").into());
        Engine::new(EngineConfig {
            mode: EngineMode::Run,
            cache_dir: shared_cache(),
            compiler,
            compile_limits: CompileLimits::STANDARD,
            on_compile: None,
            guest_threads: None,
        })
        .unwrap()
    })
}

/// The addresses of all pods of this process.
fn addresses() -> &'static AddressPool {
    static POOL: OnceLock<AddressPool> = OnceLock::new();
    POOL.get_or_init(AddressPool::new)
}

/// A pod that runs, and what its containers printed so far.
pub struct TestPod {
    pub pod: Pod,
    output: Arc<Captured>,
    _folder: Folder,
}

impl TestPod {
    /// Starts the one pod of `manifest`, whose images are files of `folder`.
    pub async fn start(folder: Folder, manifest: &str) -> Self {
        Self::start_adjusted(folder, manifest, |_| ()).await
    }

    /// The same, as `adjust` has changed it.
    pub async fn start_adjusted(folder: Folder, manifest: &str, adjust: impl FnOnce(&mut PodSpec)) -> Self {
        let (sandbox, images) = prepare(&folder, manifest, adjust).await;
        let output = Arc::new(Captured::default());
        let backoff = BackoffPolicy::KUBELET.with_initial(Duration::from_millis(10));
        let config = PodConfig {
            sandbox,
            images: PodImages::Present(images),
            backoff,
            output: Arc::clone(&output) as _,
            host_ips: Vec::new(),
        };
        Self { pod: Pod::start(config).unwrap(), output, _folder: folder }
    }

    /// Everything that a container printed so far, all its runs together.
    pub fn printed(&self, container: usize) -> String {
        let texts = self.output.texts.lock().unwrap();
        texts.get(&container).map(|text| String::from_utf8_lossy(&text.lock().unwrap()).into_owned()).unwrap_or_default()
    }

    /// Waits until a container has printed `text`.
    pub async fn prints(&self, container: usize, text: &str) {
        while !self.printed(container).contains(text) {
            let state = self.pod.state();
            assert!(!state.is_finished(), "ended without printing {text:?}: {:?}, {:?}", self.printed(container), state.outcome());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The sandbox and the images of the one pod of `manifest`, as `adjust` has changed it; the images are files of `folder`.
pub async fn prepare(folder: &Folder, manifest: &str, adjust: impl FnOnce(&mut PodSpec)) -> (Sandbox, Vec<ContainerImage>) {
    let manifest = Manifest::parse(manifest, "test").unwrap();
    let mut spec = manifest.lower(|_| LowerContext::new("uid")).unwrap().remove(0).spec;
    adjust(&mut spec);
    let exec_program = match spec.exec_container() {
        Some(container) => Some(load(&container.image, folder.path()).await.program),
        None => None,
    };
    let mut images = Vec::new();
    for container in &spec.containers {
        let image = load(&container.image, folder.path()).await;
        images.push(ContainerImage { exec_program: exec_program.clone(), ..image });
    }
    (sandbox(engine(), folder, spec).await, images)
}

/// The sandbox of a pod on an engine.
pub async fn sandbox(engine: &Engine, folder: &Folder, spec: PodSpec) -> Sandbox {
    let config = SandboxConfig {
        engine: engine.clone(),
        addresses: addresses().take().unwrap(),
        state_dir: folder.path().to_path_buf(),
        claims_dir: None,
        publish: Vec::new(),
        stdin: None,
    };
    Sandbox::prepare(spec, config).await.unwrap()
}

pub async fn load(image: &str, base: &Path) -> ContainerImage {
    let reference = ImageReference::parse(image, Some(base)).unwrap();
    let contents = image::load(&reference).unwrap();
    let id = image::Digest::of(&contents.bytes).to_string();
    let artifact = engine().load(image, contents.bytes).await.unwrap();
    ContainerImage::of_program(Program::link(&artifact).unwrap(), id, image)
}

/// The output of a pod, kept in memory.
#[derive(Default)]
struct Captured {
    texts: Mutex<BTreeMap<usize, Arc<Mutex<Vec<u8>>>>>,
}

impl ContainerOutput for Captured {
    fn open(&self, container: ContainerIndex, _attempt: Attempt) -> LogWriter {
        let (writer, reader) = pipe();
        let mut sink = Text(Arc::clone(self.texts.lock().unwrap().entry(container.0).or_default()));
        tokio::spawn(async move { deliver(reader, &mut sink).await });
        writer
    }
}

struct Text(Arc<Mutex<Vec<u8>>>);

impl LogSink for Text {
    fn chunk(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }
}
