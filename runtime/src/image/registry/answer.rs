//! What a registry says when it refuses: its status and its own words, made into an error.

use super::transport::read_document;
use crate::limits::{REGISTRY_ERROR_BYTES_MAX, REGISTRY_MESSAGE_CHARS_MAX};
use crate::{Error, ErrorKind};
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use reqwest::Response;
use serde_json::Value;

/// The error that an answer other than success means. `secrets` are taken out of what the registry says, should it repeat them.
pub(super) async fn refusal(response: Response, secrets: &[String]) -> Error {
    let status = response.status();
    let wait = retry_after(response.headers());
    // The status alone is enough to go on with.
    let body = read_document(response, REGISTRY_ERROR_BYTES_MAX, "the registry's error").await.unwrap_or_default();
    let said = words(&body).map(|words| presentable(&words, secrets));
    let mut message = match status.as_u16() {
        401 => "the registry wants a credential".to_owned(),
        403 => "the registry denies access".to_owned(),
        404 => "the registry does not have it".to_owned(),
        429 => "the registry has had too many requests".to_owned(),
        _ => format!("the registry answers {status}"),
    };
    if let Some(said) = said {
        message = format!("{message}: {said}");
    }
    let error = Error::new(kind(status), message);
    match wait {
        Some(seconds) => error.hint(format!("the registry asks to wait {seconds} s")),
        None => error,
    }
}

/// What sort of failure a status is; `Unavailable` is what may pass by itself.
fn kind(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 | 425 | 429 => ErrorKind::Unavailable,
        413 => ErrorKind::Limit,
        _ if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// `Retry-After` in seconds, when it is given so.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The message in an error's body: the distribution specification's `errors[].message`, or what token services write.
fn words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value, names: &[&str]| {
        names.iter().find_map(|name| value.get(name)?.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned))
    };
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<String> = errors.filter_map(|error| text(error, &["message", "code"])).take(3).collect();
    if errors.is_empty() { text(&body, &["error_description", "details", "message", "error"]) } else { Some(errors.join("; ")) }
}

/// Bounded, in one line, without control characters and without secrets.
fn presentable(words: &str, secrets: &[String]) -> String {
    let mut words = words.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        words = words.replace(secret.as_str(), "…");
    }
    let shown: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REGISTRY_MESSAGE_CHARS_MAX).collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_own_words_are_found() {
        assert_eq!(words(br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#).as_deref(), Some("no; X"));
        assert_eq!(words(br#"{"details":"incorrect username or password"}"#).as_deref(), Some("incorrect username or password"));
        assert_eq!(words(b"<html>"), None);
        assert_eq!(words(br#"{"errors":[]}"#), None);
    }

    #[test]
    fn they_are_shown_without_secrets_and_control_characters() {
        assert_eq!(presentable("bad\x1b[31m password hunter2\n", &["hunter2".to_owned(), String::new()]), "bad [31m password …");
        assert_eq!(presentable(&"x".repeat(10_000), &[]).len(), REGISTRY_MESSAGE_CHARS_MAX);
    }
}
