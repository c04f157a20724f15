//! What to run: a manifest, or a single WebAssembly file or image around which a pod is made.

use crate::args::{PublishArg, RunArgs};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::HashSet;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use wasmpod::engine::looks_like_webassembly;
use wasmpod::image::ImageReference;
use wasmpod::limits::MANIFEST_BYTES_MAX;
use wasmpod::manifest::{Manifest, ParseOptions};
use wasmpod::pod::spec::Protocol;
use wasmpod::{Error, Result};

/// How much of a file is read at first: most manifests, and enough to tell a program.
const FIRST_READ_BYTES: usize = 8 << 10;

/// What the command line names.
pub(crate) struct Target {
    pub(crate) manifest: Manifest,
    /// Where relative image paths start.
    pub(crate) base: PathBuf,
    /// Whether it is a single file or image: its container reads this process's standard input.
    pub(crate) is_file: bool,
    /// How many guests can be busy at a time, where that is known.
    pub(crate) guests: Option<NonZeroUsize>,
}

/// Reads the target and tells by its bytes what it is.
pub(crate) fn read(args: &RunArgs) -> Result<Target> {
    let path = &args.target;
    if path == Path::new("-") {
        let bytes = limited(std::io::stdin().lock(), "standard input")?;
        refuse_arguments(args)?;
        let manifest = Manifest::from_bytes_with(&bytes, "standard input", options(args))?;
        return Ok(Target { manifest, base: PathBuf::new(), is_file: false, guests: None });
    }
    let source = path.display().to_string();
    if let Some(image) = image(path) {
        let manifest = Manifest::from_pod(&pod_around(image, args), &source)?;
        return Ok(Target { manifest, base: PathBuf::new(), is_file: true, guests: None });
    }
    let file = std::fs::File::open(path).map_err(|error| cannot_read(error, &source))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::invalid("this is a directory").at(source).hint("name the manifest or the .wasm file in it"));
    }
    let bytes = read_to_tell(file, &source)?;
    // No manifest holds a zero byte: whatever binary it is, the engine knows better what to say about it.
    if looks_like_webassembly(&bytes) || bytes.contains(&0) || (bytes.is_empty() && is_called_webassembly(path)) {
        let image = path.to_str().ok_or_else(|| Error::invalid("the path is not UTF-8").at(&source))?;
        let manifest = Manifest::from_pod(&pod_around(&format!("file:{image}"), args), &source)?;
        // A core module is one program; a component may be one that answers many requests at a time.
        let guests = bytes.starts_with(b"\0asm\x01\0\0\0").then_some(NonZeroUsize::MIN);
        return Ok(Target { manifest, base: PathBuf::new(), is_file: true, guests });
    }
    refuse_arguments(args)?;
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(Target { manifest: Manifest::from_bytes_with(&bytes, &source, options(args))?, base, is_file: false, guests: None })
}

fn options(args: &RunArgs) -> ParseOptions {
    ParseOptions { ignore_unknown_kinds: args.ignore_unknown }
}

/// Reads a manifest, or as much of a program as says that it is one: the engine reads the rest.
fn read_to_tell(mut file: std::fs::File, source: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_READ_BYTES);
    (&mut file).take(FIRST_READ_BYTES as u64).read_to_end(&mut bytes).map_err(|error| cannot_read(error, source))?;
    if !looks_like_webassembly(&bytes) && bytes.len() == FIRST_READ_BYTES {
        bytes.append(&mut limited(file, source)?);
    }
    Ok(bytes)
}

/// Reads one byte more than a manifest may have: enough for the parser to say that it is too long.
fn limited(reader: impl std::io::Read, source: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut bytes).map_err(|error| cannot_read(error, source))?;
    Ok(bytes)
}

fn cannot_read(error: std::io::Error, source: &str) -> Error {
    Error::io("cannot read it", error)
        .at(source)
        .hint("wasmpod run takes a Pod manifest, a .wasm or .wat file, an image, or - for a manifest from stdin")
}

