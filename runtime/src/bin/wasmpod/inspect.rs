//! `wasmpod inspect`: what an image is, and what a pod would grant it.

mod grants;

use super::args::{InspectArgs, TextFormat};
use super::image_store;
use grants::grant;
use indicatif::HumanBytes;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::Result;
use wasmpod::engine::{Description, describe};
use wasmpod::image::archive::LocalLayout;
use wasmpod::image::{self, Contents, Digest, Image, ImageReference, ImageStore};

/// Everything that is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected {
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Described>,
    program: Program,
}

/// What the documents of an image say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    digest: Digest,
    manifest: Digest,
    /// Bytes of the manifest, the config and the layers.
    size: u64,
    /// `wasm` or `files`.
    kind: &'static str,
    /// Operating system and architecture, where an index or the config of an ordinary image says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    layers: Vec<LayerRow>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    working_dir: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerRow {
    digest: Digest,
    media_type: String,
    size: u64,
}

/// What the program says about itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    digest: Digest,
    size: usize,
    component: bool,
    /// `wasi:cli/command`, `wasi:http/proxy`, or `wasip1` for a core module.
    target: Option<&'static str>,
    /// Why it cannot be run.
    problem: Option<String>,
    imports: Vec<Import>,
    exports: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Import {
    name: String,
    /// What a pod gives it; nothing where nobody provides it.
    grant: Option<&'static str>,
}

/// Looks at the image and prints what there is to say.
pub(crate) fn run(args: &InspectArgs, root: Option<&Path>) -> Result<ExitCode> {
    let inspected = match ImageReference::parse(&args.image, None)? {
        reference @ ImageReference::File(_) => file(&reference)?,
        ImageReference::Registry(_) => {
            let store = image_store::open(root)?;
            let tagged = image_store::find(&store, &args.image)?;
            let lease = store.lease()?;
            lease.hold_blocking(tagged.descriptor.digest)?;
            stored(tagged.name, &store, &store.image(&tagged.descriptor)?)?
        }
        reference => {
            let store = image_store::open(root)?;
            let (layout, top) = LocalLayout::open(&reference)?;
            let lease = store.lease()?;
            let image = image_store::block_on(store.fetch_image(&lease, &top, &layout, &|_, _| {}))?;
            stored(reference.to_string(), &store, &image)?
        }
    };
    match args.output {
        TextFormat::Json => image_store::print_json(&inspected)?,
        TextFormat::Text => image_store::print(&text(&inspected))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn file(reference: &ImageReference) -> Result<Inspected> {
    let contents = image::load(reference)?;
    let digest = Digest::of(&contents.bytes);
    let program = program(&contents.bytes, digest).map_err(|error| error.at(reference.to_string()))?;
    Ok(Inspected { reference: reference.to_string(), image: None, program })
}

fn stored(reference: String, store: &ImageStore, image: &Image) -> Result<Inspected> {
    let module = image.module(store, &image.config.argv(&[], &[]))?;
    let program = program(&module.bytes, module.digest)?;
    Ok(Inspected { reference, image: Some(described(image)), program })
}

fn described(image: &Image) -> Described {
    let layer =
        |layer: &image::Descriptor| LayerRow { digest: layer.digest, media_type: layer.media_type.clone(), size: layer.size };
    Described {
        digest: image.digest,
        manifest: image.manifest.digest,
        size: image.size(),
        kind: match image.contents {
            Contents::Module(_) => "wasm",
            Contents::RootFileSystem(_) => "files",
        },
        platform: Some(image.manifest.platform.as_ref().unwrap_or(&image.platform))
            .filter(|platform| !platform.architecture.is_empty() || !platform.os.is_empty())
            .map(ToString::to_string),
        layers: image.layers().into_iter().map(layer).collect(),
        entrypoint: image.config.entrypoint.clone(),
        cmd: image.config.cmd.clone(),
        env: image.config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: image.config.working_dir.clone(),
    }
}

fn program(wasm: &bytes::Bytes, digest: Digest) -> Result<Program> {
    let Description { component, target, imports, exports, .. } = describe(wasm)?;
    let import = |name: String| Import { grant: grant(&name), name };
    Ok(Program {
        digest,
        size: wasm.len(),
        component,
        target: target.as_ref().ok().map(|target| target.world().unwrap_or_else(|| target.os())),
        problem: target.err().map(|error| error.chain()),
        imports: imports.into_iter().map(import).collect(),
        exports,
    })
}

/// The description for people: a name, then its values. Text from the image is escaped, since it could move the cursor.
fn text(inspected: &Inspected) -> String {
    let mut lines: Vec<(&str, String)> = vec![("reference", inspected.reference.clone())];
    if let Some(image) = &inspected.image {
        image_lines(image, &mut lines);
    }
    let Program { digest, size, component, target, problem, imports, exports } = &inspected.program;
    let what = if *component { "component" } else { "core module" };
    lines.push(("program", format!("{what}, {}, {digest}", HumanBytes(*size as u64))));
    lines.push(("target", target.unwrap_or("none that runs here").to_owned()));
    lines.extend(problem.iter().map(|problem| ("problem", problem.escape_debug().to_string())));
    let width = imports.iter().map(|import| import.name.len()).max().unwrap_or_default();
    let granted = |import: &Import| {
        format!("{:width$}  {}", import.name.escape_debug().to_string(), import.grant.unwrap_or("nobody provides it"))
    };
    lines.extend(imports.iter().map(|import| ("imports", granted(import))));
    lines.extend(exports.iter().map(|export| ("exports", export.escape_debug().to_string())));
    let (mut text, mut previous) = (String::new(), "");
    for (label, value) in lines {
        // A label stands once before several values.
        let shown = if label == previous { "" } else { label };
        previous = label;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{shown:11} {}", value.trim_end());
    }
    text
}

fn image_lines(image: &Described, lines: &mut Vec<(&str, String)>) {
    lines.push(("digest", image.digest.to_string()));
    if image.manifest != image.digest {
        lines.push(("manifest", image.manifest.to_string()));
    }
    lines.push(("size", HumanBytes(image.size).to_string()));
    let kind = match image.kind {
        "wasm" => "WebAssembly in one layer",
        _ => "files in layers",
    };
    lines.push(("kind", kind.to_owned()));
    lines.extend(image.platform.iter().map(|platform| ("platform", platform.escape_debug().to_string())));
    let layer = |layer: &LayerRow| format!("{} {} {}", layer.digest, HumanBytes(layer.size), layer.media_type.escape_debug());
    lines.extend(image.layers.iter().map(|row| ("layers", layer(row))));
    if !image.entrypoint.is_empty() {
        lines.push(("entrypoint", format!("{:?}", image.entrypoint)));
    }
    if !image.cmd.is_empty() {
        lines.push(("cmd", format!("{:?}", image.cmd)));
    }
    lines.extend(image.env.iter().map(|env| ("env", env.escape_debug().to_string())));
    lines.extend(image.working_dir.iter().map(|dir| ("workingDir", dir.escape_debug().to_string())));
}
