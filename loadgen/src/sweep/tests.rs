//! Sweeps made of runs with known figures.

use super::*;

fn one(outcome: Outcome, exit_code: u8, throughput: f64, p99_ns: f64) -> One {
    let figures = Figures {
        throughput: Some(throughput),
        response_p99_ns: Some(p99_ns),
        ..Figures::default()
    };
    let reasons = if exit_code == 0 { Vec::new() } else { vec![format!("exit {exit_code}")] };
    One { dir: String::new(), round: 0, place: 0, outcome, exit_code, reasons, figures }
}

fn good(throughput: f64, p99_ns: f64) -> One {
    one(Outcome::Pass, 0, throughput, p99_ns)
}

fn void(throughput: f64, p99_ns: f64) -> One {
    one(Outcome::Invalid, 5, throughput, p99_ns)
}

/// A point of `rate=RATE waiting=WAITING`.
fn point(rate: u32, waiting: &str, runs: Vec<One>) -> Point {
    let settings =
        vec![("rate".to_owned(), rate.to_string()), ("waiting".to_owned(), waiting.to_owned())];
    let mut point = Point::new(settings, RunConfig::for_tests());
    runs.into_iter().for_each(|one| point.add(one));
    point
}

fn sweep(points: Vec<Point>) -> Sweep {
    Sweep {
        schema: SCHEMA,
        argv: Vec::new(),
        seed: 1,
        target: TargetAbout::default(),
        interrupted: false,
        exit_code: 0,
        rounds: 3,
        parameters: Vec::new(),
        knees: knee::knees(&points),
        points,
    }
}

/// A curve that bends at 200, in the order in which nobody measures, and a point off it.
fn bent() -> Vec<Point> {
    vec![
        point(400, "queue", vec![good(320.0, 9e6)]),
        point(100, "queue", vec![good(100.0, 1e6)]),
        point(200, "queue", vec![good(200.0, 1.2e6)]),
        point(300, "queue", vec![void(900.0, 1e6)]),
        point(300, "race", vec![good(300.0, 1e6)]),
    ]
}

#[test]
fn a_point_is_what_the_majority_of_its_runs_is() {
    let valid = |runs| point(1, "queue", runs).valid;
    assert!(valid(vec![good(1.0, 1.0), void(1.0, 1.0), good(1.0, 1.0)]));
    assert!(!valid(vec![good(1.0, 1.0), void(1.0, 1.0)]), "half is no majority");
    assert!(!valid(Vec::new()));
}

#[test]
fn figures_are_medians_of_the_runs_that_count_and_reasons_stand_once() {
    let most = vec![void(1.0, 9e9), good(100.0, 1e6), void(2.0, 9e9), good(300.0, 3e6)];
    let mut of = point(1, "queue", most);
    assert!(!of.valid);
    assert_eq!(of.reasons, ["exit 5"]);
    of.add(good(200.0, 2e6));
    assert!(of.valid);
    assert_eq!(of.figures.throughput, Some(200.0), "those that are no measurement left out");
    assert_eq!(of.figures.response_p99_ns, Some(2e6));
}

#[test]
fn an_unsafe_run_decides_and_invalid_ones_only_together() {
    let violated = || one(Outcome::Unsafe, 4, 1.0, 1.0);
    let ok = || point(1, "queue", vec![good(1.0, 1.0)]);
    let bad = || point(2, "queue", vec![void(1.0, 1.0)]);
    assert_eq!(codes(&[ok(), bad()]), [0; 0]);
    assert_eq!(codes(&[bad(), bad()]), [5, 5]);
    assert_eq!(codes(&[ok(), point(3, "queue", vec![good(1.0, 1.0), violated()])]), [4]);
}

#[test]
fn curves_are_of_valid_points_that_differ_in_the_first_parameter_alone() {
    let points = bent();
    let curves = knee::curves(&points);
    let rates = |curve: &knee::Curve<'_>| -> Vec<f64> {
        curve.dots.iter().map(|dot| dot.throughput).collect()
    };
    assert_eq!(curves[0].name, "waiting=queue");
    assert_eq!(rates(&curves[0]), [100.0, 200.0, 320.0]);
    assert_eq!((curves[1].name.as_str(), rates(&curves[1])), ("waiting=race", vec![300.0]));
    let knees = knee::knees(&points);
    assert_eq!(
        knees[0].settings.as_ref().map(|of| words::label(of)).as_deref(),
        Some("rate=200 waiting=queue")
    );
    assert_eq!((knees[1].settings.as_ref(), knees.len()), (None, 2), "one point has no shape");
}

#[test]
fn the_page_draws_higher_latency_higher_and_marks_the_bend() {
    let page = chart::page(&sweep(bent()));
    let circle = |label: &str| -> (f64, f64) {
        let (before, _) = page.split_once(&format!("<title>{label}: ")).unwrap();
        let circle = before.rsplit_once("<circle ").unwrap().1;
        let value = |name: &str| -> f64 {
            let (_, rest) = circle.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        (value("cx"), value("cy"))
    };
    let (slow, fast) = (circle("rate=400 waiting=queue"), circle("rate=100 waiting=queue"));
    assert!(slow.1 < fast.1, "9 ms above 1 ms: {slow:?} {fast:?}");
    assert!(slow.0 > fast.0, "more throughput to the right");
    let knees: Vec<&str> = page.matches("class=\"knee\"").collect();
    assert_eq!(knees.len(), 1);
    let (x, y) = circle("rate=200 waiting=queue");
    assert!(page.contains(&format!("class=\"knee\" cx=\"{x:.1}\" cy=\"{y:.1}\"")), "{page}");
}

#[test]
fn the_table_says_how_far_rounds_lie_apart_and_how_many_were_bad() {
    let points = vec![
        point(1, "queue", vec![good(1.0, 1e6), good(1.0, 1.1e6), good(1.0, 1.2e6)]),
        point(2, "queue", vec![good(1.0, 1e6), void(1.0, 1e6), good(1.0, 1e6)]),
        point(3, "queue", vec![void(1.0, 1e6), void(1.0, 1e6), good(1.0, 1e6)]),
        point(4, "queue", vec![good(1.0, 1e6)]),
    ];
    let text = table::render(&sweep(points), crate::report::format::Paint(false));
    let row = |at: usize| text.lines().nth(2 + at).unwrap();
    assert!(row(1).contains(" 9%  ✔"), "half of 0.2 over 1.1: {text}");
    assert!(row(2).contains("✔ but 1 of 3 (1)"), "{text}");
    assert!(row(3).contains("✘ 2 of 3 (1)"), "the same reason is one note: {text}");
    assert!(row(4).contains(" -  ✔"), "one run has no spread: {text}");
    assert_eq!(text.matches("exit 5").count(), 1, "{text}");
}
