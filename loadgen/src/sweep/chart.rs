//! The curve of a sweep, latency over throughput, as a page without network or scripts.

use std::fmt::Write as _;

use super::Sweep;
use super::knee::{Curve, curves};
use super::words;
use crate::report::format;
use crate::series::figures::Kind;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Told apart by people who see few colours (Okabe and Ito, 2008).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666"];

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:900px;\
padding:0 1em;color:#222;background:#fff}table{border-collapse:collapse;margin:1em 0;width:100%}\
th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #8884}\
td.why{text-align:left;font-size:90%}svg{width:100%;height:auto}\
svg text{font:12px system-ui,sans-serif;fill:currentColor}.grid{stroke:#8883}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}}";

/// Where values lie on the page.
struct Scale {
    most: f64,
    lowest_log: f64,
    highest_log: f64,
}

impl Scale {
    fn of(curves: &[Curve<'_>]) -> Option<Self> {
        let dots = || curves.iter().flat_map(|curve| &curve.dots);
        let most = dots().map(|dot| dot.throughput).fold(0.0, f64::max);
        let logs = || dots().map(|dot| dot.p99_ns.max(1.0).log10());
        let lowest = logs().fold(f64::INFINITY, f64::min);
        let highest = logs().fold(f64::NEG_INFINITY, f64::max);
        if !(most > 0.0 && lowest.is_finite() && highest.is_finite()) {
            return None;
        }
        // Whole decades, at least one.
        let (lowest_log, highest_log) = (lowest.floor(), highest.ceil().max(lowest.floor() + 1.0));
        Some(Self { most: most * 1.05, lowest_log, highest_log })
    }

    fn x(&self, throughput: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * throughput / self.most
    }

    fn y(&self, p99_ns: f64) -> f64 {
        let share =
            (p99_ns.max(1.0).log10() - self.lowest_log) / (self.highest_log - self.lowest_log);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }
}

/// The whole page.
pub(super) fn page(sweep: &Sweep) -> String {
    let curves = curves(&sweep.points);
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n");
    let _ = writeln!(page, "<title>loadgen sweep</title><style>{STYLE}</style>");
    page.push_str("<h1>Latency over throughput</h1>\n");
    let _ = writeln!(
        page,
        "<p>{} · seed {} · medians of {}</p>",
        escaped(&sweep.parameters.join(" ")),
        sweep.seed,
        format::many(sweep.rounds.into(), "round", "rounds")
    );
    match Scale::of(&curves) {
        Some(scale) => page.push_str(&svg(sweep, &curves, &scale)),
        None => page.push_str("<p>No point was valid; the table says why.</p>\n"),
    }
    page.push_str(&table(sweep));
    page.push_str("</html>\n");
    page
}

fn svg(sweep: &Sweep, curves: &[Curve<'_>], scale: &Scale) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"p99 response over locks \
         per second\">\n"
    );
    let mut decade = scale.lowest_log;
    while decade <= scale.highest_log + 0.5 {
        let (value, y) = (10_f64.powf(decade), scale.y(10_f64.powf(decade)));
        let label = Kind::Time.text(Some(value));
        line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
        text(&mut svg, (LEFT - 6.0, y + 4.0), "end", &label);
        decade += 1.0;
    }
    for step in 0..=5_u32 {
        let value = scale.most * f64::from(step) / 5.0;
        let x = scale.x(value);
        line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM));
        text(&mut svg, (x, HEIGHT - BOTTOM + 18.0), "middle", &Kind::Rate.text(Some(value)));
    }
    text(&mut svg, (f64::midpoint(LEFT, WIDTH), HEIGHT - 8.0), "middle", "locks per second");
    text(&mut svg, (LEFT + 6.0, TOP + 12.0), "start", "p99 response");
    for (at, curve) in curves.iter().enumerate() {
        let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or("#666666");
        let mut points = String::new();
        for dot in &curve.dots {
            let _ = write!(points, "{:.1},{:.1} ", scale.x(dot.throughput), scale.y(dot.p99_ns));
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.trim_end()
        );
        for dot in &curve.dots {
            let (x, y) = (scale.x(dot.throughput), scale.y(dot.p99_ns));
            let title = format!(
                "{}: {} locks/s, p99 {}",
                words::label(&dot.point.settings),
                Kind::Rate.text(Some(dot.throughput)),
                Kind::Time.text(Some(dot.p99_ns))
            );
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{}</title>\
                 </circle>",
                escaped(&title)
            );
            let knees = sweep.knees.iter().filter_map(|knee| knee.settings.as_ref());
            if knees.into_iter().any(|settings| *settings == dot.point.settings) {
                let _ = writeln!(
                    svg,
                    "<circle class=\"knee\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\" fill=\"none\" \
                     stroke=\"{colour}\" stroke-width=\"2\"/>"
                );
                text(&mut svg, (x - 12.0, y - 10.0), "end", "knee");
            }
        }
        if !curve.name.is_empty() {
            let y = TOP + 14.0 * (at as f64 + 2.0);
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>",
                LEFT + 12.0,
                y - 4.0
            );
            text(&mut svg, (LEFT + 22.0, y), "start", &curve.name);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(words)
    );
}

fn table(sweep: &Sweep) -> String {
    let mut page = String::from("<table><tr>");
    for (name, _) in sweep.points.first().map(|point| point.settings.as_slice()).unwrap_or_default()
    {
        let _ = write!(page, "<th>{}", escaped(name));
    }
    page.push_str("<th>ok/s<th>p50<th>p99<th>service p99<th>batch<th>CPU<th>valid</tr>\n");
    for point in &sweep.points {
        page.push_str("<tr>");
        for (_, value) in &point.settings {
            let _ = write!(page, "<td>{}", escaped(value));
        }
        let figures = &point.figures;
        for cell in [
            Kind::Rate.text(figures.throughput),
            Kind::Time.text(figures.response_p50_ns),
            Kind::Time.text(figures.response_p99_ns),
            Kind::Time.text(figures.service_p99_ns),
            Kind::Number.text(figures.batch),
            Kind::Share.text(figures.cpu_share),
        ] {
            let _ = write!(page, "<td>{cell}");
        }
        let why = match (point.runs.is_empty(), point.valid) {
            (true, _) => "not measured".to_owned(),
            (false, true) => "yes".to_owned(),
            (false, false) => format!("no: {}", point.reasons.join("; ")),
        };
        let _ = writeln!(page, "<td class=\"why\">{}</tr>", escaped(&why));
    }
    page.push_str("</table>\n");
    page
}

/// `text` as it may stand in a page.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
