//! The known word that someone probably meant.

use crate::limits::{SIMILAR_CANDIDATES_MAX, SIMILAR_WORD_BYTES_MAX};
use std::cmp::min;

/// The word of `known` that is closest to `word`: the same but for case, or with at most a third of its letters (and never more
/// than three) added, left out, replaced or swapped.
pub(super) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > SIMILAR_WORD_BYTES_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    known
        .into_iter()
        .take(SIMILAR_CANDIDATES_MAX)
        .filter_map(|candidate| {
            let edits = edits(lower.as_bytes(), candidate.to_ascii_lowercase().as_bytes());
            (edits <= min(3, candidate.len().div_ceil(3))).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many single-letter edits (swaps of neighbours included) make `from` into `to`: the optimal string alignment distance.
fn edits(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    let mut last_left = None;
    for (row, left) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut last_right = None;
        for (column, right) in to.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&previous, column) + usize::from(left != right);
            let mut best = min(replaced, min(at(&previous, column + 1), at(&current, column)) + 1);
            if last_left == Some(right) && last_right == Some(left) && column > 0 {
                best = min(best, at(&before, column - 1).saturating_add(1));
            }
            current.push(best);
            last_right = Some(right);
        }
        last_left = Some(left);
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["image", "name", "containerPort", "volumeMounts"];
        assert_eq!(closest("imagee", known), Some("image"));
        assert_eq!(closest("iamge", known), Some("image"));
        assert_eq!(closest("containerport", known), Some("containerPort"));
        assert_eq!(closest("volumeMount", known), Some("volumeMounts"));
        assert_eq!(closest("replicas", known), None);
        assert_eq!(edits(b"ca", b"ac"), 1);
        assert_eq!(edits(b"", b"abc"), 3);
    }
}
