//! The report as a picture: how the values are distributed, where the time went, how memory grows.
//!
//! An SVG of one column, for a page or a browser. Its colours follow the reader's light or dark scheme; where a program does not know
//! of schemes, it is the light one on a background of its own.

mod bar;
mod chart;

use super::machine::Machine;
use super::result::{DensityPoint, Group, Measure, Report, Series};
use super::statistics::{CONFIDENCE_PERCENT, Sample, float};
use super::table::{mode_name, mode_title};
use super::unit::{Scale, Unit};
use chart::{Axis, Curve};
use svg::Document;
use svg::node::element::{Group as SvgGroup, Line, Rectangle, Style, Text, Title};

/// The picture's width, in its own units.
const WIDTH: f64 = 760.0;
/// The free space at its edges.
const MARGIN: f64 = 24.0;
/// The height of a line of text.
const LINE: f64 = 18.0;
/// Points of one curve: what a screen can show.
const POINTS_MAX: usize = 400;
/// One curve that takes this many times as long as another makes the axis logarithmic.
const LOGARITHMIC_FROM: f64 = 8.0;

/// The colours of one scheme. They are written out wherever they are used: not every program that shows an SVG knows variables.
struct Scheme {
    paper: &'static str,
    ink: &'static str,
    soft: &'static str,
    grid: &'static str,
    /// Of curves and of the parts of a bar, in their order.
    colours: [&'static str; 12],
}

const LIGHT: Scheme = Scheme {
    paper: "#ffffff",
    ink: "#1f2328",
    soft: "#59636e",
    grid: "#d8dee4",
    colours: [
        "#0b6bcb", "#d1480c", "#0a8f5b", "#a9449c", "#b7860b", "#3aa6c9", "#7a5af5", "#c2255c", "#5c7a29", "#8a6d5a", "#94a0ab",
        "#44546a",
    ],
};

const DARK: Scheme = Scheme {
    paper: "#0d1117",
    ink: "#e6edf3",
    soft: "#9ba6b2",
    grid: "#2f363e",
    colours: [
        "#58a6ff", "#ff8c5a", "#3fcf8e", "#e08ad2", "#e3b341", "#79d0ec", "#a897ff", "#ff7b9c", "#a5c261", "#c9a892", "#6e7883",
        "#b6c2d1",
    ],
};

/// What is the same in both schemes.
const SHAPES: &str = "
text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 12px; }
.heading { font-size: 16px; font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.grid, .axis { stroke-width: 1; } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
";

impl Scheme {
    fn rules(&self) -> String {
        let Self { paper, ink, soft, grid, colours } = self;
        let mut rules = format!(
            ".paper {{ fill: {paper}; }} text {{ fill: {ink}; }} text.soft {{ fill: {soft}; }} .grid {{ stroke: {grid}; }} .axis {{ stroke: {soft}; }}\n"
        );
        for (number, colour) in colours.iter().enumerate() {
            rules.push_str(&format!(".fill{number} {{ fill: {colour}; }} .stroke{number} {{ stroke: {colour}; }}\n"));
        }
        rules
    }
}

/// The light scheme, and the dark one for readers who prefer it.
fn style() -> String {
    format!("{SHAPES}{}@media (prefers-color-scheme: dark) {{\n{}}}\n", LIGHT.rules(), DARK.rules())
}

/// What is drawn so far: elements, and where the next one begins.
struct Canvas {
    elements: SvgGroup,
    /// Below everything that is there.
    bottom: f64,
}

impl Canvas {
    fn add(&mut self, element: impl Into<Box<dyn svg::Node>>) {
        self.elements = std::mem::take(&mut self.elements).add(element);
    }

    /// Text whose base line is at `y`; `class` says how it looks and which end of it is at `x`.
    fn text(&mut self, x: f64, y: f64, class: &str, content: &str) {
        self.add(Text::new(content).set("x", round(x)).set("y", round(y)).set("class", class));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let line = Line::new().set("x1", round(from.0)).set("y1", round(from.1));
        self.add(line.set("x2", round(to.0)).set("y2", round(to.1)).set("class", class));
    }

    /// A filled box, coloured as the part or curve with this number.
    fn swatch(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: usize) {
        let swatch = Rectangle::new().set("x", round(x)).set("y", round(y)).set("width", round(width)).set("height", round(height));
        self.add(swatch.set("class", format!("fill{}", in_palette(colour))));
    }

    /// One line of text, below what is there.
    fn paragraph(&mut self, class: &str, content: &str) {
        self.bottom += LINE;
        self.text(MARGIN, self.bottom, class, content);
    }
}

/// The picture of everything that was measured.
pub(super) fn svg(report: &Report) -> String {
    let mut canvas = Canvas { elements: SvgGroup::new(), bottom: MARGIN };
    for group in report.groups.iter().filter(|group| !group.is_empty()) {
        draw_group(&mut canvas, group);
        canvas.bottom += 2.0 * LINE;
    }
    for line in about(&report.machine) {
        canvas.paragraph("soft", &line);
    }
    let height = canvas.bottom + MARGIN;
    let paper = Rectangle::new().set("width", WIDTH).set("height", round(height)).set("class", "paper");
    let document = Document::new().set("viewBox", (0, 0, round(WIDTH), round(height)));
    let document = document.set("width", WIDTH).set("height", round(height)).set("role", "img");
    document.add(Title::new("wasmpod bench")).add(Style::new(style())).add(paper).add(canvas.elements).to_string() + "\n"
}

fn about(machine: &Machine) -> Vec<String> {
    let build = if machine.optimised { "" } else { ", a build for debugging" };
    vec![
        format!("{}, {} processors, {}", machine.processor, machine.processors, machine.kernel),
        format!("wasmpod {}{build}, wasmtime {}", machine.wasmpod, machine.wasmtime),
    ]
}

fn draw_group(canvas: &mut Canvas, group: &Group) {
    canvas.paragraph("heading", &format!("{}: {}", shortened(&group.target), mode_name(group.mode)));
    canvas.paragraph("soft", mode_title(group.mode));
    let measures = group.measures();
    if group.contenders.len() > 1 {
        for measure in measures {
            let series: Vec<&Series> = group.series_of(measure).collect();
            draw_distribution(canvas, measure.title(), &series, |series| series.contender.clone());
        }
    } else if !measures.is_empty() {
        let series: Vec<&Series> = measures.iter().flat_map(|measure| group.series_of(*measure).take(1)).collect();
        draw_distribution(canvas, title_of(&measures), &series, |series| series.measure.title().to_owned());
    }
    if let Some(breakdown) = &group.breakdown {
        bar::draw(canvas, breakdown);
    }
    if group.density.len() > 1 {
        draw_density(canvas, &group.density);
    }
}

fn title_of(measures: &[Measure]) -> &'static str {
    match measures {
        [only] => only.title(),
        _ => "time since its start",
    }
}

