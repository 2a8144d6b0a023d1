//! The page: headline, tiles, promises, the run, each cutover, and the tables behind them.

use super::svg::{escape, push};
use super::{CutoverRecord, ReportData, VerifyRecord, chart, milliseconds};
use crate::history::{Finding, grouped};
use crate::timeline::Recording;

pub(super) fn page(data: &ReportData) -> String {
    let mut html = String::new();
    push(
        &mut html,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{}</title><style>{}</style></head><body><main>",
            escape(&data.title),
            include_str!("style.css")
        ),
    );
    head(&mut html, data);
    promises(&mut html, &data.promises);
    run(&mut html, &data.recording);
    cutovers(&mut html, data);
    proofs(&mut html, data);
    statements(&mut html, &data.recording);
    push(&mut html, format_args!("<footer>"));
    for (name, value) in &data.setting {
        push(&mut html, format_args!("<span>{}: {}</span>", escape(name), escape(value)));
    }
    push(
        &mut html,
        format_args!(
            "</footer></main><div id=\"tip\"></div><script>{}</script></body></html>\n",
            include_str!("hover.js")
        ),
    );
    html
}

fn head(html: &mut String, data: &ReportData) {
    let class = if data.good { "good" } else { "bad" };
    let (outcome, rest) = data.headline.split_once("; ").unwrap_or((&data.headline, ""));
    push(
        html,
        format_args!(
            "<header><span class=\"name\">{}</span><span class=\"when\">{} · {}</span></header>\
             <section class=\"verdict {class}\">{}<div><h1>{}</h1><p>{}</p></div></section><section class=\"tiles\">",
            escape(&data.title),
            utc(data.recording.started_at_unix_ms),
            milliseconds(data.recording.duration_ms),
            seal(data.good),
            escape(outcome),
            escape(rest)
        ),
    );
    for figure in &data.figures {
        let class = match figure.good {
            Some(true) => " ok",
            Some(false) => " no",
            None => "",
        };
        push(
            html,
            format_args!(
                "<div class=\"tile\"><div class=\"label\">{}</div><div class=\"value{class}\">{}</div>\
                 <div class=\"note\">{}</div></div>",
                escape(&figure.label),
                escape(&figure.value),
                escape(&figure.note)
            ),
        );
    }
    push(html, format_args!("</section>"));
}

fn promises(html: &mut String, promises: &[(String, bool, String)]) {
    if promises.is_empty() {
        return;
    }
    push(html, format_args!("<h2>Promises</h2><div class=\"card scroll\"><table>"));
    for (promise, kept, how) in promises {
        let (promise, how) = (escape(promise), escape(how));
        push(
            html,
            format_args!(
                "<tr><td class=\"tight\">{}</td><td>{promise}</td><td class=\"detail\">{how}</td></tr>",
                tick(*kept)
            ),
        );
    }
    push(html, format_args!("</table></div>"));
}

fn run(html: &mut String, recording: &Recording) {
    push(
        html,
        format_args!(
            "<h2>The whole run, as its clients saw it</h2><p class=\"say\">Each point covers {}; latency is \
             measured from sending a statement to its complete answer.</p><div class=\"card scroll\">{}</div>",
            milliseconds(chart::run_point_ms(recording)),
            chart::run(recording)
        ),
    );
}

fn cutovers(html: &mut String, data: &ReportData) {
    if data.cutovers.is_empty() {
        return;
    }
    push(
        html,
        format_args!(
            "<h2>Each change of writer, from close up</h2><p class=\"say\">Each bar covers 20 ms. Clients are held, \
             not refused: a gap in the bars is paid for by the statements that end right after it.</p>"
        ),
    );
    for cutover in &data.cutovers {
        let failed = if cutover.failed == 0 { "ok" } else { "no" };
        push(
            html,
            format_args!(
                "<div class=\"card\"><div class=\"cutover-head\"><h3>{}</h3><span>longest stall <b>{}</b></span>\
                 <span>took <b>{}</b></span><span>failed statements <b class=\"{failed}\">{}</b></span>\
                 <span><b>{}</b> statements and <b>{}</b> orders from a second before to a second after</span></div>\
                 <div class=\"scroll\">{}</div>",
                escape(&capitalised(&cutover.name)),
                milliseconds(cutover.stall_ms),
                milliseconds(cutover.end_ms - cutover.begin_ms),
                grouped(cutover.failed),
                grouped(cutover.statements),
                grouped(cutover.orders),
                chart::cutover(cutover, &data.recording)
            ),
        );
        phases(html, cutover);
        push(html, format_args!("</div>"));
    }
}

/// Phases one below the other, each bar where the one before ended.
fn phases(html: &mut String, cutover: &CutoverRecord) {
    let all: f64 = cutover.phases.iter().map(|(_, ms)| ms).sum();
    if all <= 0.0 {
        return;
    }
    let class = if cutover.name.to_lowercase().starts_with("rollback") { "water back" } else { "water" };
    push(
        html,
        format_args!(
            "<table><tr><th class=\"tight\">phase</th><th class=\"num tight\">took</th><th></th></tr>"
        ),
    );
    let mut before = 0.0;
    for (name, ms) in &cutover.phases {
        push(
            html,
            format_args!(
                "<tr><td class=\"tight\">{}</td><td class=\"num tight\">{}</td><td class=\"{class}\">\
                 <i style=\"margin-left:{:.2}%;width:{:.2}%\"></i></td></tr>",
                escape(name),
                milliseconds(*ms),
                before / all * 100.0,
                ms / all * 100.0
            ),
        );
        before += ms;
    }
    push(
        html,
        format_args!(
            "<tr class=\"sum\"><td class=\"tight\">all</td><td class=\"num tight\">{}</td><td></td></tr></table>",
            milliseconds(all)
        ),
    );
}

