//! Which certificates a registry may show.

use super::RegistryConfig;
use crate::limits::{CA_FILE_BYTES_MAX, CA_FILES_PER_HOST_MAX};
use crate::tls::{self, Trust};
use crate::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The TLS settings for one registry. Reads many files: not for a thread that must not wait.
///
/// # Errors
/// A file of certificates that cannot be read, holds none or a broken one: to go on without it would be to trust others than the user
/// said.
pub(super) fn client_config(config: &RegistryConfig, host: &str, insecure: bool) -> Result<ClientConfig> {
    // Read in any case: a file that is broken is an error, whoever is asked.
    let roots = roots(config, host)?;
    let trust = if insecure { Trust::Everybody } else { Trust::Roots(roots) };
    tls::client_config(trust).map_err(|error| Error::internal("cannot set TLS up").because(error))
}

fn roots(config: &RegistryConfig, host: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // The machine may have none: then only what the user names is trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in config.ca_files.iter().cloned().chain(host_files(config, host)?) {
        add_file(&mut roots, &file)?;
    }
    Ok(roots)
}

/// The `*.crt` files for a host.
fn host_files(config: &RegistryConfig, host: &str) -> Result<Vec<PathBuf>> {
    // A name with a path in it would lead elsewhere.
    if host.contains('/') || host.starts_with('.') {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for dir in &config.certs_dirs {
        let dir = dir.join(host);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(Error::io("cannot read the directory of certificates", error).at(dir.display().to_string())),
        };
        let paths = entries.take(CA_FILES_PER_HOST_MAX).flatten().map(|entry| entry.path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "crt")));
    }
    Ok(files)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let wrong = |message: &str| {
        Error::invalid(message).at(path.display().to_string()).hint("it should be a PEM file: -----BEGIN CERTIFICATE-----")
    };
    let unreadable = |error| Error::io("cannot read the certificates", error).at(path.display().to_string());
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(CA_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > CA_FILE_BYTES_MAX {
        return Err(Error::limit(format!("the file of certificates is larger than {CA_FILE_BYTES_MAX} bytes"))
            .at(path.display().to_string()));
    }
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong("cannot read the certificates").because(error))?;
        roots.add(certificate).map_err(|error| wrong("a certificate is broken").because(error))?;
        found = true;
    }
    if found { Ok(()) } else { Err(wrong("there is no certificate in the file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<ClientConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, text).unwrap();
        let config = RegistryConfig { ca_files: vec![path], ..RegistryConfig::anonymous() };
        client_config(&config, "ghcr.io", false)
    }

    #[test]
    fn a_bad_file_of_certificates_is_an_error() {
        assert!(with_file("").unwrap_err().to_string().contains("there is no certificate in the file"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(with_file(broken).unwrap_err().to_string().contains("a certificate is broken"));
        let config = RegistryConfig { ca_files: vec!["/nowhere.pem".into()], ..RegistryConfig::anonymous() };
        assert!(client_config(&config, "ghcr.io", false).unwrap_err().to_string().contains("/nowhere.pem"));
    }

    #[test]
    fn a_host_has_its_own_directory() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ghcr.io")).unwrap();
        fs::write(folder.path().join("ghcr.io/ca.crt"), "nothing").unwrap();
        fs::write(folder.path().join("ghcr.io/notes.txt"), "nothing").unwrap();
        let config = RegistryConfig { certs_dirs: vec![folder.path().to_owned()], ..RegistryConfig::anonymous() };
        assert!(client_config(&config, "ghcr.io", false).is_err());
        assert!(client_config(&config, "quay.io", false).is_ok());
        assert!(client_config(&config, "..", false).is_ok());
    }
}
