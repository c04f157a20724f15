//! Curves between two axes, with a legend below.

use super::super::unit::digits;
use super::{Canvas, LINE, MARGIN, WIDTH, in_palette, round};
use svg::node::element::Polyline;

/// The height of the field of a chart.
const HEIGHT: f64 = 200.0;
/// Where the field begins: beside it stand the labels of the axis.
const LEFT: f64 = MARGIN + 44.0;
const RIGHT: f64 = WIDTH - MARGIN;
/// About so many labels fit on an axis.
const TICKS: f64 = 8.0;

/// One axis of a chart.
pub(super) struct Axis {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    ticks: Vec<(f64, String)>,
    title: String,
}

/// What is drawn, in the units of the axes, and what the legend says of it.
pub(super) struct Curve {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Axis {
    /// From nothing to `to`.
    pub(super) fn linear(to: f64, title: String) -> Self {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        let step = nice_step(to / TICKS);
        let steps = std::iter::successors(Some(0_u32), |step| step.checked_add(1)).map(|at| f64::from(at) * step);
        let ticks = steps.take_while(|tick| *tick <= to).map(|tick| (tick, tick_label(tick, step))).collect();
        Self { from: 0.0, to, is_logarithmic: false, ticks, title }
    }

    /// From `from` to `to`, both above nothing, each factor as long as the same factor elsewhere.
    pub(super) fn logarithmic(from: f64, to: f64, title: String) -> Self {
        let from = from.max(f64::MIN_POSITIVE) * 0.9;
        let decade = 10_f64.powf(from.log10().floor());
        let decades = std::iter::successors(Some(decade), |decade| Some(decade * 10.0)).take_while(|decade| *decade <= to);
        let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| decade * factor));
        let ticks = ticks.filter(|tick| (from..=to).contains(tick)).map(|tick| (tick, tick_label(tick, tick))).collect();
        Self { from, to, is_logarithmic: true, ticks, title }
    }

    /// From 0 to 100 %.
    pub(super) fn percent(title: &str) -> Self {
        let ticks = [0.0, 25.0, 50.0, 75.0, 90.0, 100.0].map(|tick| (tick, format!("{tick:.0} %"))).to_vec();
        Self { from: 0.0, to: 100.0, is_logarithmic: false, ticks, title: title.to_owned() }
    }

    /// Which share of the axis lies before `value`.
    fn place(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 with zeros, not less than `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(power * 10.0)
}

/// As many decimals as the step needs.
fn tick_label(tick: f64, step: f64) -> String {
    if step >= 1.0 {
        format!("{tick:.0}")
    } else if step >= 0.1 {
        format!("{tick:.1}")
    } else {
        digits(tick)
    }
}

/// Draws it below what is there.
pub(super) fn draw(canvas: &mut Canvas, x: &Axis, y: &Axis, curves: &[Curve]) {
    let top = canvas.bottom + 2.4 * LINE;
    let bottom = top + HEIGHT;
    let (at_x, at_y) = (|value: f64| LEFT + x.place(value) * (RIGHT - LEFT), |value: f64| bottom - y.place(value) * HEIGHT);
    canvas.text(MARGIN, top - 0.7 * LINE, "soft", &y.title);
    for (value, label) in &y.ticks {
        canvas.line((LEFT, at_y(*value)), (RIGHT, at_y(*value)), "grid");
        canvas.text(LEFT - 6.0, at_y(*value) + 4.0, "soft end", label);
    }
    for (value, label) in &x.ticks {
        canvas.line((at_x(*value), bottom), (at_x(*value), bottom + 5.0), "axis");
        canvas.text(at_x(*value), bottom + LINE, "soft middle", label);
    }
    canvas.line((LEFT, bottom), (RIGHT, bottom), "axis");
    let scheme = if x.is_logarithmic { " (logarithmic)" } else { "" };
    canvas.text(RIGHT, bottom + 2.0 * LINE, "soft end", &format!("{}{scheme}", x.title));
    for (number, curve) in curves.iter().enumerate() {
        // What lies beyond the axis is left out, not laid upon its end.
        let visible = curve.points.iter().filter(|point| point.0 <= x.to);
        let points: Vec<String> = visible.map(|point| format!("{},{}", round(at_x(point.0)), round(at_y(point.1)))).collect();
        let class = format!("curve stroke{}", in_palette(number));
        canvas.add(Polyline::new().set("points", points.join(" ")).set("class", class));
    }
    canvas.bottom = bottom + 2.3 * LINE;
    for (number, curve) in curves.iter().enumerate() {
        canvas.bottom += LINE;
        canvas.swatch((LEFT, canvas.bottom - 6.0), (18.0, 3.0), number);
        canvas.text(LEFT + 26.0, canvas.bottom, "", &curve.label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        let labels = |axis: &Axis| axis.ticks.iter().map(|tick| tick.1.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(&Axis::linear(3.7, String::new())), "0.0 0.5 1.0 1.5 2.0 2.5 3.0 3.5");
        assert_eq!(labels(&Axis::linear(23_000.0, String::new())), "0 5000 10000 15000 20000");
        assert_eq!(labels(&Axis::logarithmic(2.7, 230.0, String::new())), "5 10 20 50 100 200");
        assert_eq!(Axis::linear(f64::NAN, String::new()).to, 1.0);
    }

    #[test]
    fn a_value_has_its_place_on_an_axis() {
        let axis = Axis::logarithmic(10.0 / 9.0, 100.0, String::new());
        assert!(axis.place(1.0).abs() < 1e-9 && axis.place(1000.0) == 1.0);
        assert!((axis.place(10.0) - 0.5).abs() < 0.01, "{}", axis.place(10.0));
    }
}
