//! How this user's registries are reached: the flags, and the files that docker, podman and their relatives keep.

use super::args::RegistryArgs;
use super::environment;
use std::io::{ErrorKind as Io, Read as _};
use std::path::{Path, PathBuf};
use wasmpod::image::registry::{Credentials, DockerConfig, RegistriesConf, RegistryConfig};
use wasmpod::limits::REGISTRIES_CONF_BYTES_MAX;
use wasmpod::{Error, Result};

/// Where the machine keeps what concerns registries.
const SYSTEM_DIR: &str = "/etc/containers";

/// Reads all of it.
pub(crate) fn config(args: &RegistryArgs) -> Result<RegistryConfig> {
    let files = auth_files(args).iter().map(|path| DockerConfig::read(path)).collect::<Result<Vec<_>>>()?;
    let user_certs = environment::config_dir().map(|dir| dir.join("containers/certs.d"));
    Ok(RegistryConfig {
        credentials: Credentials::new(files),
        registries: registries_conf()?,
        insecure_hosts: args.insecure_registry.clone(),
        ca_files: args.ca_file.clone(),
        certs_dirs: user_certs.into_iter().chain([Path::new(SYSTEM_DIR).join("certs.d")]).collect(),
        proxy: environment::proxies(),
    })
}

/// The files that are asked for credentials: the one of `--authfile`, or podman's, then docker's.
fn auth_files(args: &RegistryArgs) -> Vec<PathBuf> {
    if let Some(file) = &args.authfile {
        return vec![file.clone()];
    }
    let podman = [environment::runtime_dir(), environment::config_dir()].into_iter().flatten();
    podman.map(|dir| dir.join("containers/auth.json")).chain(docker_config()).collect()
}

/// The file that `login` and `logout` change: the first of the same, unless the user moved docker's, and uses docker's therefore.
pub(crate) fn auth_file(args: &RegistryArgs) -> Result<PathBuf> {
    let docker = environment::docker_config_dir().and_then(|_| docker_config()).filter(|_| args.authfile.is_none());
    docker.or_else(|| auth_files(args).into_iter().next()).ok_or_else(|| {
        Error::invalid("there is no place for credentials: neither HOME nor XDG_RUNTIME_DIR is set").hint("give one by --authfile")
    })
}

fn docker_config() -> Option<PathBuf> {
    let dir = environment::docker_config_dir().or_else(|| Some(environment::home_dir()?.join(".docker")));
    dir.map(|dir| dir.join("config.json"))
}

/// The user's `registries.conf`, or the machine's, and the files of the two `registries.conf.d` in their order.
fn registries_conf() -> Result<RegistriesConf> {
    if let Some(path) = environment::registries_conf() {
        return Ok(read_conf(&path)?.unwrap_or_default());
    }
    let user = environment::config_dir().map(|dir| dir.join("containers"));
    let main = match &user {
        Some(dir) => read_conf(&dir.join("registries.conf"))?,
        None => None,
    };
    let system = Path::new(SYSTEM_DIR);
    let mut conf = match main {
        Some(conf) => conf,
        None => read_conf(&system.join("registries.conf"))?.unwrap_or_default(),
    };
    for dir in [Some(system.to_path_buf()), user].into_iter().flatten() {
        for path in drop_ins(&dir.join("registries.conf.d")) {
            conf = conf.overridden_by(read_conf(&path)?.unwrap_or_default());
        }
    }
    Ok(conf)
}

/// The `*.conf` files of a directory, in the order of their names.
fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    files.sort();
    files
}

/// Reads one file; none when there is none.
fn read_conf(path: &Path) -> Result<Option<RegistriesConf>> {
    let source = path.display().to_string();
    let failed = |error| Error::io("cannot read the registries' configuration", error).at(&source);
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    let most = u64::try_from(REGISTRIES_CONF_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_string(&mut text).map_err(failed)?;
    RegistriesConf::parse(&text, &source).map(Some)
}
