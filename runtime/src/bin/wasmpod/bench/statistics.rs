//! What can be said of values that were measured: quantiles and how sure they are, and how much bigger one median is than another.
//!
//! Nothing is assumed about how the values are distributed, since times never are as the textbooks have it. The interval of a quantile
//! lies between two of the values themselves, whose ranks the binomial distribution gives; that of a ratio comes from the bootstrap.

use serde::Serialize;

/// How sure an interval is, in percent.
pub(super) const CONFIDENCE_PERCENT: u32 = 95;
/// How much of the uncertainty lies beyond each end of an interval.
const TAIL: f64 = 0.025;
/// How often the bootstrap draws anew.
const RESAMPLES: u32 = 2000;

/// Values in order, at least one.
#[derive(Clone, Debug)]
pub(super) struct Sample(Vec<f64>);

/// A quantile, and between what it lies with [`CONFIDENCE_PERCENT`]; too few values leave an end open.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// What is said of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) count: usize,
    pub(super) min: f64,
    pub(super) p50: Estimate,
    pub(super) p90: Estimate,
    pub(super) p99: Estimate,
    pub(super) max: f64,
}

impl Sample {
    /// The values in order; none when there are none, or one is no number.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        Some(Self(values))
    }

    /// The values in order.
    pub(super) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The usual five numbers, three of them with how sure they are.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            min: self.quantile(0),
            p50: self.estimate(50),
            p90: self.estimate(90),
            p99: self.estimate(99),
            max: self.quantile(100),
        }
    }

    /// The value below which so many percent lie, interpolated between its two neighbours (type 7 of Hyndman and Fan, as in R).
    pub(super) fn quantile(&self, percent: u32) -> f64 {
        let scaled = (self.0.len() - 1) * percent.min(100) as usize;
        let below = self.rank(scaled / 100);
        let above = self.rank(scaled / 100 + 1);
        let fraction = float(scaled % 100) / 100.0;
        below + (above - below) * fraction
    }

    /// The same with its interval.
    pub(super) fn estimate(&self, percent: u32) -> Estimate {
        let (low, high) = interval_ranks(self.0.len(), f64::from(percent) / 100.0);
        let at = |rank: Option<usize>| rank.and_then(|rank| self.0.get(rank).copied());
        Estimate { value: self.quantile(percent), low: at(low), high: at(high) }
    }

    /// The value at a rank, or the biggest.
    fn rank(&self, rank: usize) -> f64 {
        self.0.get(rank).or_else(|| self.0.last()).copied().unwrap_or_default()
    }
}

/// The ranks (from 0) of the values between which the quantile `q` of the distribution lies, of `count` values.
///
/// The number of values below the quantile is binomial, so the value with rank `r` lies above it with the probability that at most
/// `r` values lie below.
fn interval_ranks(count: usize, q: f64) -> (Option<usize>, Option<usize>) {
    let odds = (q / (1.0 - q)).ln();
    let (mut low, mut high) = (None, None);
    let (mut log_probability, mut cumulative) = (float(count) * (1.0 - q).ln(), 0.0);
    for below in 0..count {
        cumulative += log_probability.exp();
        if cumulative <= TAIL {
            low = Some(below);
        }
        if cumulative >= 1.0 - TAIL {
            high = Some(below);
            break;
        }
        log_probability += (float(count - below) / float(below + 1)).ln() + odds;
    }
    (low, high)
}

/// How many times as big the median of `these` is as that of `those`, with the interval of the percentile bootstrap.
///
/// Values at the same place were measured one right after the other; they are drawn together, so that what disturbed both cancels.
pub(super) fn median_ratio(these: &[f64], those: &[f64]) -> Option<Estimate> {
    let pairs: Vec<(f64, f64)> = these.iter().copied().zip(those.iter().copied()).collect();
    let ratio = |these: &mut [f64], those: &mut [f64]| Some(median(these)? / median(those)?).filter(|ratio| ratio.is_finite());
    let value =
        ratio(&mut pairs.iter().map(|pair| pair.0).collect::<Vec<_>>(), &mut pairs.iter().map(|pair| pair.1).collect::<Vec<_>>())?;
    let mut random = SplitMix(0);
    let mut ratios = Vec::new();
    let (mut drawn_these, mut drawn_those) = (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    for _ in 0..RESAMPLES {
        drawn_these.clear();
        drawn_those.clear();
        for _ in 0..pairs.len() {
            let (this, that) = pairs.get(random.below(pairs.len())).copied()?;
            drawn_these.push(this);
            drawn_those.push(that);
        }
        ratios.extend(ratio(&mut drawn_these, &mut drawn_those));
    }
    let ratios = Sample::of(&ratios)?;
    let cut = |per_mille: usize| ratios.rank(ratios.0.len() * per_mille / 1000);
    let is_enough = pairs.len() > 1;
    Some(Estimate { value, low: is_enough.then(|| cut(25)), high: is_enough.then(|| cut(974)) })
}

/// The median; the values lose their order.
fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    Some(match below.iter().copied().max_by(f64::total_cmp).filter(|_| is_even) {
        Some(lower) => f64::midpoint(lower, upper),
        None => upper,
    })
}

