//! Pages of `docs/` that are made from the code: each is compared with what the code says now.
//!
//! After a change, `WASMPOD_UPDATE_DOCS=1 cargo test -p wasmpod --test integration generated_pages` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

/// The files that say them.
const LIMITS: [&str; 2] = [include_str!("../runtime/src/limits.rs"), include_str!("../shim/src/limits.rs")];

#[test]
fn limits() {
    let mut text = "# Limits\n\
        Every bound of wasmpod, made from `runtime/src/limits.rs` and `shim/src/limits.rs`, which say them once for the code and for this \
        page.\nWhatever a guest, a registry, a client or a file can make grow has its line here.\n"
        .to_owned();
    for section in LIMITS.into_iter().flat_map(sections) {
        let _ = write!(text, "\n## {}\n| limit | value | why |\n|---|---|---|\n", section.title);
        for Limit { name, value, why } in section.limits {
            let _ = writeln!(text, "| `{name}` | {value} | {why} |");
        }
    }
    is_up_to_date("limits.md", &text);
}

#[test]
fn support() {
    is_up_to_date("support.md", &wasmpod::manifest::support::markdown());
}

#[test]
fn every_limit_says_why_and_stands_under_a_heading() {
    let sections: Vec<_> = LIMITS.into_iter().flat_map(sections).collect();
    let listed: usize = sections.iter().map(|section| section.limits.len()).sum();
    assert_eq!(listed, LIMITS.join("").matches(" const ").count());
    for limit in sections.iter().flat_map(|section| &section.limits) {
        assert!(!limit.why.is_empty(), "{} has no documentation", limit.name);
    }
}

/// The constants below one heading of `limits.rs`.
struct Section {
    title: String,
    limits: Vec<Limit>,
}

struct Limit {
    name: String,
    value: String,
    why: String,
}

/// Reads headings (`// ---- title ----`), documentation and constants, line by line.
fn sections(source: &str) -> Vec<Section> {
    let (mut found, mut why) = (Vec::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix("// ---- ") {
            found.push(Section { title: title.trim_end_matches([' ', '-']).to_owned(), limits: Vec::new() });
        } else if let Some(text) = line.strip_prefix("/// ") {
            why.push(text.to_owned());
        } else if let Some((_, constant)) = line.split_once(" const ") {
            let (name, value) = constant.trim_end_matches(';').split_once('=').unwrap();
            let (name, _type) = name.split_once(':').unwrap();
            let section = found.last_mut().unwrap_or_else(|| panic!("{name} stands under no heading"));
            let why = std::mem::take(&mut why).join(" ").replace('|', "\\|");
            section.limits.push(Limit { name: name.to_owned(), value: readable(value.trim()), why });
        }
    }
    found
}

/// A value as people read it: `64 << 10` is 64 Ki, `Duration::from_millis(10)` is 10 ms.
fn readable(value: &str) -> String {
    if let Some(duration) = value.strip_prefix("Duration::from_") {
        let (unit, number) = duration.trim_end_matches(')').split_once('(').unwrap();
        let unit = match unit {
            "nanos" => "ns",
            "micros" => "µs",
            "millis" => "ms",
            "secs" => "s",
            other => other,
        };
        return format!("{number} {unit}");
    }
    match value.split_once("<<") {
        Some((factor, "" | " 10")) => format!("{} Ki", factor.trim()),
        Some((factor, " 20")) => format!("{} Mi", factor.trim()),
        Some((factor, " 30")) => format!("{} Gi", factor.trim()),
        _ => value.replace("* 1024 * 1024", "Mi").replace("* 1024", "Ki"),
    }
}

/// Compares a page of `docs/` with `text`, or writes it.
pub fn is_up_to_date(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    if std::env::var_os("WASMPOD_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "docs/{page} is out of date: WASMPOD_UPDATE_DOCS=1 cargo test -p wasmpod --test integration writes it");
}
