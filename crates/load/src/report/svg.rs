//! What drawings are made of: scales, ticks, paths, and labels that keep out of each other's way.

use std::fmt::Write;

/// A straight map from figures to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub from: (f64, f64),
    pub to: (f64, f64),
}

impl Linear {
    pub(super) fn at(self, value: f64) -> f64 {
        let span = (self.from.1 - self.from.0).max(f64::MIN_POSITIVE);
        self.to.0 + (value - self.from.0) / span * (self.to.1 - self.to.0)
    }
}

/// A map from figures to pixels by powers of ten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decades {
    /// Exponents of the lowest and highest power shown.
    pub from: (i32, i32),
    pub to: (f64, f64),
}

impl Decades {
    /// The decades that hold the figures, at least two of them.
    pub(super) fn holding(lowest: f64, highest: f64, to: (f64, f64)) -> Self {
        let low = lowest.max(1e-3).log10().floor() as i32;
        let high = (highest.max(1e-3).log10().ceil() as i32).max(low + 2);
        Self { from: (low, high), to }
    }

    pub(super) fn at(self, value: f64) -> f64 {
        let exponent = value.log10().clamp(f64::from(self.from.0), f64::from(self.from.1));
        Linear { from: (f64::from(self.from.0), f64::from(self.from.1)), to: self.to }.at(exponent)
    }
}

/// Round figures from 0 to at least `highest`, about `count` of them.
pub(super) fn round_ticks(highest: f64, count: usize) -> Vec<f64> {
    let step = round_step(highest / count as f64);
    (0..=(highest / step).ceil() as usize).map(|i| i as f64 * step).collect()
}

/// The least of 1, 2, 5, 10, … that is no less than `least`.
pub(super) fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|n| n * power)
        .find(|&step| step >= least * 0.999)
        .unwrap_or(power * 10.0)
}

/// A line through points; a gap wherever a point is missing.
pub(super) fn line(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for point in points {
        match point {
            Some((x, y)) => {
                let command = if pen_down { 'L' } else { 'M' };
                push(&mut path, format_args!("{command}{x:.1} {y:.1}"));
                // A lone point between gaps would not show: a line of no length with round caps does.
                if !pen_down {
                    push(&mut path, format_args!("h0"));
                }
                pen_down = true;
            }
            None => pen_down = false,
        }
    }
    path
}

/// Appends formatted text.
pub(super) fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("writing to a string cannot fail");
}

/// A label to be placed above a drawing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub text: String,
    /// What it points at.
    pub x: f64,
    /// Its middle, once placed.
    pub middle: f64,
    /// Its row, 0 next to the drawing, once placed.
    pub lane: usize,
}

/// About how wide a text is, in pixels, at the size labels have.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}

/// Places labels over what they point at, within `left..right`, in as few rows as keep them apart.
pub(super) fn place_labels(labels: Vec<(String, f64)>, left: f64, right: f64) -> Vec<Label> {
    const APART: f64 = 10.0;
    let mut lanes: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut placed = Vec::new();
    for (text, x) in labels {
        let half = text_width(&text) / 2.0;
        let middle = x.min(right - half).max(left + half);
        let (from, to) = (middle - half - APART, middle + half + APART);
        let free = |lane: &Vec<(f64, f64)>| lane.iter().all(|&(f, t)| to <= f + APART || from >= t - APART);
        let lane = lanes.iter().position(free).unwrap_or(lanes.len());
        if lane == lanes.len() {
            lanes.push(Vec::new());
        }
        lanes[lane].push((from, to));
        placed.push(Label { text, x, middle, lane });
    }
    placed
}

/// Text made safe between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_and_never_leave_the_drawing() {
        let labels = (0..12).map(|i| (format!("a label {i}"), 300.0 + f64::from(i) * 9.0)).collect();
        let placed = place_labels(labels, 0.0, 500.0);
        for (i, a) in placed.iter().enumerate() {
            let half = text_width(&a.text) / 2.0;
            assert!(a.middle - half >= 0.0 && a.middle + half <= 500.0);
            for b in placed.iter().skip(i + 1).filter(|b| b.lane == a.lane) {
                assert!((a.middle - b.middle).abs() >= half + text_width(&b.text) / 2.0, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(round_ticks(9_300.0, 4), [0.0, 5_000.0, 10_000.0]);
        assert_eq!(round_ticks(0.4, 4).last(), Some(&0.4));
    }

    #[test]
    fn powers_of_ten_hold_every_figure() {
        let y = Decades::holding(0.12, 480.0, (200.0, 0.0));
        assert_eq!(y.from, (-1, 3));
        assert_eq!((y.at(0.1), y.at(1_000.0), y.at(0.0)), (200.0, 0.0, 200.0));
    }

    #[test]
    fn markup_in_a_name_stays_text() {
        assert_eq!(escape(r#"<b a="x">&'"#), "&lt;b a=&quot;x&quot;&gt;&amp;&#39;");
    }
}
