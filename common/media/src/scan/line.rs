//! One line of ffprobe's `compact` writer: `section|key=value|key=value`, with C escapes.

/// A parsed line; values are still escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// `packet`, `frame`, `stream`, `format`, …
    pub(super) section: &'a str,
    fields: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        let (section, fields) = line.split_once('|').unwrap_or((line, ""));
        Self { section, fields }
    }

    /// The first value of `key`; `N/A` and `unknown` are none.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        fields(self.fields)
            .find_map(|f| f.split_once('=').filter(|(k, _)| *k == key))
            .map(|(_, value)| value)
            .filter(|v| !matches!(*v, "N/A" | "unknown" | ""))
    }

    /// A number.
    pub(super) fn int<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }

    /// Text without its escapes and control characters, cut to what a name may be long.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|v| unescape(v).chars().filter(|c| !c.is_control()).take(200).collect())
    }

    /// `true` for the value 1.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }
}

/// Splits at bars that are not escaped.
fn fields(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut escaped = false;
        let end = rest.bytes().position(|b| {
            let bar = b == b'|' && !escaped;
            escaped = b == b'\\' && !escaped;
            bar
        });
        let field = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or("", |e| &rest[e + 1..]);
        Some(field)
    })
}

/// Undoes the writer's C escapes.
pub(super) fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_bars_that_are_not_escaped() {
        let line = Line::parse("stream|index=3|tag:title=a\\|b\\\\|pts=N/A|disposition:default=1|x\n");
        assert_eq!(line.section, "stream");
        assert_eq!(line.int::<u32>("index"), Some(3));
        assert_eq!(line.text("tag:title").as_deref(), Some("a|b\\"));
        assert_eq!(line.get("pts"), None);
        assert!(line.is_set("disposition:default"));
        assert_eq!(Line::parse("").section, "");
    }
}
