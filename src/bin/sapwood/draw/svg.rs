//! A small writer of SVG: boxes and text, nested in groups with titles.
//!
//! Whatever text comes in, the outcome is well-formed: tags are closed by who opened them, and text
//! is escaped here and nowhere else.

use std::fmt::Write as _;

/// A stretch of the picture.
#[derive(Clone, Copy)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// A picture under way.
#[derive(Default)]
pub struct Svg {
    body: String,
}

impl Svg {
    /// A box, coloured by its class.
    pub fn rect(&mut self, class: &str, area: Area) {
        let Area { left, top, width, height } = area;
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{left:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" \
             height=\"{height:.2}\"/>"
        );
    }

    /// A line of text that begins at `left` and stands on `base`.
    pub fn text(&mut self, class: &str, left: f64, base: f64, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{left:.2}\" y=\"{base:.2}\">{text}</text>"
        );
    }

    /// What `draw` draws, with a title that is shown to who points at it.
    pub fn titled(&mut self, title: &str, draw: impl FnOnce(&mut Svg)) {
        let _ = writeln!(self.body, "<g><title>{}</title>", escape(title));
        draw(self);
        self.body.push_str("</g>\n");
    }

    /// The whole file.
    pub fn finish(self, width: f64, height: f64, style: &str) -> String {
        let body = self.body;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <style>{style}</style>\n\
             <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n",
            style = escape(style)
        )
    }
}

/// Text as XML may hold it. Characters that XML has no way to write are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                escaped.push(character);
            }
            _ => escaped.push(char::REPLACEMENT_CHARACTER),
        }
    }
    escaped
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Checks that tags balance, that attributes are quoted, and that nothing is left unescaped.
    pub fn check_well_formed(file: &str) {
        let mut open = Vec::new();
        let mut rest = file.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
        while let Some(start) = rest.find('<') {
            check_text(&rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "it closes what was opened last");
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap();
            assert!(name.chars().all(|letter| letter.is_ascii_lowercase()), "{tag}");
            check_attributes(tag[name.len()..].trim_end_matches('/'));
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert_eq!(rest.trim(), "");
        assert!(open.is_empty(), "{open:?} stay open");
    }

    fn check_attributes(attributes: &str) {
        let mut parts = attributes.split('"');
        while let Some(name) = parts.next().filter(|name| !name.is_empty()) {
            assert!(name.starts_with(' ') && name.ends_with('='), "{attributes}");
            check_text(parts.next().expect("a value follows"));
        }
    }

    fn check_text(text: &str) {
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
        for piece in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            assert!(known.iter().any(|entity| piece.starts_with(entity)), "{text}");
        }
    }

    #[test]
    fn any_text_is_well_formed() {
        let hostile = "</title><script>\"'&amp;]]>\0\u{1}\u{1b}\u{fffe}\u{ffff}\r\u{85} äø∂";
        let mut svg = Svg::default();
        svg.titled(hostile, |svg| svg.text("label", 1.0, 2.0, "<g>"));
        let file = svg.finish(10.0, 10.0, "rect > text { fill: red }");
        assert!(!file.contains("<script>"), "{file}");
        assert!(file.contains("&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;amp;]]&gt;"), "{file}");
        assert!(file.contains("äø∂"));
        let forbidden = ['\0', '\u{1}', '\u{1b}', '\u{fffe}', '\u{ffff}', '\r'];
        assert!(!file.contains(forbidden));
        check_well_formed(&file.replace('\u{85}', ""));
    }

    #[test]
    #[should_panic(expected = "it closes what was opened last")]
    fn the_check_finds_a_tag_that_stays_open() {
        let svg = Svg { body: "<g><title></g>".into() };
        check_well_formed(&svg.finish(1.0, 1.0, ""));
    }
}
