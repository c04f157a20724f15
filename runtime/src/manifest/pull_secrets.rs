//! `imagePullSecrets`: the Secrets of the manifest that open registries.

use super::lower::{Data, Objects, Source};
use super::problem::FieldPath;
use super::support::FieldWarning;
use crate::pod::spec::PullSecret;
use k8s_openapi::api::core::v1::{PodSpec, Secret};

/// The type and the key of a Secret that holds docker's `config.json`.
pub(super) const DOCKER_CONFIG_JSON: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
/// The type and the key of a Secret that holds the older `.dockercfg`: what is under `auths` in the other one.
pub(super) const DOCKER_CONFIG: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");

/// The pull secrets of a pod; as for a kubelet, one that is not there or is of another type only earns a warning.
pub(super) fn lower(spec: &PodSpec, objects: &Objects<'_>, warnings: &mut Vec<FieldWarning>) -> Vec<PullSecret> {
    let mut secrets = Vec::new();
    for (index, reference) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let path = FieldPath::of("spec.imagePullSecrets").index(index);
        let found = match objects.find(&path, Source::Secret, &reference.name, true) {
            Ok(Some(Data::Secret(secret))) => docker_config(secret).ok_or_else(|| {
                format!("the Secret {:?} is not of type {} or {}", reference.name, DOCKER_CONFIG_JSON.0, DOCKER_CONFIG.0)
            }),
            _ => Err(format!("the manifest has no Secret {:?}; images may be refused by their registry", reference.name)),
        };
        match found {
            Ok(docker_config) => secrets.push(PullSecret { name: reference.name.clone(), docker_config }),
            Err(message) => warnings.push(FieldWarning { path: path.to_string(), message }),
        }
    }
    secrets
}

/// The credentials in the form of docker's `config.json`.
fn docker_config(secret: &Secret) -> Option<Vec<u8>> {
    let data = Data::Secret(secret);
    match secret.type_.as_deref()? {
        kind if kind == DOCKER_CONFIG_JSON.0 => data.get(DOCKER_CONFIG_JSON.1).map(<[u8]>::to_vec),
        kind if kind == DOCKER_CONFIG.0 => {
            let auths = data.get(DOCKER_CONFIG.1)?;
            Some([b"{\"auths\":", auths, b"}"].concat())
        }
        _ => None,
    }
}
