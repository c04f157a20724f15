//! Which images a pod needs, when they are asked for, and what opens their registries.

use super::{ContainerRole, ContainerSpec, PodSpec};

/// The annotation of a pod that names an image whose program is exec'd into its containers.
pub const EXEC_IMAGE_ANNOTATION: &str = "wasmpod.dev/exec-image";

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry at each start which image the reference names.
    Always,
    /// Ask only when the image is not here.
    IfNotPresent,
    /// Never ask.
    Never,
}

impl PullPolicy {
    /// The policy of an image for which none is written: `Always` where the reference names a tag that moves, which is `latest` or none
    /// at all. A digest never moves, and a file is never pulled.
    pub fn default_of(image: &str) -> Self {
        if image.starts_with("file:") || image.contains('@') {
            return Self::IfNotPresent;
        }
        let last = image.rsplit('/').next().unwrap_or(image);
        let moves = last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
        if moves { Self::Always } else { Self::IfNotPresent }
    }
}

/// One entry of `spec.imagePullSecrets`: credentials for registries.
#[derive(Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// The Secret's name.
    pub name: String,
    /// Its `.dockerconfigjson`: JSON in the form of docker's `config.json`.
    pub docker_config: Vec<u8>,
}

impl std::fmt::Debug for PullSecret {
    /// The name alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PodSpec {
    /// The image that [`EXEC_IMAGE_ANNOTATION`] names, as a container that has nothing else.
    pub fn exec_container(&self) -> Option<ContainerSpec> {
        let image = self.annotations.get(EXEC_IMAGE_ANNOTATION)?.trim();
        let container = ContainerSpec::new("exec", ContainerRole::App, image);
        Some(ContainerSpec { image_pull_policy: PullPolicy::default_of(image), ..container })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_moving_tags_are_pulled_always() {
        for image in ["app", "app:latest", "localhost:5000/app", "example.com/a/b:latest"] {
            assert_eq!(PullPolicy::default_of(image), PullPolicy::Always, "{image}");
        }
        for image in ["app:1", "localhost:5000/app:1", "app@sha256:00", "file:./app.wasm"] {
            assert_eq!(PullPolicy::default_of(image), PullPolicy::IfNotPresent, "{image}");
        }
    }
}
