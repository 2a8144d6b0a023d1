//! The drawings: rate and latency over the whole run, and a close look at each cutover.
//!
//! Both share one layout: labels of phases on top, statements per second, then latency on a scale of powers of ten,
//! over the same axis of time, so that what happened at a moment stands on one vertical line.

use super::svg::{Decades, Linear, escape, line, place_labels, push, round_step, round_ticks};
use super::{CutoverRecord, milliseconds};
use crate::history::grouped;
use crate::timeline::{COARSE, FINE, Mark, Recording, Slot};

const WIDTH: f64 = 1120.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 16.0;
const LANE: f64 = 18.0;
const RATE_HEIGHT: f64 = 170.0;
const LATENCY_HEIGHT: f64 = 210.0;
const GAP: f64 = 44.0;
/// Points drawn at most; about one every other pixel.
const POINTS_MAX: usize = 540;

/// What one point of a drawing stands for.
struct Point {
    middle_ms: f64,
    per_second: f64,
    failed: u32,
    /// Median, 99th percentile, longest; `None` when nothing ended.
    latency_ms: Option<[f64; 3]>,
}

/// A stretch to shade.
struct Band {
    label: String,
    begin_ms: f64,
    end_ms: f64,
    class: &'static str,
}

/// The whole run.
pub(super) fn run(recording: &Recording) -> String {
    let last = recording.duration_ms;
    let bands = recording.marks.iter().map(|mark| band(mark, last)).collect();
    let slots = &recording.coarse;
    let whole = (last / COARSE.as_millis() as f64) as usize;
    // The last slot is cut off by the end of the run: its rate would look like a fall.
    let slots = &slots[..whole.min(slots.len())];
    let group = slots.len().div_ceil(POINTS_MAX).max(1);
    draw(&points(slots, COARSE.as_millis() as f64, 0.0, group), (0.0, last), bands, "run")
}

/// How long a stretch one point of [`run`] stands for, in milliseconds.
pub(super) fn run_point_ms(recording: &Recording) -> f64 {
    (recording.coarse.len().div_ceil(POINTS_MAX).max(1) as u128 * COARSE.as_millis()) as f64
}

/// Three seconds around a cutover, more if it took longer.
pub(super) fn cutover(cutover: &CutoverRecord, recording: &Recording) -> String {
    let slot_ms = FINE.as_millis() as f64;
    let middle = f64::midpoint(cutover.begin_ms, cutover.end_ms);
    let half = ((cutover.end_ms - cutover.begin_ms) * 0.75).max(1_500.0);
    let from = ((middle - half).max(0.0) / slot_ms).floor() * slot_ms;
    let to = (middle + half).min(recording.duration_ms);
    let first = ((from / slot_ms) as usize).min(recording.fine.len());
    let end = ((to / slot_ms) as usize).clamp(first, recording.fine.len());
    let group = (end - first).div_ceil(POINTS_MAX).max(1);
    let length = milliseconds(cutover.end_ms - cutover.begin_ms);
    let band = Band {
        label: format!("{} {length}", cutover.name),
        begin_ms: cutover.begin_ms,
        end_ms: cutover.end_ms,
        class: class_of(&cutover.name),
    };
    draw(&points(&recording.fine[first..end], slot_ms, from, group), (from, to), vec![band], "zoom")
}

fn points(slots: &[Slot], slot_ms: f64, from_ms: f64, group: usize) -> Vec<Point> {
    let length_ms = slot_ms * group as f64;
    let point = |(i, slots): (usize, &[Slot])| {
        let busy: Vec<_> = slots.iter().filter(|slot| slot.statements > 0).collect();
        let worst = |of: fn(&Slot) -> u64| busy.iter().map(|slot| of(slot)).max().unwrap_or(0) as f64 / 1e3;
        let mut medians: Vec<_> = busy.iter().map(|slot| slot.p50_us).collect();
        medians.sort_unstable();
        let median = medians.get(medians.len() / 2).map(|&us| us as f64 / 1e3);
        let statements: u32 = slots.iter().map(|slot| slot.statements).sum();
        Point {
            middle_ms: from_ms + (i as f64 + 0.5) * length_ms,
            per_second: f64::from(statements) / (slots.len() as f64 * slot_ms) * 1e3,
            failed: slots.iter().map(|slot| slot.failed).sum(),
            latency_ms: median.map(|median| [median, worst(|s| s.p99_us), worst(|s| s.max_us)]),
        }
    };
    slots.chunks(group).enumerate().map(point).collect()
}

fn band(mark: &Mark, last_ms: f64) -> Band {
    let end_ms = mark.end_ms.unwrap_or(last_ms);
    Band { label: mark.label.clone(), begin_ms: mark.begin_ms, end_ms, class: class_of(&mark.label) }
}

