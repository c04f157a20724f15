//! A breakdown: one bar, as long as an average run, with what it is made of.

use super::super::result::Breakdown;
use super::super::statistics::float;
use super::super::unit::{Unit, percent};
use super::{Canvas, LINE, MARGIN, WIDTH};

/// The height of the bar.
const HEIGHT: f64 = 26.0;
/// How many entries of the legend stand beside each other.
const COLUMNS: usize = 3;

/// Draws it below what is there.
pub(super) fn draw(canvas: &mut Canvas, breakdown: &Breakdown) {
    let total = breakdown.total().max(f64::MIN_POSITIVE);
    let of_runs = format!("where {} of wasmpod go, by {} watched runs", Unit::Seconds.show(total), breakdown.runs);
    canvas.bottom += LINE;
    canvas.paragraph("soft", &of_runs);
    let top = canvas.bottom + 0.5 * LINE;
    let mut left = MARGIN;
    for (number, part) in breakdown.parts.iter().enumerate() {
        let width = part.seconds / total * (WIDTH - 2.0 * MARGIN);
        canvas.swatch((left, top), (width, HEIGHT), number);
        left += width;
    }
    let column = (WIDTH - 2.0 * MARGIN) / float(COLUMNS);
    let first = top + HEIGHT + 1.2 * LINE;
    for (number, part) in breakdown.parts.iter().enumerate() {
        let (x, y) = (MARGIN + float(number % COLUMNS) * column, first + float(number / COLUMNS) * LINE);
        canvas.swatch((x, y - 10.0), (11.0, 11.0), number);
        let label = format!("{}: {}, {}", part.name, Unit::Seconds.show(part.seconds), percent(part.seconds / total));
        canvas.text(x + 18.0, y, "", &label);
        canvas.bottom = y;
    }
}
