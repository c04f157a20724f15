//! What `image:` in a manifest names: a file, an OCI layout or archive, or an image of a registry.

use super::registry_reference::RegistryReference;
use crate::pod::spec::PullPolicy;
use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageReference {
    /// A WebAssembly file of this machine.
    File(PathBuf),
    /// An image of a registry.
    Registry(RegistryReference),
    /// `oci:DIR[:TAG]`: an OCI image layout, a directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which of its images; the only one when `None`.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.
    Archive {
        /// The tar file.
        path: PathBuf,
        /// Which of its images; the only one when `None`.
        tag: Option<String>,
    },
}

impl ImageReference {
    /// Reads the text of `image:`. Relative paths start at `base`, the folder of the manifest, or, without one, at the current folder.
    ///
    /// A file is written `file:./app.wasm`, `file:/srv/app.wasm` or `file:///srv/app.wasm`; without `file:` when it starts with `/`,
    /// `./` or `../`, or when it ends with `.wasm` or `.wat` and its first folder cannot be taken for a registry. The path is taken
    /// byte for byte: `%20` stands for itself. `oci:` and `oci-archive:` are followed by a path and, behind the first colon after it,
    /// a tag, as skopeo and podman write them. Everything else is an image of a registry, see [`RegistryReference`].
    ///
    /// # Errors
    /// Reason `InvalidImageName` for everything else, with what to write instead.
    pub fn parse(text: &str, base: Option<&Path>) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(invalid("the image is empty"));
        }
        if text.contains('\0') {
            return Err(invalid(format!("the image {text:?} contains a NUL character")));
        }
        if text.trim() != text {
            return Err(invalid(format!("the image {text:?} starts or ends with white space")));
        }
        // `join` keeps an absolute path as it is.
        let beside = |path: &str| base.map_or_else(|| PathBuf::from(path), |base| base.join(path));
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(beside(file_path(text, path)?)));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(url(text, scheme, rest));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag) = path_and_tag(text, rest)?;
            return Ok(Self::Layout { path: beside(path), tag });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, tag) = path_and_tag(text, rest)?;
            return Ok(Self::Archive { path: beside(path), tag });
        }
        if is_plain_path(text) {
            return Ok(Self::File(beside(text)));
        }
        let reference = RegistryReference::parse(text);
        reference.map(Self::Registry).map_err(|error| match ends_like_a_file(text) {
            true => error.hint(format!("if it is a file, write file:./{text}")),
            false => error,
        })
    }

    /// `imagePullPolicy` where nobody set one: Always for a tag that moves (`latest`, or none at all), else IfNotPresent. Source:
    /// Kubernetes' `SetDefaults_Container`. Files, layouts and archives are read at each start whatever the policy is.
    pub fn default_pull_policy(&self) -> PullPolicy {
        match self {
            Self::Registry(reference) if reference.digest().is_none() && reference.tag() == Some("latest") => PullPolicy::Always,
            _ => PullPolicy::IfNotPresent,
        }
    }
}

impl fmt::Display for ImageReference {
    /// As it can be parsed again; a registry's image with its host and tag filled in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, tag) = match self {
            Self::File(path) => return write!(f, "file:{}", path.display()),
            Self::Registry(reference) => return reference.fmt(f),
            Self::Layout { path, tag } => ("oci", path, tag),
            Self::Archive { path, tag } => ("oci-archive", path, tag),
        };
        write!(f, "{scheme}:{}", path.display())?;
        tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// The path behind `file:`; a URL may have `//` and an empty host before it.
fn file_path<'a>(text: &str, path: &'a str) -> Result<&'a str> {
    let path = match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(rest) => {
            return Err(invalid(format!("the image {text:?} names a host")).hint(format!("write file:./{rest} or file:/{rest}")));
        }
        None => path,
    };
    if path.is_empty() { Err(invalid(format!("the image {text:?} names no file"))) } else { Ok(path) }
}

/// `PATH[:TAG]`: the path ends at the first colon.
fn path_and_tag<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Option<String>)> {
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if path.is_empty() {
        return Err(invalid(format!("the image {text:?} names no path")).hint("write oci:DIR[:TAG] or oci-archive:FILE.tar[:TAG]"));
    }
    if tag == Some("") {
        return Err(
            invalid(format!("the image {text:?} has an empty tag")).hint("leave out the last colon, or put a tag behind it")
        );
    }
    Ok((path, tag.map(str::to_owned)))
}

/// Whether `text`, which has no `file:`, can only be meant as a path.
fn is_plain_path(text: &str) -> bool {
    if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
        return true;
    }
    let file = ends_like_a_file(text);
    match text.split_once('/') {
        None => file,
        Some((first, _)) => file && !super::registry_reference::looks_like_a_registry(first),
    }
}

fn ends_like_a_file(text: &str) -> bool {
    text.ends_with(".wasm") || text.ends_with(".wat")
}