fn refuse_arguments(args: &RunArgs) -> Result<()> {
    if args.args.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("arguments after -- are for a WebAssembly file or image; a manifest has its own")
        .at(args.target.display().to_string())
        .hint("set spec.containers[].args in the manifest"))
}

/// The image that the target names, if it is no file: what is there comes first, and what is called like a manifest or a program is
/// taken for a file that is missing.
fn image(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let is_called_manifest =
        path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    match ImageReference::parse(text, None).ok()? {
        ImageReference::File(_) => text.starts_with("file:").then_some(text),
        ImageReference::Registry(_) if path.exists() || is_called_manifest => None,
        _ => Some(text),
    }
}

fn is_called_webassembly(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm" || extension == "wat")
}

/// The pod that runs a single image: once, with the arguments of the command line.
fn pod_around(image: &str, args: &RunArgs) -> v1::Pod {
    let stem = match image.strip_prefix("file:") {
        Some(path) => Path::new(path).file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default(),
        None => {
            let path = image.strip_prefix("oci-archive:").or_else(|| image.strip_prefix("oci:")).unwrap_or(image);
            let last = path.rsplit('/').next().unwrap_or_default();
            last.split([':', '@']).next().unwrap_or_default().to_lowercase()
        }
    };
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "container" } else { name }.to_owned();
    let container = v1::Container {
        name: name.clone(),
        image: Some(image.to_owned()),
        args: (!args.args.is_empty()).then(|| args.args.clone()),
        ports: Some(container_ports(&args.publish)),
        ..v1::Container::default()
    };
    let spec = v1::PodSpec { containers: vec![container], restart_policy: Some("Never".to_owned()), ..v1::PodSpec::default() };
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    v1::Pod { metadata, spec: Some(spec), status: None }
}

/// The published ports, declared: a preview-1 module gets its listeners from them, an HTTP component its port.
fn container_ports(publish: &[PublishArg]) -> Vec<v1::ContainerPort> {
    let mut declared: Vec<_> = publish.iter().map(|publish| (publish.container_port, publish.protocol)).collect();
    let mut seen = HashSet::new();
    declared.retain(|port| seen.insert(*port));
    let port = |(port, protocol): (u16, Protocol)| v1::ContainerPort {
        container_port: port.into(),
        protocol: Some(match protocol {
            Protocol::Tcp => "TCP".to_owned(),
            Protocol::Udp => "UDP".to_owned(),
        }),
        ..v1::ContainerPort::default()
    };
    declared.into_iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Verb};
    use clap::Parser as _;

    fn target(contents: &[u8]) -> Target {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("target");
        std::fs::write(&file, contents).unwrap();
        match Args::parse_from(["wasmpod".as_ref(), "run".as_ref(), file.as_os_str()]).verb {
            Verb::Run(args) => read(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Longer than what is read at first.
    fn long_comment(mark: &str) -> String {
        format!("{mark}\n").repeat(3 * FIRST_READ_BYTES / (mark.len() + 1))
    }

    #[test]
    fn a_manifest_is_read_to_its_end() {
        let pod = |name| {
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: x.wasm}}]}}\n")
        };
        let target = target(format!("{}{}---\n{}", pod("one"), long_comment("#"), pod("two")).as_bytes());
        assert!(!target.is_file);
        assert_eq!(target.manifest.workloads().count(), 2);
    }

    #[test]
    fn a_program_is_told_by_its_beginning() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.resize(5 * FIRST_READ_BYTES, 0);
        assert_eq!(target(&module).guests, Some(NonZeroUsize::MIN));
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.resize(5 * FIRST_READ_BYTES, 0);
        let component = target(&component);
        assert!(component.is_file && component.guests.is_none());
    }

    #[test]
    fn a_program_in_text_may_begin_with_a_long_comment() {
        assert!(target(format!("{}(module)", long_comment(";;")).as_bytes()).is_file);
    }
}
