//! The forms for programs: JSON with everything, CSV with every single value.

use super::machine::Machine;
use super::result::{Breakdown, ContenderNote, DensityPoint, Group, Measure, Report};
use super::statistics::{CONFIDENCE_PERCENT, Estimate, Summary};
use super::unit::Unit;
use crate::args::Mode;
use serde::Serialize;
use wasmpod::{Error, Result};

/// Raised whenever a field changes its meaning or is taken away.
const FORMAT_VERSION: u32 = 1;

/// The JSON document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    format_version: u32,
    started_at: &'a str,
    interrupted: bool,
    confidence_percent: u32,
    machine: &'a Machine,
    groups: Vec<GroupDocument<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupDocument<'a> {
    target: &'a str,
    mode: Mode,
    contenders: &'a [ContenderNote],
    series: Vec<SeriesDocument<'a>>,
    ratios: Vec<RatioDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breakdown: Option<&'a Breakdown>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    density: &'a [DensityPoint],
    notes: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeriesDocument<'a> {
    contender: &'a str,
    measure: Measure,
    unit: Unit,
    summary: Option<Summary>,
    values: &'a [f64],
}

/// How many times as much a contender takes as wasmpod.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RatioDocument<'a> {
    contender: &'a str,
    measure: Measure,
    ratio_of_medians: Estimate,
}

/// Everything, as JSON.
pub(super) fn json(report: &Report) -> Result<String> {
    let document = Document {
        format_version: FORMAT_VERSION,
        started_at: &report.started_at,
        interrupted: report.interrupted,
        confidence_percent: CONFIDENCE_PERCENT,
        machine: &report.machine,
        groups: report.groups.iter().map(group).collect(),
    };
    let text = serde_json::to_string_pretty(&document).map_err(|error| Error::internal("cannot write JSON").because(error))?;
    Ok(text + "\n")
}

fn group(group: &Group) -> GroupDocument<'_> {
    let series = group.series.iter().map(|series| SeriesDocument {
        contender: &series.contender,
        measure: series.measure,
        unit: series.measure.unit(),
        summary: series.summary(),
        values: &series.values,
    });
    let ratios = group.measures().into_iter().flat_map(|measure| {
        let ratio = move |(contender, ratio_of_medians)| RatioDocument { contender, measure, ratio_of_medians };
        group.ratios(measure).into_iter().map(ratio)
    });
    GroupDocument {
        target: &group.target,
        mode: group.mode,
        contenders: &group.contenders,
        series: series.collect(),
        ratios: ratios.collect(),
        breakdown: group.breakdown.as_ref(),
        density: &group.density,
        notes: &group.notes,
    }
}

/// Every single value, one a line. Of a density, the bytes of each number of pods.
pub(super) fn csv(report: &Report) -> String {
    let mut text = "target,mode,contender,measure,unit,run,value\n".to_owned();
    for group in &report.groups {
        let (target, mode) = (quoted(&group.target), word(&group.mode));
        for series in &group.series {
            let (measure, unit) = (word(&series.measure), word(&series.measure.unit()));
            for (run, value) in series.values.iter().enumerate() {
                text.push_str(&format!("{target},{mode},{},{measure},{unit},{run},{value}\n", quoted(&series.contender)));
            }
        }
        for point in &group.density {
            let DensityPoint { pods, rss_bytes, pss_bytes, page_table_bytes } = point;
            for (measure, bytes) in [("rss", rss_bytes), ("pss", pss_bytes), ("pageTables", page_table_bytes)] {
                text.push_str(&format!("{target},{mode},wasmpod,{measure},bytes,{pods},{bytes}\n"));
            }
        }
    }
    text
}

/// The word that the JSON document has for a mode, measure or unit.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A field of RFC 4180.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_document_for_programs_has_everything() {
        let mut document: Value = serde_json::from_str(&json(&testing::report()).unwrap()).unwrap();
        // What is long and the same again and again.
        for series in document["groups"][0]["series"].as_array_mut().unwrap() {
            assert_eq!(series["values"].as_array().unwrap().len(), 50);
            series["values"] = Value::from("fifty values");
        }
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }

    #[test]
    fn every_value_has_a_line() {
        let mut report = testing::report();
        report.groups[0].target = "a \"name\", with a comma".to_owned();
        let text = csv(&report);
        assert_eq!(text.lines().count(), 1 + 4 * 50 + 4 * 3);
        let lines: Vec<&str> = text.lines().collect();
        insta::assert_snapshot!([lines[0], lines[1], lines[200], lines[201]].join("\n"), @r#"
        target,mode,contender,measure,unit,run,value
        "a ""name"", with a comma",process,wasmpod,firstOutput,seconds,0,0.0025
        "a ""name"", with a comma",process,wasmtime,end,seconds,49,0.00894
        idle (built in),density,wasmpod,rss,bytes,0,18874368
        "#);
    }
}
