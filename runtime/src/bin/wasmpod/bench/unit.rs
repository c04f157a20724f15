//! Units, and how values are shown in them.

use serde::Serialize;

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Unit {
    /// Time.
    Seconds,
    /// Things that happen in a second.
    PerSecond,
}

/// A unit that suits a value: what to multiply by, and what to write behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) factor: f64,
    pub(super) label: &'static str,
}

impl Unit {
    /// The scale that suits values like this one.
    pub(super) fn scale(self, typical: f64) -> Scale {
        let (factor, label) = match self {
            Self::PerSecond if typical < 1e4 => (1.0, "/s"),
            Self::PerSecond => (1e-3, "k/s"),
            Self::Seconds if typical < 1e-6 => (1e9, "ns"),
            Self::Seconds if typical < 1e-3 => (1e6, "µs"),
            Self::Seconds if typical < 1.0 => (1e3, "ms"),
            Self::Seconds => (1.0, "s"),
        };
        Scale { factor, label }
    }

    /// The value with its unit.
    pub(super) fn show(self, value: f64) -> String {
        let scale = self.scale(value);
        format!("{} {}", scale.show(value), scale.label)
    }
}

impl Scale {
    /// The value in this scale, without its unit.
    pub(super) fn show(self, value: f64) -> String {
        digits(value * self.factor)
    }
}

/// A number with three digits that mean something.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_unit_that_suits_them() {
        assert_eq!(Unit::Seconds.show(0.000_000_12), "120 ns");
        assert_eq!(Unit::Seconds.show(0.000_061_3), "61.3 µs");
        assert_eq!(Unit::Seconds.show(0.003_21), "3.21 ms");
        assert_eq!(Unit::Seconds.show(2.5), "2.50 s");
        assert_eq!(Unit::PerSecond.show(2_345.6), "2346 /s");
        assert_eq!(Unit::PerSecond.show(23_456.4), "23.5 k/s");
        assert_eq!(digits(9.996), "10.0");
        assert_eq!(digits(0.0), "0");
    }
}
