//! What people are told when something is wrong: the whole text, since the text is the product.

use crate::guests;
use crate::harness::Folder;

/// What `wasmpod run TARGET` says on stderr, with the folder's own path taken out, and its exit status.
fn complaint(folder: &Folder, args: &[&str]) -> String {
    let finished = folder.run(args);
    assert_eq!(finished.stdout, "");
    let path = folder.path().display().to_string();
    // That a file was compiled is said only the first time; the tests share a cache.
    let told: String = finished.stderr.split_inclusive('\n').filter(|line| !line.starts_with("compiled ")).collect();
    format!("{}exit status {}", told.replace(&path, "FOLDER"), finished.status)
}

/// The same for a manifest; images may be `hello.wat`.
fn manifest(text: &str) -> String {
    let folder = Folder::new().with("pod.yaml", text).with("hello.wat", guests::writes(1, "never said", 0));
    complaint(&folder, &["pod.yaml"])
}

/// The same for a single file.
fn file(name: &str, contents: impl AsRef<[u8]>) -> String {
    complaint(&Folder::new().with(name, contents), &[name])
}

/// A pod with one container, in YAML, with further fields for the container and the pod.
fn pod(container: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: app\n    image: file:./hello.wat\n{container}{spec}"
    )
}

/// Each line is a test; the texts are in `snapshots/`.
macro_rules! says {
    ($($name:ident: $complaint:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(stringify!($name), $complaint); })*
    };
}

says! {
    a_file_that_is_not_there: complaint(&Folder::new(), &["missing.yaml"]);
    a_directory: complaint(&Folder::new().with("dir/x", ""), &["dir"]);
    yaml_that_does_not_parse: manifest("kind: Pod\nspec: [unclosed\n");
    an_unknown_field: manifest(&pod("    imagee: typo\n", ""));
    a_wrong_type: manifest(&pod("    ports: [{containerPort: eighty}]\n", ""));
    a_duplicate_key: manifest("kind: Pod\nkind: Pod\n");
    an_unknown_kind: manifest("apiVersion: v1\nkind: Gateway\nmetadata: {name: x}\n");
    a_volume_that_is_not_declared: manifest(&pod("    volumeMounts: [{name: data, mountPath: /data}]\n", ""));
    a_config_map_that_is_not_there: manifest(&pod("", "  volumes: [{name: cfg, configMap: {name: settings}}]\n"));
    a_key_that_is_missing: manifest(&format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{a: b}}\n",
        pod("    env: [{name: X, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]\n", "")
    ));
    ports_that_clash: manifest(&pod("    ports: [{containerPort: 80, hostPort: 8080}, {containerPort: 81, hostPort: 8080}]\n", ""));
    something_privileged: manifest(&pod("    securityContext: {privileged: true}\n", ""));
    an_image_of_a_registry: complaint(
        &Folder::new().with("pod.yaml", pod("", "").replace("file:./hello.wat", "nginx:1.27")),
        &["pod.yaml", "--pull", "never"]
    );
    an_image_that_is_not_there: manifest(&pod("", "").replace("file:./hello.wat", "file:./hallo.wat"));
    a_shell_script: file("run.sh", "#!/bin/sh\necho hi\n");
    an_elf_program: file("program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    text_form_that_does_not_parse: file("broken.wat", "(module (func (export \"_start\") (i32.const");
    a_module_that_is_not_valid: file("invalid.wat", "(module (func (export \"_start\") (result i32)))");
    a_reactor: file("reactor.wat", guests::reactor());
    a_missing_import: file("import.wat", r#"(module (import "env" "print" (func)) (func (export "_start")))"#);
    an_unknown_function_of_preview_1:
        file("import.wat", r#"(module (import "wasi_snapshot_preview1" "fd_teleport" (func)) (func (export "_start")))"#);
    a_component_of_an_unsupported_world: file(
        "component.wat",
        r#"(component (import "wasi:keyvalue/store@0.2.0" (instance))
             (component $nothing) (instance $run (instantiate $nothing)) (export "wasi:cli/run@0.2.0" (instance $run)))"#
    );
    a_component_without_an_entry: file("component.wat", "(component)");
    arguments_for_a_manifest: complaint(&Folder::new().with("pod.yaml", pod("", "")), &["pod.yaml", "--", "x"]);
    a_published_port_that_is_none: complaint(&Folder::new(), &["x.wasm", "-p", "80"]);
}
