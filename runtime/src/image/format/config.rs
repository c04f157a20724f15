//! What of an image's config counts: the process that it describes.

use super::super::descriptor::null_as_default;
use super::super::{Digest, Platform};
use crate::limits::{IMAGE_CONFIG_STRINGS_BYTES_MAX, IMAGE_MANIFEST_BYTES_MAX};
use crate::{Error, Result};
use serde::Deserialize;

/// The process that an image's config describes; empty for artifacts, whose configs describe none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `Entrypoint`: the program and its first arguments.
    pub entrypoint: Vec<String>,
    /// `Cmd`: further arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `Env`, in its order; the last of equal names counts.
    pub env: Vec<(String, String)>,
    /// `WorkingDir`: an absolute path.
    pub working_dir: Option<String>,
}

/// What was read of a config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadConfig {
    pub(super) process: ImageConfig,
    pub(super) platform: Platform,
    pub(super) diff_ids: Vec<Digest>,
}

/// A config of an ordinary image. Source: OCI image specification, `config.md`. What stands in it besides is not looked at.
#[derive(Deserialize)]
struct Written {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<Process>,
    #[serde(default)]
    rootfs: Option<RootFileSystem>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    #[serde(default, deserialize_with = "null_as_default")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    working_dir: String,
}

#[derive(Deserialize)]
struct RootFileSystem {
    #[serde(default, deserialize_with = "null_as_default")]
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// What the container runs, by Kubernetes' rules: `command` replaces the entrypoint *and* the image's arguments, `args` alone the
    /// image's arguments.
    pub fn argv(&self, command: &[String], args: &[String]) -> Vec<String> {
        match (command, args) {
            ([], []) => [self.entrypoint.as_slice(), &self.cmd].concat(),
            ([], args) => [self.entrypoint.as_slice(), args].concat(),
            (command, args) => [command, args].concat(),
        }
    }
}

/// Reads the config of an ordinary image.
pub(super) fn read(bytes: &[u8]) -> Result<ReadConfig> {
    if bytes.len() as u64 > IMAGE_MANIFEST_BYTES_MAX {
        return Err(Error::limit(format!("the image's config has more than {} MiB", IMAGE_MANIFEST_BYTES_MAX >> 20)));
    }
    let written: Written =
        serde_json::from_slice(bytes).map_err(|error| Error::invalid("the image's config cannot be read").because(error))?;
    let Process { entrypoint, cmd, env, working_dir } = written.config.unwrap_or_default();
    let strings = || entrypoint.iter().chain(&cmd).chain(&env).chain([&working_dir]);
    if strings().any(|text| text.contains('\0')) {
        return Err(Error::invalid("the image's config has a NUL character in its command or environment"));
    }
    if strings().map(|text| text.len() + 1).sum::<usize>() > IMAGE_CONFIG_STRINGS_BYTES_MAX {
        return Err(Error::limit(format!(
            "the image's command and environment have more than {} MiB",
            IMAGE_CONFIG_STRINGS_BYTES_MAX >> 20
        )));
    }
    let working_dir = match working_dir {
        dir if dir.is_empty() => None,
        dir if dir.starts_with('/') => Some(dir),
        // Docker wrote such ones once.
        dir => Some(format!("/{dir}")),
    };
    let env = env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(ReadConfig {
        process: ImageConfig { entrypoint, cmd, env, working_dir },
        platform: written.platform,
        diff_ids: written.rootfs.map(|rootfs| rootfs.diff_ids).unwrap_or_default(),
    })
}
