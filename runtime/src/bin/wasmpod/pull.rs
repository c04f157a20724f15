//! `wasmpod pull`: images, verified and compiled, so that their first start is quick.

use super::args::{PullArgs, ResultFormat};
use super::engine::engine;
use super::progress::Progress;
use super::{image_store, registries};
use futures::future::join_all;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::engine::{self, Engine, EngineMode};
use wasmpod::image::{ImageReference, Images, ObtainedImage};
use wasmpod::pod::spec::PullPolicy;
use wasmpod::{Error, Result};

/// Pulls all images at the same time; the first error is the program's, after the others have come as far as they could.
pub(crate) fn run(args: &PullArgs, root: Option<&Path>) -> Result<ExitCode> {
    let references = args.images.iter().map(|name| image_store::registry_reference(name).map(ImageReference::Registry));
    let references = references.collect::<Result<Vec<_>>>()?;
    let images = Images::new(image_store::open(root)?, registries::config(&args.registry)?);
    let progress = Progress::new();
    let engine = engine(args.cache_dir.clone(), EngineMode::Run, None, &progress)?;
    image_store::block_on(async {
        let pulls = references.iter().map(|reference| pull(&images, &engine, reference, &progress, args.output));
        let outcomes = join_all(pulls).await;
        let pulled = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
        if args.output == ResultFormat::Json {
            image_store::print_json(&pulled)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn pull(
    images: &Images,
    engine: &Engine,
    reference: &ImageReference,
    progress: &Progress,
    output: ResultFormat,
) -> Result<serde_json::Value> {
    let obtained = images.obtain(reference, PullPolicy::Always, &[], &progress.pull_observer()).await?;
    compile(images, engine, reference, &obtained).await?;
    let ObtainedImage { image, id, .. } = obtained;
    if output == ResultFormat::Text {
        progress.say_pulled(reference, &image);
    }
    Ok(json!({ "reference": reference.to_string(), "id": id, "digest": image.digest, "size": image.size() }))
}

/// Compiles the program that runs when nobody says otherwise. An image of files that names none is complete without.
async fn compile(images: &Images, engine: &Engine, reference: &ImageReference, obtained: &ObtainedImage) -> Result<()> {
    let image = obtained.image.clone();
    if let Some(digest) = image.module_digest()
        && engine.cached(&engine::Digest(digest.bytes())).await?.is_some()
    {
        return Ok(());
    }
    let argv = image.config.argv(&[], &[]);
    if argv.is_empty() && image.module_digest().is_none() {
        return Ok(());
    }
    let store = images.store().clone();
    let module = tokio::task::spawn_blocking(move || image.module(&store, &argv)).await;
    let module = module.map_err(|error| Error::internal("reading a program ended early").because(error))??;
    engine.load(&reference.to_string(), module.bytes).await.map(drop)
}
