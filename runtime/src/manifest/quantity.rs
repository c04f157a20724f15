//! Kubernetes' `resource.Quantity`: an exact number with a suffix, such as `128Mi`, `0.5`, `250m` or `1e3`.

use std::fmt;

/// What the number is counted in: billionths, the finest unit that a suffix names.
const NANOS_PER_ONE: i128 = 1_000_000_000;
/// More digits than this say nothing: a quantity is capped at 2^63 - 1 and has at most nine decimal places.
const DIGITS_MAX: usize = 30;

/// An exact amount: bytes, CPUs, pieces.
///
/// It holds every number that Kubernetes' own type holds: up to 2^63 - 1 (more is capped), in billionths (finer is rounded up, away
/// from zero). No floating point is involved.
///
/// ```
/// use wasmpod::manifest::Quantity;
/// assert_eq!("1.5Gi".parse::<Quantity>()?.units(), 1536 << 20);
/// assert_eq!("250m".parse::<Quantity>()?.millis(), 250);
/// # Ok::<(), wasmpod::manifest::quantity::NotAQuantity>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

/// A text that is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAQuantity;

impl fmt::Display for NotAQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "quantities are a number with an optional suffix: Ki, Mi, Gi, Ti, Pi, Ei, n, u, m, k, M, G, T, P, E, or an exponent",
        )
    }
}

impl std::error::Error for NotAQuantity {}

impl Quantity {
    /// The amount in whole units (bytes, CPUs), a part of a unit counted as a whole one.
    pub fn units(self) -> i64 {
        self.divided_by(NANOS_PER_ONE)
    }

    /// The amount in thousandths, rounded up: millicores.
    pub fn millis(self) -> i64 {
        self.divided_by(NANOS_PER_ONE / 1000)
    }

    /// How many times `divisor` goes into it, rounded up; `divisor` counts as one when it is zero, as in Kubernetes.
    pub fn in_units_of(self, divisor: Self) -> i64 {
        self.divided_by(if divisor.nanos == 0 { NANOS_PER_ONE } else { divisor.nanos })
    }

    /// This many thousandths.
    pub fn from_millis(millis: u64) -> Self {
        Self { nanos: i128::from(millis) * (NANOS_PER_ONE / 1000) }
    }

    /// This many whole units.
    pub fn from_units(units: u64) -> Self {
        Self { nanos: i128::from(units) * NANOS_PER_ONE }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos) }
    }

    fn divided_by(self, nanos: i128) -> i64 {
        let (quotient, remainder) = (self.nanos / nanos, self.nanos % nanos);
        let away = if remainder == 0 { 0 } else { (self.nanos.signum()) * nanos.signum() };
        i64::try_from(quotient + away).unwrap_or(if self.nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

impl std::str::FromStr for Quantity {
    type Err = NotAQuantity;

    /// `[+-]digits[.digits][suffix]`, where the suffix is a unit or `e` or `E` with a whole exponent.
    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let end = unsigned.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at_checked(end).ok_or(NotAQuantity)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(NotAQuantity);
        }
        let (multiplier, exponent) = scale(suffix)?;
        let nanos = nanos(whole, fraction, multiplier, exponent);
        Ok(Self { nanos: if negative { -nanos } else { nanos } })
    }
}

/// The factor and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Result<(i128, i32), NotAQuantity> {
    Ok(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(NotAQuantity)?;
            (1, exponent.parse::<i16>().map_err(|_| NotAQuantity)?.into())
        }
    })
}

/// `whole.fraction × multiplier × 10^exponent` in billionths, rounded up and capped.
fn nanos(whole: &str, fraction: &str, multiplier: i128, exponent: i32) -> i128 {
    let cap = i128::from(i64::MAX) * NANOS_PER_ONE;
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > DIGITS_MAX {
        return cap;
    }
    let kept = fraction.get(..fraction.len().min(DIGITS_MAX.saturating_sub(whole.len()))).unwrap_or_default();
    // Digits beyond those kept only matter in that the number is a little larger: it is rounded up by one in the last place.
    let beyond = i128::from(kept.len() < fraction.len());
    let digits = whole.bytes().chain(kept.bytes()).fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0')) + beyond;
    if digits == 0 {
        return 0;
    }
    let power = 9 + exponent - i32::try_from(kept.len()).unwrap_or(i32::MAX);
    let Some(scaled) = digits.checked_mul(multiplier) else { return cap };
    match u32::try_from(power) {
        Ok(power) => 10_i128.checked_pow(power).and_then(|ten| scaled.checked_mul(ten)).unwrap_or(cap).min(cap),
        Err(_) => match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(ten) => (scaled / ten + i128::from(scaled % ten != 0)).min(cap),
            None => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, units: i64, millis: i64) {
        let quantity: Quantity = text.parse().unwrap_or_else(|_| panic!("{text} is a quantity"));
        assert_eq!((quantity.units(), quantity.millis()), (units, millis), "{text}");
    }

    #[test]
    fn reads_every_suffix() {
        check("0", 0, 0);
        check("128Mi", 128 << 20, (128 << 20) * 1000);
        check("1.5Gi", 1536 << 20, (1536 << 20) * 1000);
        check("12k", 12_000, 12_000_000);
        check("1M", 1_000_000, 1_000_000_000);
        check("250m", 1, 250);
        check("1e3", 1000, 1_000_000);
        check("1E3", 1000, 1_000_000);
        check("1E", 1_000_000_000_000_000_000, i64::MAX);
        check("12e-1", 2, 1200);
        check(".5", 1, 500);
        check("5.", 5, 5000);
        check("+1", 1, 1000);
        check("-1.5", -2, -1500);
        check("100n", 1, 1);
    }

    #[test]
    fn caps_and_rounds_up() {
        check("1e400", i64::MAX, i64::MAX);
        check("99999999999999999999999999999999999999", i64::MAX, i64::MAX);
        check("8Ei", i64::MAX, i64::MAX);
        check("0.1m", 1, 1);
        check("1e-400", 1, 1);
        check("0.0000000000000000000000000000000000000000000001", 1, 1);
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "-", "Mi", "1 Mi", "1mi", "1.2.3", "1e", "1Kib", "0x10", "1e1.5", "1e99999", "ten", "NaN", "١"] {
            assert_eq!(text.parse::<Quantity>(), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn divides_rounding_up() {
        let divided = |amount: &str, divisor: &str| amount.parse::<Quantity>().unwrap().in_units_of(divisor.parse().unwrap());
        assert_eq!(divided("100Mi", "1Mi"), 100);
        assert_eq!(divided("100M", "1Mi"), 96);
        assert_eq!(divided("250m", "1"), 1);
        assert_eq!(divided("250m", "1m"), 250);
        assert_eq!(divided("5", "0"), 5);
    }
}
