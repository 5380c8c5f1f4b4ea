//! `WWW-Authenticate`: how a registry wants to be told who asks.
//!
//! Responsible for: the header's grammar. Must not know: credentials, connections. Follows RFC 9110, 11.6.1.

/// Longest header that is looked at; a challenge is a few hundred bytes.
const MAX_BYTES: usize = 16 * 1024;

/// One way to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer` …, in lower case.
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, by its name in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.parameters.len()
    }

    /// The challenges of a header, in order. What does not follow the grammar ends the list.
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut rest = Rest(header.get(..MAX_BYTES).unwrap_or(header));
        let mut challenges: Vec<Self> = Vec::new();
        loop {
            rest.skip(|c| c == ',' || c.is_ascii_whitespace());
            let Some(word) = rest.token() else { return challenges };
            rest.skip(|c| c == ' ' || c == '\t');
            if rest.eat('=') {
                rest.skip(|c| c == ' ' || c == '\t');
                let (Some(value), Some(challenge)) = (rest.value(), challenges.last_mut()) else {
                    return challenges;
                };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            } else {
                challenges.push(Self { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            }
        }
    }
}

/// What is left of a header.
struct Rest<'h>(&'h str);

impl<'h> Rest<'h> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(unwanted);
    }

    fn eat(&mut self, c: char) -> bool {
        let Some(rest) = self.0.strip_prefix(c) else { return false };
        self.0 = rest;
        true
    }

    fn token(&mut self) -> Option<&'h str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(token).filter(|token| !token.is_empty())
    }

    /// A token or a quoted text.
    fn value(&mut self) -> Option<String> {
        if !self.eat('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut characters = self.0.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                c => value.push(c),
            }
        }
        self.0 = characters.as_str();
        Some(value)
    }
}
