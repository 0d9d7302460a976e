//! As much of SVG as a picture of lanes needs.

use std::fmt::{Display, Write};

/// A picture under construction.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

impl Svg {
    /// Adds an element without content.
    pub(super) fn shape(&mut self, name: &str, class: &str, attributes: &[(&str, f64)]) {
        let _ = write!(self.0, "<{name} class=\"{}\"", escaped(class));
        for (key, value) in attributes {
            let _ = write!(self.0, " {key}=\"{}\"", rounded(*value));
        }
        self.0.push_str("/>\n");
    }

    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.shape("rect", class, &[("x", x), ("y", y), ("width", width), ("height", height)]);
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.shape("line", class, &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]);
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), text: impl Display) {
        let (x, y) = (rounded(x), rounded(y));
        let _ = writeln!(
            self.0,
            "<text class=\"{}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escaped(class),
            escaped(&text.to_string())
        );
    }

    /// A text that leans, and ends at a point.
    pub(super) fn leaning(&mut self, class: &str, (x, y): (f64, f64), text: impl Display) {
        let (x, y) = (rounded(x), rounded(y));
        let _ = writeln!(
            self.0,
            "<text class=\"{}\" transform=\"translate({x} {y}) rotate(-40)\">{}</text>",
            escaped(class),
            escaped(&text.to_string())
        );
    }

    /// Adds another picture on top.
    pub(super) fn append(&mut self, other: Self) {
        self.0.push_str(&other.0);
    }

    /// The whole document.
    pub(super) fn document(self, (width, height): (f64, f64), title: &str, head: &str) -> String {
        let (width, height) = (rounded(width), rounded(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<title>{}</title>\n{head}{}</svg>\n",
            escaped(title),
            self.0
        )
    }
}

/// A tenth of a pixel is more than anybody sees.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Text that is no markup, in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // No document may hold these, however they are written.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escaped("a<b> & \"c\"\u{1b}"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}");
        let mut svg = Svg::default();
        svg.text("x", (1.26, 2.0), "<&>");
        assert_eq!(svg.0, "<text class=\"x\" x=\"1.3\" y=\"2\">&lt;&amp;&gt;</text>\n");
    }
}