fn proofs(html: &mut String, data: &ReportData) {
    push(html, format_args!("<h2>Proof</h2><div class=\"pair\">"));
    order_check(html, &data.findings);
    for verify in &data.verifies {
        verification(html, verify);
    }
    if !data.checks.is_empty() {
        push(html, format_args!("<div class=\"card\"><h3>Check before the move</h3><table>"));
        for (fine, text) in &data.checks {
            push(
                html,
                format_args!("<tr><td class=\"tight\">{}</td><td>{}</td></tr>", tick(*fine), escape(text)),
            );
        }
        push(html, format_args!("</table></div>"));
    }
    push(html, format_args!("</div>"));
}

fn order_check(html: &mut String, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    push(
        html,
        format_args!("<div class=\"card\"><h3>What clients were told, against the database</h3><table>"),
    );
    for finding in findings {
        push(
            html,
            format_args!(
                "<tr><td class=\"tight\">{}</td><td>{}<br><span class=\"detail\">{}</span></td></tr>",
                tick(finding.holds),
                escape(&finding.what),
                escape(&finding.detail)
            ),
        );
    }
    push(html, format_args!("</table></div>"));
}

fn verification(html: &mut String, verify: &VerifyRecord) {
    let rows: u64 = verify.tables.iter().map(|t| t.rows).sum();
    let different: u64 = verify.tables.iter().map(|t| t.different).sum();
    push(
        html,
        format_args!(
            "<div class=\"card scroll\"><h3>Verification {}, {}</h3><table><tr><th class=\"tight\"></th><th>table</th>\
             <th class=\"num\">rows compared</th><th class=\"num\">different</th></tr>",
            escape(&verify.name),
            milliseconds(verify.duration_ms)
        ),
    );
    for table in &verify.tables {
        push(
            html,
            format_args!(
                "<tr><td class=\"tight\">{}</td><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td></tr>",
                tick(table.different == 0),
                escape(&table.table),
                grouped(table.rows),
                grouped(table.different)
            ),
        );
    }
    push(
        html,
        format_args!(
            "<tr class=\"sum\"><td class=\"tight\">{}</td><td>{} tables</td><td class=\"num\">{}</td>\
             <td class=\"num\">{}</td></tr></table></div>",
            tick(different == 0),
            verify.tables.len(),
            grouped(rows),
            grouped(different)
        ),
    );
}

fn statements(html: &mut String, recording: &Recording) {
    push(
        html,
        format_args!(
            "<h2>Statements</h2><div class=\"pair\"><div class=\"card scroll\"><h3>Latency by kind</h3><table><tr>\
             <th>kind</th><th class=\"num\">count</th><th class=\"num\">median</th>\
             <th class=\"num\">99th percentile</th><th class=\"num\">longest</th></tr>"
        ),
    );
    for kind in recording.kinds.iter().filter(|kind| kind.count > 0) {
        let ms = |us: u64| milliseconds(us as f64 / 1e3);
        push(
            html,
            format_args!(
                "<tr><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td>\
                 <td class=\"num\">{}</td></tr>",
                kind.kind.name(),
                grouped(kind.count),
                ms(kind.p50_us),
                ms(kind.p99_us),
                ms(kind.max_us)
            ),
        );
    }
    push(html, format_args!("</table></div>"));
    if !recording.failures.is_empty() {
        push(
            html,
            format_args!(
                "<div class=\"card scroll\"><h3>The first failures</h3><table><tr><th class=\"num tight\">at</th>\
                 <th>statement</th><th>how</th></tr>"
            ),
        );
        for failure in &recording.failures {
            push(
                html,
                format_args!(
                    "<tr><td class=\"num tight\">{}</td><td>{}</td><td>{}</td></tr>",
                    milliseconds(failure.at_ms),
                    escape(&failure.statement),
                    escape(&failure.how)
                ),
            );
        }
        push(html, format_args!("</table></div>"));
    }
    push(html, format_args!("</div>"));
}

fn seal(good: bool) -> String {
    let stroke = if good { "M11 19.5l6 6 11-12.5" } else { "M13 13l12 12m0-12l-12 12" };
    format!(
        "<svg class=\"seal\" viewBox=\"0 0 38 38\" role=\"img\" aria-label=\"{}\"><circle cx=\"19\" cy=\"19\" r=\"18\" \
         fill=\"currentColor\"/><path d=\"{stroke}\" fill=\"none\" stroke=\"var(--card)\" stroke-width=\"3.4\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>",
        if good { "all promises kept" } else { "something went wrong" }
    )
}

fn tick(holds: bool) -> String {
    let (class, label, stroke) = match holds {
        true => ("ok", "holds", "M3 8.5l3.5 3.5L13 4.5"),
        false => ("no", "broken", "M4 4l8 8m0-8l-8 8"),
    };
    format!(
        "<svg class=\"tick-mark {class}\" viewBox=\"0 0 16 16\" role=\"img\" aria-label=\"{label}\"><path d=\"{stroke}\" \
         fill=\"none\" stroke=\"currentColor\" stroke-width=\"2.2\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>"
    )
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A moment as UTC date and time, by the proleptic Gregorian calendar.
pub fn utc(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    // Counted from 1 March of year 0, so that a leap day is the last day of its year.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(1_735_689_600_000), "2025-01-01 00:00:00 UTC");
    }
}