/// Which share of the values lies below what: one curve for each series.
fn draw_distribution(canvas: &mut Canvas, title: &str, series: &[&Series], label: impl Fn(&Series) -> String) {
    let samples: Vec<(&Series, Sample)> = series.iter().filter_map(|series| Some((*series, Sample::of(&series.values)?))).collect();
    let medians = || samples.iter().map(|(_, sample)| sample.quantile(50));
    let (least, most) = (medians().fold(f64::INFINITY, f64::min), medians().fold(0.0, f64::max));
    let Some((first, _)) = samples.first() else { return };
    let unit = first.measure.unit();
    let scale = unit.scale(least);
    // The rare values beyond would press all others together.
    let right = samples.iter().map(|(_, sample)| sample.quantile(99)).fold(0.0, f64::max).max(most) * scale.factor * 1.05;
    let is_logarithmic = most / least.max(f64::MIN_POSITIVE) > LOGARITHMIC_FROM;
    let from = samples.iter().map(|(_, sample)| sample.quantile(0)).fold(f64::INFINITY, f64::min) * scale.factor;
    let x_title = format!("{title}, {}", scale.label);
    let x = if is_logarithmic { Axis::logarithmic(from, right, x_title) } else { Axis::linear(right, x_title) };
    let y = Axis::percent("share of the runs");
    let curves = samples.iter().map(|(series, sample)| Curve {
        points: distribution(sample, scale),
        label: format!("{}: {}", label(series), in_words(sample, unit)),
    });
    chart::draw(canvas, &x, &y, &curves.collect::<Vec<_>>());
}

