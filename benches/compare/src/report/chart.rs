//! Charts as SVG: lines over time, and bars. Colours and dashes come from the page's style, by the
//! class of a line, so that a chart follows a light or dark page.

use std::fmt::Write;

use super::medians::shown;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
const BAR: f64 = 20.0;
const BAR_LEFT: f64 = 130.0;
const BAR_RIGHT: f64 = 90.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Logarithmic,
}

/// One engine's values over time, or size.
pub struct Line {
    pub name: String,
    pub class: String,
    pub points: Vec<(f64, f64)>,
}

/// Lines over `across`; nothing where there is nothing to draw.
pub fn lines(title: &str, across: &str, scale: Scale, lines: &[Line]) -> String {
    let Some(frame) = Frame::around(scale, lines) else { return String::new() };
    let mut svg = open(title, HEIGHT);
    for value in frame.y_ticks() {
        let y = frame.y(value);
        let (x1, x2) = (LEFT, WIDTH - RIGHT);
        let _ = write!(svg, r#"<path class="grid" d="M{x1:.0} {y:.1}H{x2:.0}"/>"#);
        let (x, y) = (LEFT - 6.0, y + 4.0);
        let label = shown_short(value);
        let _ = write!(svg, r#"<text class="y" x="{x:.0}" y="{y:.1}">{label}</text>"#);
    }
    for second in ticks(frame.x_max) {
        let (x, y) = (frame.x(second), HEIGHT - BOTTOM + 16.0);
        let _ = write!(svg, r#"<text class="x" x="{x:.1}" y="{y:.0}">{second}</text>"#);
    }
    let (x, y) = (f64::midpoint(LEFT, WIDTH), HEIGHT - 3.0);
    let _ = write!(svg, r#"<text class="x" x="{x:.0}" y="{y:.0}">{across}</text>"#);
    for line in lines {
        let _ = write!(svg, r#"<polyline class="{}" points=""#, line.class);
        for (second, value) in &line.points {
            let _ = write!(svg, "{:.1},{:.1} ", frame.x(*second), frame.y(*value));
        }
        let _ = write!(svg, r#""><title>{}</title></polyline>"#, escaped(&line.name));
    }
    svg + "</svg>"
}

/// One bar for each value, all from zero.
pub fn bars(title: &str, bars: &[(String, String, f64)]) -> String {
    let largest = bars.iter().map(|(_, _, value)| *value).fold(0.0, f64::max);
    if largest <= 0.0 {
        return String::new();
    }
    let mut svg = open(title, BAR * bars.len() as f64 + 4.0);
    for (index, (name, class, value)) in bars.iter().enumerate() {
        let top = BAR * index as f64 + 4.0;
        let width = (WIDTH - BAR_LEFT - BAR_RIGHT) * value / largest;
        let (y, height) = (top + 12.0, BAR - 6.0);
        let _ = write!(
            svg,
            r#"<text class="y" x="{:.0}" y="{y:.0}">{}</text><rect class="{class}" x="{BAR_LEFT:.0}" y="{top:.0}" width="{width:.1}" height="{height:.0}"/><text class="v" x="{:.1}" y="{y:.0}">{}</text>"#,
            BAR_LEFT - 6.0,
            escaped(name),
            BAR_LEFT + width + 6.0,
            shown(*value),
        );
    }
    svg + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        r#"<svg viewBox="0 0 {WIDTH:.0} {height:.0}" role="img" aria-label="{title}"><title>{title}</title>"#
    )
}

/// Text that may stand in HTML and SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where values lie in the picture.
struct Frame {
    scale: Scale,
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Frame {
    fn around(scale: Scale, lines: &[Line]) -> Option<Frame> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let x_max = points().map(|point| point.0).fold(0.0, f64::max);
        let y_max = points().map(|point| point.1).fold(0.0, f64::max);
        let above_zero = points().map(|point| point.1).filter(|value| *value > 0.0);
        let least = above_zero.fold(f64::INFINITY, f64::min);
        if x_max <= 0.0 || y_max <= 0.0 {
            return None;
        }
        let (y_min, y_max) = match scale {
            Scale::Linear => (0.0, y_max * 1.05),
            // Whole powers of ten, of which there are two at least.
            Scale::Logarithmic => {
                let lowest = least.log10().floor();
                (10_f64.powf(lowest), 10_f64.powf(y_max.log10().ceil().max(lowest + 1.0)))
            }
        };
        Some(Frame { scale, x_max, y_min, y_max })
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second / self.x_max
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.y_max,
            Scale::Logarithmic => {
                let value = value.max(self.y_min);
                (value / self.y_min).log10() / (self.y_max / self.y_min).log10()
            }
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn y_ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => ticks(self.y_max),
            Scale::Logarithmic => {
                let decades = (self.y_max / self.y_min).log10().round() as i32;
                (0..=decades).map(|decade| self.y_min * 10_f64.powi(decade)).collect()
            }
        }
    }
}

/// Round numbers from 0 up to `max`, three to six of them.
fn ticks(max: f64) -> Vec<f64> {
    let decade = 10_f64.powf(max.log10().floor());
    let steps = [0.2, 0.25, 0.5, 1.0, 2.0, 2.5].map(|part| part * decade);
    let step = steps.into_iter().find(|step| max / step <= 5.0).unwrap_or(decade * 2.0);
    let count = (max / step) as usize;
    // Rounded, for three times 0.2 is a little more than 0.6.
    (0..=count).map(|index| (index as f64 * step * 1e6).round() / 1e6).collect()
}

/// At most four digits and a letter.
fn shown_short(value: f64) -> String {
    let (value, letter) = match value {
        large if large >= 1e9 => (value / 1e9, "G"),
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = format!("{value:.2}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line { name: "a<b".into(), class: "e0".into(), points: points.to_vec() }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.9), [0.0, 0.2, 0.4, 0.6, 0.8]);
        for max in [0.03, 1.0, 1.7, 3.0, 7.0, 99.0, 123_456.0] {
            let ticks = ticks(max);
            assert!((3..=6).contains(&ticks.len()), "{max}: {ticks:?}");
            assert!(*ticks.last().unwrap() <= max);
        }
    }

    #[test]
    fn numbers_become_short() {
        assert_eq!(shown_short(250_000.0), "250k");
        assert_eq!(shown_short(1_500_000.0), "1.5M");
        assert_eq!(shown_short(0.0), "0");
        assert_eq!(shown_short(0.25), "0.25");
    }

    #[test]
    fn a_line_lies_within_its_frame() {
        let one = [line(&[(0.0, 0.0), (5.0, 100.0), (10.0, 50.0)])];
        let svg = lines("rate", "seconds", Scale::Linear, &one);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(svg.contains("<title>a&lt;b</title>"));
        // The first point is the corner, the last one the right edge.
        assert!(svg.contains(r#"points="64.0,196.0 "#), "{svg}");
        assert!(svg.contains(" 548.0,"), "{svg}");
    }

    #[test]
    fn logarithmic_frames_begin_and_end_with_powers_of_ten() {
        let one = [line(&[(0.0, 3.0), (1.0, 4_000.0), (2.0, 0.0)])];
        let frame = Frame::around(Scale::Logarithmic, &one).unwrap();
        assert_eq!(frame.y_ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert!((frame.y(1.0) - (HEIGHT - BOTTOM)).abs() < 1e-9);
        assert!((frame.y(10_000.0) - TOP).abs() < 1e-9);
        // Zero has no logarithm and lies on the ground.
        assert_eq!(frame.y(0.0), frame.y(1.0));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(lines("rate", "seconds", Scale::Linear, &[]), "");
        assert_eq!(lines("rate", "seconds", Scale::Logarithmic, &[line(&[(1.0, 0.0)])]), "");
        assert_eq!(bars("rate", &[("a".into(), "e0".into(), 0.0)]), "");
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |name: &str, value| (name.to_owned(), "e0".to_owned(), value);
        let svg = bars("rate", &[bar("a", 50.0), bar("b", 100.0)]);
        assert!(svg.contains(r#"width="170.0""#) && svg.contains(r#"width="340.0""#), "{svg}");
    }
}