fn url(text: &str, scheme: &str, rest: &str) -> Error {
    let error = invalid(format!("images by {scheme}:// are not supported, in {text:?}"));
    match scheme {
        "docker" | "oci" | "http" | "https" => error.hint(format!("a registry's image has no scheme: write {rest}")),
        _ => error.hint("name an image of a registry, or a WebAssembly file such as file:./app.wasm"),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message).with_reason("InvalidImageName")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ImageReference {
        ImageReference::parse(text, Some(Path::new("/pods"))).unwrap()
    }

    fn path(text: &str) -> String {
        match parse(text) {
            ImageReference::File(path) => path.into_os_string().into_string().unwrap(),
            other => panic!("{other} is no file"),
        }
    }

    fn refusal(text: &str) -> String {
        let error = ImageReference::parse(text, Some(Path::new("/pods"))).unwrap_err();
        assert_eq!(error.reason(), Some("InvalidImageName"));
        format!("{error} | {}", error.advice().unwrap_or("-"))
    }

    #[test]
    fn files_are_found_beside_the_manifest() {
        assert_eq!(path("file:./x.wasm"), "/pods/./x.wasm");
        assert_eq!(path("file:x"), "/pods/x");
        assert_eq!(path("file:/abs/x.wasm"), "/abs/x.wasm");
        assert_eq!(path("file:///abs/x.wasm"), "/abs/x.wasm");
        assert_eq!(path("./x"), "/pods/./x");
        assert_eq!(path("../x.wasm"), "/pods/../x.wasm");
        assert_eq!(path("/abs/x"), "/abs/x");
        assert_eq!(path("x.wasm"), "/pods/x.wasm");
        assert_eq!(path("build/x.wat"), "/pods/build/x.wat");
    }

    #[test]
    fn paths_are_taken_byte_for_byte() {
        assert_eq!(path("file:./a%20b:c@d.wasm"), "/pods/./a%20b:c@d.wasm");
        assert_eq!(path("file:%2e%2e/x"), "/pods/%2e%2e/x");
    }

    #[test]
    fn without_a_manifest_the_current_folder_is_the_base() {
        assert_eq!(ImageReference::parse("x.wasm", None).unwrap(), ImageReference::File("x.wasm".into()));
    }

    #[test]
    fn a_first_folder_that_looks_like_a_registry_is_one() {
        assert_eq!(parse("ghcr.io/acme/app.wasm").to_string(), "ghcr.io/acme/app.wasm:latest");
        assert_eq!(parse("localhost/app.wasm").to_string(), "localhost/app.wasm:latest");
        assert_eq!(parse("web").to_string(), "docker.io/library/web:latest");
    }

    #[test]
    fn layouts_and_archives_have_a_path_and_perhaps_a_tag() {
        assert_eq!(parse("oci:out"), ImageReference::Layout { path: "/pods/out".into(), tag: None });
        assert_eq!(parse("oci:/srv/out:1.0"), ImageReference::Layout { path: "/srv/out".into(), tag: Some("1.0".to_owned()) });
        let tag = Some("reg.example:5000/app:1".to_owned());
        assert_eq!(parse("oci-archive:a.tar:reg.example:5000/app:1"), ImageReference::Archive { path: "/pods/a.tar".into(), tag });
        assert_eq!(parse("oci-archive:a.tar").to_string(), "oci-archive:/pods/a.tar");
    }

    #[test]
    fn tags_that_move_are_pulled_at_each_start() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for text in ["web", "web:latest", "ghcr.io/acme/web"] {
            assert_eq!(parse(text).default_pull_policy(), PullPolicy::Always, "{text}");
        }
        for text in ["web:1", "./x.wasm", "oci:out", &format!("web@{digest}"), &format!("web:latest@{digest}")] {
            assert_eq!(parse(text).default_pull_policy(), PullPolicy::IfNotPresent, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_to_write_instead() {
        assert_eq!(
            refusal("https://example.com/x.wasm"),
            "images by https:// are not supported, in \"https://example.com/x.wasm\" \
             | a registry's image has no scheme: write example.com/x.wasm"
        );
        assert_eq!(
            refusal("s3://bucket/x.wasm"),
            "images by s3:// are not supported, in \"s3://bucket/x.wasm\" \
             | name an image of a registry, or a WebAssembly file such as file:./app.wasm"
        );
        assert_eq!(
            refusal("file://host/x.wasm"),
            "the image \"file://host/x.wasm\" names a host | write file:./host/x.wasm or file:/host/x.wasm"
        );
        assert_eq!(refusal("file:"), "the image \"file:\" names no file | -");
        assert_eq!(refusal("oci:"), "the image \"oci:\" names no path | write oci:DIR[:TAG] or oci-archive:FILE.tar[:TAG]");
        assert_eq!(refusal("oci:a:"), "the image \"oci:a:\" has an empty tag | leave out the last colon, or put a tag behind it");
        assert_eq!(refusal(""), "the image is empty | -");
        assert_eq!(refusal(" x.wasm"), "the image \" x.wasm\" starts or ends with white space | -");
        assert_eq!(refusal("file:a\0b"), "the image \"file:a\\0b\" contains a NUL character | -");
        assert_eq!(
            refusal("reg.example:port/My App.wasm"),
            "the image \"reg.example:port/My App.wasm\" names no registry: \"reg.example:port\" is not a host with an optional port \
             | if it is a file, write file:./reg.example:port/My App.wasm"
        );
    }
}
