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

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(sanitize("pve-prod"), Cow::Borrowed(_)));
        assert!(matches!(sanitize_lines("a\nb"), Cow::Borrowed(_)));
    }
}
