//! Durations in the words of Kubernetes' messages.

use std::time::Duration;

/// A duration as Go prints it, to the millisecond: `10s`, `1m20s`, `5m0s`, `1.5s`, `500ms`.
pub(super) fn go_duration(duration: Duration) -> String {
    let (total, millis) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes, seconds) {
        (0, 0, 0) if millis > 0 => format!("{millis}ms"),
        (0, 0, _) => format!("{seconds}{fraction}s"),
        (0, _, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let printed =
            [500, 1_500, 10_000, 80_000, 160_000, 300_000, 3_600_000, 1_050].map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(printed, ["500ms", "1.5s", "10s", "1m20s", "2m40s", "5m0s", "1h0m0s", "1.05s"]);
    }
}