/// Stretches of one sort look the same everywhere.
fn class_of(label: &str) -> &'static str {
    let begins = |words: &[&str]| words.iter().any(|word| label.to_lowercase().starts_with(word));
    match () {
        () if begins(&["cutover", "switch"]) => "b-cut",
        () if begins(&["rollback", "back"]) => "b-back",
        () if begins(&["copy", "seed"]) => "b-copy",
        () if begins(&["verify", "proof", "prove"]) => "b-verify",
        () => "b-other",
    }
}

fn draw(points: &[Point], (from_ms, to_ms): (f64, f64), bands: Vec<Band>, kind: &str) -> String {
    let x = Linear { from: (from_ms, to_ms), to: (LEFT, RIGHT) };
    let named = bands.iter().map(|b| (b.label.clone(), x.at(f64::midpoint(b.begin_ms, b.end_ms)))).collect();
    let labels = place_labels(named, LEFT, RIGHT);
    let lanes = labels.iter().map(|label| label.lane + 1).max().unwrap_or(0);
    let rate_top = 10.0 + lanes as f64 * LANE + 8.0;
    let rate_bottom = rate_top + RATE_HEIGHT;
    let latency_top = rate_bottom + GAP;
    let latency_bottom = latency_top + LATENCY_HEIGHT;
    let height = latency_bottom + 34.0;

    let mut svg = String::new();
    push(
        &mut svg,
        format_args!(
            r#"<svg class="chart {kind}" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="statements per second and latency over time" data-left="{LEFT}" data-right="{RIGHT}" data-from="{from_ms:.1}" data-to="{to_ms:.1}" data-points="{}">"#,
            hover_points(points)
        ),
    );
    for (band, label) in bands.iter().zip(&labels) {
        let (begin, end) = (x.at(band.begin_ms), x.at(band.end_ms));
        let width = (end - begin).max(1.5);
        let (class, text_y) = (band.class, rate_top - 10.0 - label.lane as f64 * LANE);
        for (top, bottom) in [(rate_top, rate_bottom), (latency_top, latency_bottom)] {
            let height = bottom - top;
            push(
                &mut svg,
                format_args!(
                    r#"<rect class="band {class}" x="{begin:.1}" y="{top}" width="{width:.1}" height="{height}"/>"#
                ),
            );
        }
        push(
            &mut svg,
            format_args!(
                r#"<path class="leader {class}" d="M{:.1} {:.1}L{:.1} {rate_top}"/><text class="mark {class}" x="{:.1}" y="{text_y:.1}">{}</text>"#,
                label.middle,
                text_y + 4.0,
                label.x,
                label.middle,
                escape(&label.text)
            ),
        );
    }
    rate_panel(&mut svg, points, x, (rate_top, rate_bottom), kind);
    latency_panel(&mut svg, points, x, (latency_top, latency_bottom));
    time_axis(&mut svg, x, latency_bottom);
    push(&mut svg, format_args!(r#"<line class="cross" y1="{rate_top}" y2="{latency_bottom}"/></svg>"#));
    svg
}

fn rate_panel(svg: &mut String, points: &[Point], x: Linear, (top, bottom): (f64, f64), kind: &str) {
    let highest = points.iter().map(|p| p.per_second).fold(1.0, f64::max);
    // Room above the highest figure for the panel's title.
    let ticks = round_ticks(highest * 1.2, 4);
    let y = Linear { from: (0.0, *ticks.last().unwrap_or(&highest)), to: (bottom, top) };
    for tick in ticks {
        grid_line(svg, y.at(tick), &grouped(tick as u64));
    }
    panel_title(svg, top, "statements per second");
    if kind == "zoom" {
        let step = match points {
            [a, b, ..] => x.at(b.middle_ms) - x.at(a.middle_ms),
            _ => 4.0,
        };
        for point in points.iter().filter(|p| p.per_second > 0.0) {
            let (left, top) = (x.at(point.middle_ms) - step / 2.0 + 0.5, y.at(point.per_second));
            push(
                svg,
                format_args!(
                    r#"<rect class="bar" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
                    (step - 1.0).max(0.8),
                    bottom - top
                ),
            );
        }
    } else {
        let path = line(points.iter().map(|p| Some((x.at(p.middle_ms), y.at(p.per_second)))));
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let (left, right) = (x.at(first.middle_ms), x.at(last.middle_ms));
            push(
                svg,
                format_args!(r#"<path class="area" d="{path}L{right:.1} {bottom}L{left:.1} {bottom}Z"/>"#),
            );
        }
        push(svg, format_args!(r#"<path class="rate" d="{path}"/>"#));
    }
    for point in points.iter().filter(|p| p.failed > 0) {
        let at = x.at(point.middle_ms);
        push(
            svg,
            format_args!(r#"<path class="failed" d="M{:.1} {:.1}l8 8m0 -8l-8 8"/>"#, at - 4.0, bottom - 12.0),
        );
    }
}

fn latency_panel(svg: &mut String, points: &[Point], x: Linear, (top, bottom): (f64, f64)) {
    let of = |which: usize| points.iter().filter_map(move |p| p.latency_ms.map(|l| l[which]));
    let lowest = of(0).fold(f64::INFINITY, f64::min).min(1.0);
    let y = Decades::holding(lowest, of(2).fold(1.0, f64::max) * 2.5, (bottom, top));
    for exponent in y.from.0..=y.from.1 {
        let value = 10f64.powi(exponent);
        let label = if value < 1_000.0 { format!("{value} ms") } else { format!("{} s", value / 1e3) };
        grid_line(svg, y.at(value), &label);
    }
    panel_title(svg, top, "latency");
    legend(svg, top);
    for (which, class) in [(2, "max"), (1, "p99"), (0, "p50")] {
        let at = |p: &Point| p.latency_ms.map(|l| (x.at(p.middle_ms), y.at(l[which])));
        push(svg, format_args!(r#"<path class="{class}" d="{}"/>"#, line(points.iter().map(at))));
    }
    if let Some((worst, ms)) =
        points.iter().filter_map(|p| Some((p, p.latency_ms?[2]))).max_by(|a, b| a.1.total_cmp(&b.1))
    {
        let (at, height) = (x.at(worst.middle_ms), y.at(ms));
        // On the side with room for it.
        let (anchor, shift) = if at > (LEFT + RIGHT) / 2.0 { ("end", -9.0) } else { ("start", 9.0) };
        push(
            svg,
            format_args!(
                r#"<circle class="worst" cx="{at:.1}" cy="{height:.1}" r="4"/><text class="worst" text-anchor="{anchor}" x="{:.1}" y="{:.1}">{}</text>"#,
                at + shift,
                height + 4.0,
                milliseconds(ms)
            ),
        );
    }
}

fn grid_line(svg: &mut String, y: f64, label: &str) {
    push(
        svg,
        format_args!(
            r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text class="tick" text-anchor="end" x="{:.0}" y="{:.1}">{label}</text>"#,
            LEFT - 8.0,
            y + 4.0
        ),
    );
}

fn panel_title(svg: &mut String, top: f64, title: &str) {
    push(
        svg,
        format_args!(r#"<text class="panel" x="{:.0}" y="{:.1}">{title}</text>"#, LEFT + 8.0, top + 15.0),
    );
}

fn legend(svg: &mut String, top: f64) {
    let mut at = LEFT + 76.0;
    for (class, name) in [("p50", "median"), ("p99", "99th percentile"), ("max", "longest")] {
        push(
            svg,
            format_args!(
                r#"<path class="{class} key" d="M{at:.0} {:.1}h16"/><text class="tick" x="{:.0}" y="{:.1}">{name}</text>"#,
                top + 11.0,
                at + 21.0,
                top + 15.0
            ),
        );
        at += 40.0 + name.len() as f64 * 6.4;
    }
}

fn time_axis(svg: &mut String, x: Linear, bottom: f64) {
    let (from, to) = x.from;
    let step = match (to - from) / 12.0 {
        least if least <= 10_000.0 => round_step(least),
        least => [15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1_800e3, 3_600e3]
            .into_iter()
            .find(|&step| step >= least)
            .unwrap_or(7_200e3),
    };
    let mut tick = (from / step).ceil() * step;
    while tick <= to {
        let at = x.at(tick);
        push(
            svg,
            format_args!(
                r#"<path class="axis" d="M{at:.1} {bottom}v5"/><text class="tick" text-anchor="middle" x="{at:.1}" y="{:.1}">{}</text>"#,
                bottom + 19.0,
                clock(tick, step)
            ),
        );
        tick += step;
    }
    push(svg, format_args!(r#"<path class="axis" d="M{LEFT} {bottom}H{RIGHT}"/>"#));
}

/// A moment of the run as an axis shows it.
fn clock(ms: f64, step_ms: f64) -> String {
    let seconds = ms / 1e3;
    match step_ms {
        step if step < 1_000.0 => format!("{seconds:.1} s"),
        step if step < 15_000.0 => format!("{seconds:.0} s"),
        _ => format!("{}:{:02.0}", (seconds / 60.0).floor(), seconds % 60.0),
    }
}

/// The figures behind the points, for the pointer to show: time, rate, failed, median, 99th percentile, longest.
fn hover_points(points: &[Point]) -> String {
    let mut out = String::from("[");
    for (i, point) in points.iter().enumerate() {
        let [p50, p99, max] = point.latency_ms.unwrap_or([0.0; 3]);
        let comma = if i > 0 { "," } else { "" };
        push(
            &mut out,
            format_args!(
                "{comma}[{:.0},{:.0},{},{p50:.3},{p99:.3},{max:.3}]",
                point.middle_ms, point.per_second, point.failed
            ),
        );
    }
    out.push(']');
    out
}
