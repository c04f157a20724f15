//! `wasmpod explain`: what becomes of a field, or of all of them.

use super::args::{ExplainArgs, TextFormat};
use super::image_store;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use wasmpod::Result;
use wasmpod::manifest::support::{self, Explanation, FieldSupport, Verdict};

/// Prints the verdict on `args.field`, or the whole table.
pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let explanation = args.field.as_deref().map(support::explain).transpose()?;
    match (&explanation, args.output) {
        (Some(explanation), TextFormat::Text) => image_store::print(&in_text(explanation))?,
        (Some(explanation), TextFormat::Json) => image_store::print_json(&in_json(explanation))?,
        (None, TextFormat::Text) => image_store::print(&table_in_text())?,
        (None, TextFormat::Json) => {
            image_store::print_json(&json!({"fields": support::table().map(|row| row_in_json(&row)).collect::<Vec<_>>()}))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The word for a verdict in JSON.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Honoured => "honoured",
        Verdict::SatisfiedBySandbox => "satisfiedBySandbox",
        Verdict::Ignored => "ignored",
        Verdict::Rejected => "rejected",
    }
}

fn row_in_json(row: &FieldSupport) -> Value {
    json!({"type": row.owner, "field": row.field, "verdict": word(row.verdict), "reason": row.reason})
}

fn in_json(explanation: &Explanation) -> Value {
    let support = explanation.support.as_ref().map(row_in_json);
    let fields: Vec<Value> = explanation.fields.iter().map(row_in_json).collect();
    json!({"path": explanation.path, "support": support, "fields": fields})
}

fn in_text(explanation: &Explanation) -> String {
    let mut text = match &explanation.support {
        Some(row) => format!("{}: {}\n", explanation.path, line(row)),
        None => format!("{}:\n", explanation.path),
    };
    add_rows(&mut text, explanation.fields.iter());
    text
}

/// `ignored: there is one machine`.
fn line(row: &FieldSupport) -> String {
    if row.reason.is_empty() { row.verdict.to_string() } else { format!("{}: {}", row.verdict, row.reason) }
}

fn add_rows<'a>(text: &mut String, rows: impl Iterator<Item = &'a FieldSupport> + Clone) {
    let width = rows.clone().map(|row| row.field.len()).max().unwrap_or_default();
    for row in rows {
        let _ = writeln!(text, "  {:width$}  {}", row.field, line(row));
    }
}

fn table_in_text() -> String {
    let rows: Vec<FieldSupport> = support::table().collect();
    let mut text = String::new();
    for of_type in rows.chunk_by(|one, other| one.owner == other.owner) {
        if let Some(first) = of_type.first() {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{}", first.owner);
        }
        add_rows(&mut text, of_type.iter());
    }
    text
}
