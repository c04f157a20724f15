//! The text of a manifest: parsed, checked, lowered. What came out is a manifest too, and means the same.

use super::check_error;
use wasmpod::manifest::{LowerContext, Manifest, ParseOptions, PodSecurity};

pub fn run(data: &[u8]) {
    for ignore_unknown_kinds in [false, true] {
        let options = ParseOptions { ignore_unknown_kinds };
        std::hint::black_box(Manifest::examine(data, "fuzz.yaml", options, PodSecurity::Restricted));
        match Manifest::from_bytes_with(data, "fuzz.yaml", options) {
            Ok(manifest) => check(&manifest),
            Err(error) => check_error(&error),
        }
    }
}

fn check(manifest: &Manifest) {
    std::hint::black_box((manifest.services().count(), manifest.object_warnings().count(), manifest.warnings().count()));
    for level in PodSecurity::ALL {
        if let Err(error) = manifest.check_pod_security(level) {
            check_error(&error);
        }
    }
    let context = |_: &_| LowerContext::new("b9c1d2aa-0000-4000-8000-000000000001");
    let pods = match manifest.lower(context) {
        Ok(pods) => pods,
        Err(error) => return check_error(&error),
    };
    for pod in pods {
        // Its ConfigMaps and Secrets are not in it, so only what needs none can be lowered again.
        let again = Manifest::from_pod(&pod.pod, "again").unwrap_or_else(|error| panic!("{}\n{:#?}", error.chain(), pod.pod));
        if let Ok(lowered) = again.lower(context) {
            assert_eq!(lowered.len(), 1);
            assert_eq!(lowered[0].pod, pod.pod);
        }
    }
}
