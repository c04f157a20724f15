//! The small texts that say where an image is and who may have it: references, challenges, files of configuration, names.

use super::{check_error, pod_network};
use std::net::{IpAddr, SocketAddr};
use wasmpod::image::registry::{Challenge, DockerConfig, RegistriesConf};
use wasmpod::image::{Digest, ImageReference, RegistryReference};
use wasmpod::manifest::{Quantity, Selector};
use wasmpod::net::{EgressList, EgressPolicy, Protocol};

pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let text = &String::from_utf8_lossy(data);
    match kind % 9 {
        0 => references(text),
        1 => challenge(text),
        2 => registries(text),
        3 => credentials(data),
        4 => digest(text),
        5 => egress(text),
        6 => names(text),
        7 => selector(text),
        _ => quantity(text),
    }
}

fn references(text: &str) {
    match RegistryReference::parse(text) {
        Ok(reference) => {
            assert_eq!(RegistryReference::parse(&reference.to_string()).unwrap(), reference);
            assert!(!reference.repository().is_empty() && !reference.registry().contains('/'));
            assert!(!reference.repository().split('/').any(|part| part == "." || part == ".."));
        }
        Err(error) => check_error(&error),
    }
    match ImageReference::parse(text, None) {
        // Paths are kept as they are written, and may begin with what would be read as something else.
        Ok(ImageReference::Registry(reference)) => {
            assert_eq!(ImageReference::parse(&reference.to_string(), None).unwrap(), ImageReference::Registry(reference));
        }
        Ok(reference) => drop(reference.to_string()),
        Err(error) => check_error(&error),
    }
}

fn challenge(text: &str) {
    if let Some(Challenge::Bearer { realm, service, scope }) = Challenge::parse(text) {
        assert!(!realm.is_empty());
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut written = format!("Bearer realm=\"{}\"", quote(&realm));
        for (name, value) in [("service", &service), ("scope", &scope)] {
            if let Some(value) = value {
                written.push_str(&format!(",{name}=\"{}\"", quote(value)));
            }
        }
        assert_eq!(Challenge::parse(&written), Some(Challenge::Bearer { realm, service, scope }));
    }
}

fn registries(text: &str) {
    let (first, second) = text.split_once('\0').unwrap_or((text, ""));
    match (RegistriesConf::parse(first, "a"), RegistriesConf::parse(second, "b")) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.clone().overridden_by(RegistriesConf::default()), first);
            drop(first.overridden_by(second));
        }
        (first, second) => first.err().into_iter().chain(second.err()).for_each(|error| check_error(&error)),
    }
}

fn credentials(data: &[u8]) {
    match DockerConfig::parse(data, "auth.json") {
        Ok(config) => drop(format!("{config:?}")),
        Err(error) => check_error(&error),
    }
}

fn digest(text: &str) {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "a digest has one spelling");
    }
}

fn egress(text: &str) {
    let (policy, remote) = text.rsplit_once('\0').unwrap_or((text, "10.20.0.1:443"));
    match EgressList::parse(policy) {
        Ok(list) => {
            let policy = EgressPolicy::Listed(vec![list]);
            for remote in [remote, "127.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
                let Ok(remote) = remote.parse::<SocketAddr>() else { continue };
                let allowed = [Protocol::Tcp, Protocol::Udp].map(|protocol| policy.allows(protocol, remote, &[]));
                let ip: IpAddr = remote.ip().to_canonical();
                assert!(!ip.is_loopback() || allowed == [false; 2], "{remote} is the machine's own");
            }
        }
        Err(error) => check_error(&error),
    }
}

fn names(text: &str) {
    let net = pod_network();
    let mut lookup = net.container("guest").resolve(text);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = lookup.poll_addresses(&mut context);
}

fn selector(text: &str) {
    match text.parse::<Selector>() {
        Ok(selector) => _ = selector.matches(&labels()),
        Err(error) => check_error(&error),
    }
}

fn labels() -> std::collections::BTreeMap<String, String> {
    [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "2".to_owned())].into()
}

fn quantity(text: &str) {
    if let Ok(quantity) = text.parse::<Quantity>() {
        // Both are rounded away from zero, and capped.
        let (units, millis) = (i128::from(quantity.units()), i128::from(quantity.millis()));
        assert!(units.abs() * 1000 >= millis.abs() || millis.abs() >= i128::from(i64::MAX), "{units} {millis}");
        assert_eq!(quantity.in_units_of(Quantity::from_units(1)), quantity.units());
    }
}
