//! Manifests made to hurt: each is refused at once, with a place.

use super::{error_of, lower, shown};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::manifest::Manifest;
use insta::assert_snapshot;
use std::fmt::Write as _;

#[test]
fn alias_bombs() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let below = level - 1;
        let _ = writeln!(
            bomb,
            "a{level}: &a{level} [*a{below},*a{below},*a{below},*a{below},*a{below},*a{below},*a{below},*a{below},*a{below}]"
        );
    }
    assert_snapshot!(error_of(&bomb), @"Limit: pod.yaml:5:26: the aliases of the manifest stand for more than 50000 values");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(900));
    assert_snapshot!(error_of(&long), @"Limit: pod.yaml:2:26: the texts of the manifest, its aliases expanded, have more than 4194304 bytes");
    let merges =
        format!("a: &a {{b: c}}\nd:\n{}", (0..2000).fold(String::new(), |text, key| format!("{text}  k{key}: {{<<: *a}}\n")));
    assert_snapshot!(error_of(&merges), @"Limit: pod.yaml:1003:11: the manifest has too many aliases, anchors or merges; at most 1000 are read");
    assert_snapshot!(error_of("a: &a [*a]\n"), @"Invalid: pod.yaml:1:8: an alias stands for a value that contains it");
}

#[test]
fn depth() {
    assert_snapshot!(error_of(&"[".repeat(10_000)), @"Limit: pod.yaml:1:65: values are nested more than 64 deep");
    assert_snapshot!(error_of(&"{a: ".repeat(10_000)), @"Limit: pod.yaml:1:257: values are nested more than 64 deep");
    let block = (0..700).fold(String::new(), |text, depth| format!("{text}{}a:\n", " ".repeat(depth)));
    assert_snapshot!(error_of(&block), @"Limit: pod.yaml:65:65: values are nested more than 64 deep");
    assert_snapshot!(error_of(&"- ".repeat(10_000)), @"Limit: pod.yaml:1:129: values are nested more than 64 deep");
    let lists = format!("{}{}", "{apiVersion: v1, kind: List, items: [".repeat(30), "]}".repeat(30));
    assert!(lower(&lists).is_ok_and(|pods| pods.is_empty()));
}