/// Steps from value to value, thinned to what can be seen.
fn distribution(sample: &Sample, scale: Scale) -> Vec<(f64, f64)> {
    let values = sample.values();
    let every = values.len().div_ceil(POINTS_MAX).max(1);
    let mut points = vec![(sample.quantile(0) * scale.factor, 0.0)];
    for (index, value) in values.iter().enumerate().filter(|(index, _)| (index + 1) % every == 0 || index + 1 == values.len()) {
        let before = points.last().map_or(0.0, |point| point.1);
        points.push((value * scale.factor, before));
        points.push((value * scale.factor, float(index + 1) / float(values.len()) * 100.0));
    }
    points
}

fn in_words(sample: &Sample, unit: Unit) -> String {
    let median = sample.estimate(50);
    let interval = match (median.low, median.high) {
        (Some(low), Some(high)) => format!(" ({CONFIDENCE_PERCENT} %: {} – {})", unit.show(low), unit.show(high)),
        _ => String::new(),
    };
    format!("p50 {}{interval}, p99 {}", unit.show(median.value), unit.show(sample.quantile(99)))
}

fn draw_density(canvas: &mut Canvas, points: &[DensityPoint]) {
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    let curve = |label: &str, bytes: fn(&DensityPoint) -> u64| Curve {
        label: label.to_owned(),
        points: points.iter().map(|point| (point.pods as f64, bytes(point) as f64 / MEBIBYTE)).collect(),
    };
    let curves = [
        curve("RSS: what is in memory", |point| point.rss_bytes),
        curve("PSS: shared pages by their part", |point| point.pss_bytes),
        curve("page tables", |point| point.page_table_bytes),
    ];
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::linear(all().map(|point| point.0).fold(1.0, f64::max), "idle pods".to_owned());
    let y = Axis::linear(all().map(|point| point.1).fold(1.0, f64::max) * 1.1, "memory of the process, MiB".to_owned());
    chart::draw(canvas, &x, &y, &curves);
}

/// A path from its end, which says more than its beginning.
fn shortened(target: &str) -> String {
    const CHARS_MAX: usize = 60;
    let count = target.chars().count();
    if count <= CHARS_MAX {
        target.to_owned()
    } else {
        format!("…{}", target.chars().skip(count - CHARS_MAX).collect::<String>())
    }
}

/// The number of a colour: from the first again when there are more things than colours.
fn in_palette(number: usize) -> usize {
    number % LIGHT.colours.len()
}

/// A coordinate, to a tenth: smaller differences cannot be seen.
fn round(coordinate: f64) -> f64 {
    (coordinate * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_report_as_a_picture() {
        insta::assert_snapshot!(svg(&testing::report()));
    }

    #[test]
    fn names_cannot_break_out_of_their_place() {
        let mut report = testing::report();
        report.groups[0].target = "</text><script>alert(1)</script>&".to_owned();
        let picture = svg(&report);
        assert!(!picture.contains("<script") && picture.contains("&lt;script&gt;"), "{picture}");
    }

    #[test]
    fn a_curve_has_no_more_points_than_can_be_seen() {
        let values: Vec<f64> = (0..100_000).map(f64::from).collect();
        let points = distribution(&Sample::of(&values).unwrap(), Unit::Seconds.scale(1.0));
        assert!(points.len() <= 2 * POINTS_MAX + 2, "{}", points.len());
        assert_eq!(points.last(), Some(&(99_999.0, 100.0)));
    }
}
