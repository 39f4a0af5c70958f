//! Text from elsewhere, made harmless to show.

use std::{borrow::Cow, fmt::Write as _};

/// `text` as one line that is safe to show on a terminal: every control character is written as an escape (`\x1b`,
/// `\n`, `\t`, `\r`), and so are the invisible characters that change the direction or the order of what is read
/// (`\u{202e}`). For names, notes and single lines of a node's output.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// Like [`sanitize`], but line breaks and tabs stay: for whole outputs, shown indented. A carriage return before a line
/// break goes away; any other could overwrite the line and is escaped.
pub fn sanitize_lines(text: &str) -> Cow<'_, str> {
    let kept = |c| is_unsafe(c) && c != '\n' && c != '\t';
    if text.contains("\r\n") {
        return Cow::Owned(escape(&text.replace("\r\n", "\n"), kept).into_owned());
    }
    escape(text, kept)
}

/// Like [`sanitize_lines`], but colours stay, too: for what is printed whole, whose parts went through [`sanitize`]
/// before they were coloured. What was forgotten there does no more than change a colour.
pub fn sanitize_styled(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_unsafe(c) && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        out += &sanitize_lines(&rest[..at]);
        let length = style_length(&rest[at..]);
        let end = at + length.unwrap_or(1);
        out += if length.is_some() { &rest[at..end] } else { "\\x1b" };
        rest = &rest[end..];
    }
    Cow::Owned(out + &sanitize_lines(rest))
}

/// The length of the sequence for colour that a text begins with: `ESC [ 1 ; 31 m`.
fn style_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

/// A JSON document in which every character that [`sanitize`] would escape, except for line breaks, is written as JSON
/// writes it (`\u202e`). Where they stand in JSON, between quotation marks, that is the same character.
pub fn escape_json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        match c {
            c if c == '\n' || !is_unsafe(c) => out.push(c),
            c => _ = write!(out, "\\u{:04x}", u32::from(c)),
        }
    }
    out
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !is_unsafe(c) => out.push(c),
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if c.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, DEL, C1), and the marks of bidirectional text, line and paragraph separators and zero-width
/// characters, which make shown text differ from what it is.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("plain – naïve 日本", "plain – naïve 日本")]
    #[case("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07")]
    #[case("a\nb\tc\rd", "a\\nb\\tc\\rd")]
    #[case("\u{9b}31m\u{7f}", "\\u{9b}31m\\x7f")]
    #[case("a\u{202e}b", "a\\u{202e}b")]
    #[case("$(x) `y` 'z' \"\\", "$(x) `y` 'z' \"\\")]
    fn one_line_holds_nothing_that_acts(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(sanitize(text), shown);
    }

    #[test]
    fn whole_outputs_keep_their_lines() {
        assert_eq!(sanitize_lines("a\r\nb\tc\x1b[m\nd\re"), "a\nb\tc\\x1b[m\nd\\re");
    }

    #[rstest::rstest]
    #[case("\x1b[1;31mred\x1b[0m\n\tplain", "\x1b[1;31mred\x1b[0m\n\tplain")]
    #[case("\x1b[2J\x1b]0;x\x07\x1b", "\\x1b[2J\\x1b]0;x\\x07\\x1b")]
    #[case("\x1b[3\x1b[31m\r\u{9b}", "\\x1b[3\x1b[31m\\r\\u{9b}")]
    #[case("\x1b[31", "\\x1b[31")]
    fn of_what_is_printed_whole_only_colours_stay(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(sanitize_styled(text), shown);
    }

    #[test]
    fn json_shows_nothing_that_acts_and_means_the_same() {
        let value =
            serde_json::json!({ "a\u{9b}": "\u{1b}[2J\u{7f}\u{202e}\u{feff} é\n", "b": [1, "\u{2028}"] });
        let text = escape_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(sanitize("pve-prod"), Cow::Borrowed(_)));
        assert!(matches!(sanitize_lines("a\nb"), Cow::Borrowed(_)));
    }
}