#[test]
fn the_deepest_manifest_is_read_on_a_small_stack() {
    let read = || {
        let deepest = format!("{}{}", "{apiVersion: v1, kind: List, items: [".repeat(30), "]}".repeat(30));
        let deeper = format!("a: {}1{}", "[".repeat(62), "]".repeat(62));
        (lower(&deepest).map(|pods| pods.len()).map_err(|error| shown(&error)), error_of(&deeper))
    };
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(read).unwrap();
    let (deepest, deeper) = thread.join().unwrap();
    assert_eq!(deepest, Ok(0));
    assert_snapshot!(deeper, @r#"
    Invalid: pod.yaml:1:1: kind: Required value
    hint: write kind: Pod, ConfigMap or Secret
    "#);
}

#[test]
fn ten_thousand_documents_and_a_hundred_megabytes_cost_nothing() {
    let documents = "a: 1\n---\n".repeat(10_000);
    let huge = "- x\n".repeat(25 << 20);
    for text in [documents, huge, "&a [*a,".repeat(100_000), "? ".repeat(500_000)] {
        let kind = Manifest::parse(&text, "x").unwrap_err().kind();
        assert!(matches!(kind, crate::ErrorKind::Limit | crate::ErrorKind::Invalid), "{kind:?}");
    }
}

#[test]
fn size() {
    let huge = "x".repeat(100 << 20);
    assert_snapshot!(error_of(&huge), @r#"
    Limit: pod.yaml: the manifest has 104857600 bytes; at most 1048576 are read
    hint: split it into several manifests, or put large data into a hostPath volume
    "#);
    assert_snapshot!(shown(&Manifest::from_bytes(huge.as_bytes(), "-").unwrap_err()), @r#"
    Limit: -: the manifest has 104857600 bytes; at most 1048576 are read
    hint: split it into several manifests, or put large data into a hostPath volume
    "#);
    assert_snapshot!(error_of(&"a: 1\n---\n".repeat(10_000)), @"Limit: pod.yaml:2000:1: the manifest has more than 1000 documents");
    assert_snapshot!(error_of(&format!("a: [{}]", "1,".repeat(200_000))), @"Limit: pod.yaml:1:99999: the manifest has more than 50000 values");
    let many_problems: String = (0..5000).map(|field| format!("field{field}: 1\n")).collect();
    let error = error_of(&format!("apiVersion: v1\nkind: Pod\n{many_problems}"));
    assert_eq!(error.lines().count(), 52, "{error}");
    assert!(error.ends_with("and 4952 more"), "{error}");
    let containers = "    - {name: a, image: a}\n".repeat(1000);
    assert_snapshot!(error_of(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n{containers}")), @r#"Invalid: pod.yaml:5:3: Pod "a": spec.containers: Too many: 1000: must have at most 256 containers, init containers included"#);
}

#[test]
fn bytes_that_are_no_text() {
    let error = |bytes: &[u8]| shown(&Manifest::from_bytes(bytes, "pod.yaml").unwrap_err());
    assert_snapshot!(error(b"apiVersion: v1\nkind: P\xffod\n"), @r#"
    Invalid: pod.yaml:2: the text is not UTF-8
    hint: a manifest is a text file in YAML or JSON
    "#);
    assert_snapshot!(error(b"\0asm\x01\0\0\0"), @r#"Invalid: pod.yaml:1:1: unexpected character: `\u{0}'"#);
    assert_snapshot!(error(b"kind: \x1b[31mPod\n"), @r#"Invalid: pod.yaml:1:7: unexpected character: `\u{1b}'"#);
    assert!(Manifest::from_bytes(&vec![b' '; MANIFEST_BYTES_MAX], "x").is_err());
}

#[test]
fn tags_and_numbers_that_are_none() {
    assert_snapshot!(error_of("kind: !!python/object:os.system Pod\n"), @"Invalid: pod.yaml:1:33: unsupported tag `!!python/object:os.system`");
    assert_snapshot!(error_of("kind: !include /etc/passwd\n"), @"Invalid: pod.yaml:1:16: unsupported tag `!include`");
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: .nan}\n"), @"Invalid: pod.yaml:3:31: .nan is not a number that a manifest can hold");
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: 1e999}\n"), @"Invalid: pod.yaml:3:31: 1e999 is not a number that a manifest can hold");
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: 99999999999999999999, ? [a] : b}\n"), @"Invalid: pod.yaml:3:55: expected string scalar");
    assert_snapshot!(error_of("apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: 99999999999999999999}\n"), @"Invalid: pod.yaml:3:31: Pod: spec.activeDeadlineSeconds: must be a whole number, not the number 100000000000000000000");
}

#[test]
fn variables_that_double_each_other() {
    let mut env = "    - {name: A0, value: xxxxxxxxxxxxxxxx}\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        let _ = writeln!(env, "    - {{name: A{level}, value: $(A{below})$(A{below})}}");
    }
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: a\n    image: a\n    env:\n{env}"
    );
    assert_snapshot!(error_of(&pod), @r#"Limit: pod.yaml:28:7: Pod "a": spec.containers[0].env[19]: the pod's variables, arguments and files come to more than 16777216 bytes with their references resolved"#);
    let mut volumes = String::new();
    for index in 0..100 {
        let _ = writeln!(volumes, "  - {{name: v{index}, configMap: {{name: big}}}}");
    }
    let big = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: '{}'}}\n", "x".repeat(500_000));
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers: [{{name: a, image: a}}]\n  volumes:\n{volumes}---\n{big}"
    );
    assert_snapshot!(error_of(&pod), @r#"Limit: pod.yaml:40:17: document 1, Pod "a": spec.volumes[33].configMap: the pod's variables, arguments and files come to more than 16777216 bytes with their references resolved"#);
}

mod never_panics {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of manifests, put together in any way.
    fn pieces() -> impl Strategy<Value = String> {
        let words = [
            "apiVersion: v1\n",
            "kind: Pod\n",
            "kind: List\n",
            "items:\n",
            "metadata:\n",
            "  name: a\n",
            "spec:\n",
            "  containers:\n",
            "  - name: a\n",
            "    image: b\n",
            "    env: [{name: A, value: $(A)}]\n",
            "  volumes: [{name: v}]\n",
            "---\n",
            "- ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            "&a ",
            "*a",
            "<<: ",
            "!!str ",
            "\"",
            "'",
            "|\n",
            "\t",
            "\n",
            "  ",
            "#",
            "0644",
            "yes",
            "1e9",
            "~",
            "\u{feff}",
            "ä",
            "\0",
            "? ",
            "%YAML 1.2\n",
            "null",
        ];
        proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn on_any_text(text in ".{0,200}") {
            let _ = lower(&text);
        }

        #[test]
        fn on_pieces_of_manifests(text in pieces()) {
            let _ = lower(&text);
        }

        #[test]
        fn on_any_quantity(text in "[-+]?[0-9]{0,40}\\.?[0-9]{0,40}(Ki|Mi|Ei|m|n|k|E|e[-+]?[0-9]{1,6})?") {
            if let Ok(quantity) = text.parse::<crate::manifest::Quantity>() {
                let _ = (quantity.units(), quantity.millis(), quantity.in_units_of(quantity));
            }
        }
    }
}
