//! Options that are lists of known words.
//!
//! Responsible for: their grammar and messages, those of rkt's option lists. Must not know: what a word means. Follows
//! rkt-reference.md 1.2, "Option-list syntax".

/// Splits a comma list into words of `known`; case does not count, each may appear once. An empty text is an empty list.
pub fn parse<T: Copy>(text: &str, known: &[(&'static str, T)]) -> Result<Vec<T>, String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut values = Vec::new();
    if text.is_empty() {
        return Ok(values);
    }
    for option in text.to_lowercase().split(',') {
        let Some((name, value)) = known.iter().find(|(name, _)| *name == option) else {
            return Err(format!("unknown option {option:?}"));
        };
        if seen.contains(name) {
            return Err(format!("duplicated option {option:?}"));
        }
        seen.push(name);
        values.push(*value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, u8); 2] = [("one", 1), ("two", 2)];

    #[test]
    fn words_keep_their_order_and_case_does_not_count() {
        assert_eq!(parse("Two,one", &KNOWN), Ok(vec![2, 1]));
        assert_eq!(parse("", &KNOWN), Ok(vec![]));
    }

    #[test]
    fn unknown_and_repeated_words_are_refused_by_name() {
        assert_eq!(parse("one,three", &KNOWN), Err("unknown option \"three\"".to_owned()));
        assert_eq!(parse("one,one", &KNOWN), Err("duplicated option \"one\"".to_owned()));
        assert_eq!(parse("one,", &KNOWN), Err("unknown option \"\"".to_owned()));
    }
}
