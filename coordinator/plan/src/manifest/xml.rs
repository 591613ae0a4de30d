//! A small XML 1.0 writer: elements, attributes, text, all escaped. Enough for an MPD, and nothing else.

/// Text that is being written.
pub(super) struct Xml {
    text: String,
    /// Names of the elements that are open.
    open: Vec<&'static str>,
}

impl Xml {
    /// Begins a document.
    pub(super) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), open: Vec::new() }
    }

    /// Opens an element whose children follow.
    pub(super) fn open(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.text.push_str(">\n");
        self.open.push(name);
    }

    /// An element without children.
    pub(super) fn empty(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.text.push_str("/>\n");
    }

    /// An element that holds text.
    pub(super) fn text(&mut self, name: &'static str, content: &str) {
        self.tag(name, &[]);
        self.text.push('>');
        escape(&mut self.text, content);
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    /// Closes the innermost open element.
    pub(super) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            self.text.push_str("</");
            self.text.push_str(name);
            self.text.push_str(">\n");
        }
    }

    /// Closes what is open and hands the document over.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        for (key, value) in attributes {
            self.text.push(' ');
            self.text.push_str(key);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
    }

    fn indent(&mut self) {
        for _ in &self.open {
            self.text.push_str("  ");
        }
    }
}

/// Escapes what has a meaning in XML, and leaves out what XML 1.0 cannot hold at all (section 2.2).
fn escape(out: &mut String, raw: &str) {
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let mut x = Xml::new();
        x.open("a", &[("b", "\"><script>&'\u{1}\n")]);
        x.text("c", "</c>]]>\u{fffe}ü");
        let text = x.finish();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <a b=\"&quot;&gt;&lt;script&gt;&amp;&apos; \">\n  <c>&lt;/c&gt;]]&gt;ü</c>\n</a>\n"
        );
    }

    #[test]
    fn elements_close_in_order() {
        let mut x = Xml::new();
        x.open("a", &[]);
        x.open("b", &[]);
        x.empty("c", &[("d", "1")]);
        assert!(x.finish().ends_with("<a>\n  <b>\n    <c d=\"1\"/>\n  </b>\n</a>\n"));
    }
}
