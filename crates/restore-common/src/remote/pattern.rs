//! The patterns of OpenSSH's files: `*`, `?`, and `!` in front of what is not meant.

/// Whether a list of patterns means `name`: one of them does, and none with a `!`.
pub(super) fn matches_list<'a>(patterns: impl IntoIterator<Item = &'a str>, name: &str) -> bool {
    let mut meant = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, name) => return false,
            Some(_) => {}
            None => meant |= matches(pattern, name),
        }
    }
    meant
}

/// Whether one pattern matches the whole of `name`, upper and lower case alike.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase().into_bytes(), name.to_lowercase().into_bytes());
    let (mut at, mut seen) = (0, 0);
    let mut star = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            // The last star takes one more byte, and what follows it is tried again.
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, seen) = (*after + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("pve", "pve", true),
            ("pve", "PVE", true),
            ("pve", "pve1", false),
            ("*", "", true),
            ("p*e*", "pve-example", true),
            ("*.lab", "a.b.lab", true),
            ("*.lab", "lab", false),
            ("10.0.?.1", "10.0.12.1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_exclamation_mark_takes_out() {
        assert!(matches_list(["pve*", "!pve-old"], "pve-new"));
        assert!(!matches_list(["pve*", "!pve-old"], "pve-old"));
        assert!(!matches_list(["!pve-old"], "pve-new"), "nothing is meant by what is not meant");
    }
}