/// Numbers that look random and are the same in every run, so that a report can be made again from its values.
struct SplitMix(u64);

impl SplitMix {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % (bound.max(1) as u64)).unwrap_or_default()
    }
}

/// A count as a number to reckon with; exact up to 2^53.
pub(super) fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: impl IntoIterator<Item = u32>) -> Sample {
        Sample::of(&values.into_iter().map(f64::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn quantiles_are_those_of_r_and_numpy() {
        // quantile(c(1, 2, 3, 4, 10), c(.5, .9, .99)); numpy.percentile gives the same.
        let values = sample([10, 1, 3, 2, 4]);
        let is = |percent, expected: f64| assert!((values.quantile(percent) - expected).abs() < 1e-9, "{percent}");
        is(0, 1.0);
        is(50, 3.0);
        is(90, 7.6);
        is(99, 9.76);
        is(100, 10.0);
        assert_eq!(sample([7]).quantile(99), 7.0);
    }

    #[test]
    fn a_sample_has_values_that_are_numbers() {
        assert!(Sample::of(&[]).is_none());
        assert!(Sample::of(&[1.0, f64::NAN]).is_none());
    }

    #[test]
    fn the_interval_of_the_median_has_the_ranks_of_the_tables() {
        // Conover, Practical Nonparametric Statistics; ranks there count from 1: 2 and 9 of 10, 40 and 61 of 100.
        let ranks = |count| interval_ranks(count, 0.5);
        assert_eq!(ranks(10), (Some(1), Some(8)));
        assert_eq!(ranks(100), (Some(39), Some(60)));
        assert_eq!(ranks(6), (Some(0), Some(5)));
        assert_eq!(ranks(5), (None, None), "five values cannot be that sure");
    }

    #[test]
    fn rare_values_leave_the_upper_end_of_a_high_quantile_open() {
        // 0.99^n must fall below 2.5 %: from 368 values on.
        assert_eq!(interval_ranks(367, 0.99).1, None);
        assert_eq!(interval_ranks(368, 0.99).1, Some(367));
        assert!(interval_ranks(1_000_000, 0.99).0.is_some());
    }

    #[test]
    fn the_interval_covers_the_median_as_often_as_it_says() {
        // Uniform numbers have their median at one half.
        let mut random = SplitMix(1);
        let covered = (0..2000).filter(|_| {
            let values: Vec<f64> = (0..41).map(|_| float(random.below(1_000_000)) / 1e6).collect();
            let Estimate { low, high, .. } = Sample::of(&values).unwrap().estimate(50);
            low.unwrap() <= 0.5 && 0.5 <= high.unwrap()
        });
        let share = float(covered.count()) / 2000.0;
        assert!((0.94..0.99).contains(&share), "{share}");
    }

    #[test]
    fn a_ratio_of_medians_is_sure_when_the_values_are() {
        let those: Vec<f64> = (0..50).map(|at| 10.0 + f64::from(at % 5)).collect();
        let these: Vec<f64> = those.iter().map(|value| value * 2.0).collect();
        let ratio = median_ratio(&these, &those).unwrap();
        assert_eq!((ratio.value, ratio.low, ratio.high), (2.0, Some(2.0), Some(2.0)), "they were disturbed together");

        let noisy: Vec<f64> = (0..50).map(|at| 20.0 + f64::from((at * 7) % 11)).collect();
        let ratio = median_ratio(&noisy, &those).unwrap();
        let (low, high) = (ratio.low.unwrap(), ratio.high.unwrap());
        assert!(low < ratio.value && ratio.value < high && high < 1.3 * low, "{ratio:?}");
        assert_eq!(median_ratio(&noisy, &those), Some(ratio), "the same every time");
    }

    #[test]
    fn a_ratio_needs_values() {
        assert_eq!(median_ratio(&[], &[]), None);
        assert_eq!(median_ratio(&[1.0], &[0.0]), None);
        assert_eq!(median_ratio(&[3.0], &[2.0]), Some(Estimate { value: 1.5, low: None, high: None }));
    }

    #[test]
    fn medians_lie_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
