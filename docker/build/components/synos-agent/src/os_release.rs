//! Values of os-release(5).

#![forbid(unsafe_code)]

/// The value of `key` in the text of an os-release file, without its quotes; the last assignment counts, as in a shell.
pub fn value(text: &str, key: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| *name == key)
        .last()
        .map(|(_, quoted)| unquote(quoted))
}

/// The shell's reading of one word: in double quotes and outside of quotes a backslash makes the next character literal,
/// in single quotes everything is.
fn unquote(word: &str) -> String {
    if let Some(inner) = between(word, '\'') {
        return inner.to_owned();
    }
    let mut plain = String::with_capacity(word.len());
    let mut characters = between(word, '"').unwrap_or(word).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

fn between(word: &str, quote: char) -> Option<&str> {
    word.strip_prefix(quote)?.strip_suffix(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ID=comment\nPRETTY_NAME=\"A \\\"B\\\" \\$C\"\nID=synos\nID_LIKE='de\\bian'\n\
                        VERSION_ID=\"1\"\nVERSION_ID=2\nBUILD_ID=\"2024.1 b\"\nEMPTY=\nLONE=\"\n";

    #[test]
    fn a_bare_value() {
        assert_eq!(value(TEXT, "ID").as_deref(), Some("synos"));
    }

    #[test]
    fn double_quotes_and_backslashes() {
        assert_eq!(value(TEXT, "BUILD_ID").as_deref(), Some("2024.1 b"));
        assert_eq!(value(TEXT, "PRETTY_NAME").as_deref(), Some("A \"B\" $C"));
    }

    #[test]
    fn single_quotes_keep_backslashes() {
        assert_eq!(value(TEXT, "ID_LIKE").as_deref(), Some("de\\bian"));
    }

    #[test]
    fn the_last_assignment_counts() {
        assert_eq!(value(TEXT, "VERSION_ID").as_deref(), Some("2"));
    }

    #[test]
    fn an_empty_value_and_a_lone_quote() {
        assert_eq!(value(TEXT, "EMPTY").as_deref(), Some(""));
        assert_eq!(value(TEXT, "LONE").as_deref(), Some("\""));
    }

    #[test]
    fn a_missing_key() {
        assert_eq!(value(TEXT, "VARIANT"), None);
        assert_eq!(value("", "ID"), None);
    }
}
