//! E1: manifests made to hurt, as the program reads them. What it says about each is in `manifest::tests::hostile`.

use super::{peak_memory, quiet_guest};
use crate::harness::Folder;

#[test]
fn e1_manifests_made_to_hurt_cost_little_and_are_refused_with_their_place() {
    let level = |level: usize| format!("a{level}: &a{level} [{}]\n", format!("*a{},", level - 1).repeat(9));
    let bomb = (1..10).map(level).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| text + &level);
    let manifests: [(&str, Vec<u8>); 7] = [
        ("aliases", bomb.into_bytes()),
        ("depth", "[".repeat(10_000).into_bytes()),
        ("size", vec![b'x'; 100 << 20]),
        ("documents", "a: 1\n---\n".repeat(10_000).into_bytes()),
        ("bytes", b"apiVersion: v1\nkind: P\xffod\n".to_vec()),
        ("number", b"apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: .nan}\n".to_vec()),
        ("twice", b"apiVersion: v1\nkind: Pod\nkind: Pod\n".to_vec()),
    ];
    let quiet = Folder::new().with("quiet.wat", quiet_guest());
    let (quiet, _) = peak_memory(&quiet, &["quiet.wat"]);
    for (name, text) in manifests {
        let file = format!("{name}.yaml");
        let (peak, finished) = peak_memory(&Folder::new().with(&file, text), &[&file]);
        assert!(matches!(finished.status, 1 | 2), "{name}: {}", finished.stderr);
        assert!(finished.stderr.starts_with(&format!("error: {file}")), "{name}: {}", finished.stderr);
        assert!(peak <= quiet + (32 << 10), "{name}: {peak} KiB against {quiet} KiB");
    }
}
