//! `wasmpod validate`: what is said about manifests without running them.

use super::args::{TextFormat, ValidateArgs};
use super::{explain, image_store, report};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use wasmpod::limits::MANIFEST_BYTES_MAX;
use wasmpod::manifest::{Examination, Manifest, ObjectFields, ParseOptions};
use wasmpod::{Error, Result};

/// What the shell sees when a manifest is not valid.
const EXIT_INVALID: u8 = 2;

/// Examines every file; a file that cannot be read is an error like any other.
pub(crate) fn run(args: &ValidateArgs) -> Result<ExitCode> {
    let options = ParseOptions { ignore_unknown_kinds: args.ignore_unknown };
    let mut examined = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let source = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
        let examination = match read(file, &source) {
            Ok(bytes) => Manifest::examine(&bytes, &source, options, args.pod_security),
            Err(error) => Examination { objects: Vec::new(), errors: vec![error] },
        };
        examined.push((source, examination));
    }
    match args.output {
        TextFormat::Text => {
            for (source, examination) in &examined {
                image_store::print(&in_text(source, examination))?;
                for error in &examination.errors {
                    report::fail(error);
                }
            }
        }
        TextFormat::Json => {
            let manifests: Vec<Value> = examined.iter().map(|(source, examination)| in_json(source, examination)).collect();
            image_store::print_json(&json!({"manifests": manifests}))?;
        }
    }
    let valid = examined.iter().all(|(_, examination)| examination.errors.is_empty());
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INVALID) })
}

/// Reads one byte more than a manifest may have, so that the parser can say that it is too long.
fn read(file: &Path, source: &str) -> Result<Vec<u8>> {
    let most = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Error::io("cannot read it", error).at(source).hint("name a manifest, or - for one from standard input"))?;
    Ok(bytes)
}

fn in_text(source: &str, examination: &Examination) -> String {
    let verdict = if examination.errors.is_empty() { "valid" } else { "not valid" };
    let mut text = format!("{source}: {verdict}\n");
    for object in &examination.objects {
        let name = object.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let _ = writeln!(text, "  {}{name}", object.kind);
        add_fields(&mut text, object);
    }
    text
}

fn add_fields(text: &mut String, object: &ObjectFields) {
    let width = object.fields.iter().map(|field| field.support.verdict.to_string().len()).max().unwrap_or_default();
    for field in &object.fields {
        let reason = if field.support.reason.is_empty() { String::new() } else { format!(": {}", field.support.reason) };
        // Padded as a text, which the verdict is not.
        let _ = writeln!(text, "    {:width$}  {}{reason}", field.support.verdict.to_string(), field.path);
    }
}

fn in_json(source: &str, examination: &Examination) -> Value {
    let objects: Vec<Value> = examination.objects.iter().map(object_in_json).collect();
    let errors: Vec<Value> = examination.errors.iter().map(error_in_json).collect();
    json!({"source": source, "valid": errors.is_empty(), "objects": objects, "errors": errors})
}

fn object_in_json(object: &ObjectFields) -> Value {
    let field = |field: &wasmpod::manifest::support::FieldVerdict| json!({"path": field.path, "verdict": explain::word(field.support.verdict), "reason": field.support.reason});
    json!({"kind": object.kind, "name": object.name, "fields": object.fields.iter().map(field).collect::<Vec<_>>()})
}

/// Several problems stand in one error, one a line.
fn error_in_json(error: &Error) -> Value {
    let text = error.chain();
    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
    if lines.len() > 1 {
        lines.remove(0);
    }
    json!({"problems": lines, "hint": error.advice(), "reason": error.reason()})
}
