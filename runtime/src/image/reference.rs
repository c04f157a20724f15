//! What `image:` in a manifest names.

use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where the bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageReference {
    /// A file of this machine.
    File(PathBuf),
}

impl ImageReference {
    /// Reads the text of `image:`. Relative paths start at `base`, the folder of the manifest, or, without one, at the current folder.
    ///
    /// A file is written `file:./app.wasm`, `file:/srv/app.wasm` or `file:///srv/app.wasm`; without `file:` when it starts with `/`,
    /// `./` or `../`, or when it ends with `.wasm` or `.wat` and its first folder cannot be taken for a registry. The path is taken
    /// byte for byte: `%20` stands for itself.
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
        let path = match text.strip_prefix("file:") {
            Some(path) => file_path(text, path)?,
            None if is_plain_path(text) => text,
            None => return Err(not_a_file(text)),
        };
        let path = Path::new(path);
        // `join` keeps an absolute path as it is.
        Ok(Self::File(base.map_or_else(|| path.to_path_buf(), |base| base.join(path))))
    }
}

impl fmt::Display for ImageReference {
    /// `file:` and the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
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

/// Whether `text`, which has no `file:`, can only be meant as a path.
fn is_plain_path(text: &str) -> bool {
    if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
        return true;
    }
    let file = ends_like_a_file(text);
    match text.split_once('/') {
        None => file,
        Some((first, _)) => file && !looks_like_a_registry(first),
    }
}

/// As in every container tool: a first part with a dot or a port, or `localhost`, is a registry's host.
fn looks_like_a_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn ends_like_a_file(text: &str) -> bool {
    text.ends_with(".wasm") || text.ends_with(".wat")
}

fn not_a_file(text: &str) -> Error {
    let error = match text.split_once("://") {
        Some((scheme, _)) => invalid(format!("images by {scheme}:// are not supported, in {text:?}")),
        None => invalid(format!("the image {text:?} names a registry's image, and registries are not supported yet")),
    };
    match ends_like_a_file(text) && !text.contains("://") {
        true => error.hint(format!("if it is a file, write file:./{text}")),
        false => error.hint("name a WebAssembly file beside the manifest, such as file:./app.wasm"),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message).with_reason("InvalidImageName")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        match ImageReference::parse(text, Some(Path::new("/pods"))).unwrap() {
            ImageReference::File(path) => path.into_os_string().into_string().unwrap(),
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
    fn everything_else_is_refused_with_what_to_write_instead() {
        assert_eq!(
            refusal("nginx:latest"),
            "the image \"nginx:latest\" names a registry's image, and registries are not supported yet \
             | name a WebAssembly file beside the manifest, such as file:./app.wasm"
        );
        assert_eq!(
            refusal("ghcr.io/acme/app.wasm"),
            "the image \"ghcr.io/acme/app.wasm\" names a registry's image, and registries are not supported yet \
             | if it is a file, write file:./ghcr.io/acme/app.wasm"
        );
        assert_eq!(
            refusal("https://example.com/x.wasm"),
            "images by https:// are not supported, in \"https://example.com/x.wasm\" \
             | name a WebAssembly file beside the manifest, such as file:./app.wasm"
        );
        assert_eq!(
            refusal("file://host/x.wasm"),
            "the image \"file://host/x.wasm\" names a host | write file:./host/x.wasm or file:/host/x.wasm"
        );
        assert_eq!(refusal("file:"), "the image \"file:\" names no file | -");
        assert_eq!(refusal(""), "the image is empty | -");
        assert_eq!(refusal(" x.wasm"), "the image \" x.wasm\" starts or ends with white space | -");
        assert_eq!(refusal("file:a\0b"), "the image \"file:a\\0b\" contains a NUL character | -");
    }
}
