//! `wasmpod push`: a file or an image that is here, into a registry.

use super::args::{PushArgs, ResultFormat};
use super::progress::Progress;
use super::{image_store, registries};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::engine::describe;
use wasmpod::image::{ArtifactInterface, Descriptor, ImageReference, Images, Lease, PushObserver, load};
use wasmpod::{Error, Result};

/// Pushes, and keeps what was pushed in the store under its new name.
pub(crate) fn run(args: &PushArgs, root: Option<&Path>) -> Result<ExitCode> {
    let target = image_store::registry_reference(&args.target)?;
    let images = Images::new(image_store::open(root)?, registries::config(&args.registry)?);
    let progress = Progress::new();
    image_store::block_on(async {
        let lease = images.store().lease()?;
        let top = source(args, &images, &lease).await?;
        let observer: PushObserver = progress.push_observer();
        images.push(&top, &target, &observer).await.map_err(|error| error.within(&format!("push {target}")))?;
        images.store().tag(&target.to_string(), &top)?;
        let id = target.with_digest(top.digest).to_string();
        match args.output {
            ResultFormat::Text => progress.say(&format!("pushed {target}: {}", top.digest)),
            ResultFormat::Json => {
                image_store::print_json(&json!({ "reference": target.to_string(), "id": id, "digest": top.digest }))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The image to push: made of a file, or found in the store.
async fn source(args: &PushArgs, images: &Images, lease: &Lease) -> Result<Descriptor> {
    let file = match ImageReference::parse(&args.source, None)? {
        ImageReference::Registry(_) if !Path::new(&args.source).is_file() => {
            let found = image_store::find(images.store(), &args.source)?;
            lease.hold(found.descriptor.digest).await?;
            return Ok(found.descriptor);
        }
        ImageReference::Registry(_) => ImageReference::File(args.source.clone().into()),
        file @ ImageReference::File(_) => file,
        other => {
            return Err(Error::invalid("only files and images of the store can be pushed")
                .at(other.to_string())
                .hint("bring it into the store first: wasmpod load"));
        }
    };
    let bytes = load(&file)?.bytes;
    let at = |error: Error| error.at(&args.source);
    let described = describe(&bytes).map_err(at)?;
    // What cannot be run here may run elsewhere: a world of its own is no reason against pushing.
    let world = described.target.as_ref().ok().and_then(|target| target.world()).map(str::to_owned);
    let interface = ArtifactInterface {
        is_component: described.component,
        imports: described.imports,
        exports: described.exports,
        target: world,
    };
    images.add_artifact(lease, described.wasm, &interface, jiff::Timestamp::now()).await.map_err(at)
}
