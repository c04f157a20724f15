//! What the registries of a process are asked with: plain data, which whoever embeds the library fills in.

use super::{Credentials, RegistriesConf};
use std::path::PathBuf;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The user's credentials; those of a pod's `imagePullSecrets` come before them.
    pub credentials: Credentials,
    /// Mirrors, blocked and insecure registries.
    pub registries: RegistriesConf,
    /// `host[:port]` of registries that may be asked by plain HTTP and whose certificates need not be vouched for.
    pub insecure_hosts: Vec<String>,
    /// PEM files with certificate authorities that are trusted besides the machine's, for every registry.
    pub ca_files: Vec<PathBuf>,
    /// Directories with a directory for each `host[:port]`, whose `*.crt` files are trusted for that registry
    /// (containers-certs.d(5)).
    pub certs_dirs: Vec<PathBuf>,
    /// What is asked in place of the registries, on networks that demand it.
    pub proxy: ProxyConfig,
}

/// The proxies of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. The loopback is always reached without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// For `https` requests: a URL.
    pub https: Option<String>,
    /// For `http` requests: a URL.
    pub http: Option<String>,
    /// Hosts, domains and networks that are reached without a proxy, separated by commas.
    pub exceptions: Option<String>,
}

impl RegistryConfig {
    /// Nothing but what the machine has: no credentials, no mirrors, its own certificate authorities.
    pub fn anonymous() -> Self {
        Self {
            credentials: Credentials::anonymous(),
            registries: RegistriesConf::default(),
            insecure_hosts: Vec::new(),
            ca_files: Vec::new(),
            certs_dirs: Vec::new(),
            proxy: ProxyConfig::default(),
        }
    }
}
