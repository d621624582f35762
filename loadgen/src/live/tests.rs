//! The live output on made-up runs, and on a terminal that is played here.

use super::*;
use crate::backend::NodeLook;
use crate::collect::Hists;
use crate::recorder::{Metric, histogram};
use crate::values::Rate;

#[test]
fn sparks_rise_with_the_value_and_leave_gaps() {
    assert_eq!(sparks(&[Some(100), Some(100), None, Some(400), Some(u64::MAX)]), "▁▁ ▄█");
    assert_eq!(sparks(&[]), "");
}

fn config() -> RunConfig {
    RunConfig {
        rate: Rate::PerSecond(5_000.0),
        duration_ns: 60 * NS_PER_S,
        ..RunConfig::for_tests()
    }
}

fn interval(second: u64) -> Interval {
    let mut hists = Hists::default();
    for metric in Metric::ALL {
        let mut hist = histogram();
        (1..=1_000_u64).for_each(|n| hist.saturating_record(n * 31_000));
        hists.add(metric, &hist);
    }
    Interval {
        from_ns: second * NS_PER_S,
        length_ns: NS_PER_S,
        counts: Counts { ok: 4_996, timeout: 3, quarantined: 1, ..Counts::default() },
        in_flight: 37,
        hists,
    }
}

fn collector(nodes: usize) -> Collector {
    let mut all = Collector::new(&config());
    let up = NodeLook { view: NodeView::Up, rtt_p50_ns: Some(203_000) };
    all.looks = vec![up; nodes];
    if let Some(third) = all.looks.get_mut(2) {
        *third = NodeLook { view: NodeView::Away, rtt_p50_ns: None };
    }
    all
}

fn live() -> Live {
    let mut live = Live::new(&config(), Progress::Block, Paint(true), 5);
    live.calibration = Some("before the run: floor p50/p99 480ns/1.10µs".to_owned());
    for n in 0..9 {
        live.event(format!(
            "{n}.0s kill n3, an event with many words, and some more of them, {}",
            "x".repeat(99)
        ));
    }
    live
}

/// A terminal: lines above the screen, and the screen; knows what the block uses.
struct Terminal {
    columns: usize,
    lines: Vec<String>,
    row: usize,
    scrolled: usize,
    rows: usize,
}

impl Terminal {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, lines: vec![String::new()], row: 0, scrolled: 0, rows }
    }

    fn write(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\n' => {
                    self.row += 1;
                    while self.lines.len() <= self.row {
                        self.lines.push(String::new());
                    }
                    self.scrolled = self.scrolled.max((self.row + 1).saturating_sub(self.rows));
                }
                '\x1b' => {
                    let sequence: String = chars
                        .by_ref()
                        .skip(1)
                        .take_while(|c| c.is_ascii_digit() || *c == ';')
                        .collect();
                    // What ended the digits is told apart by the digits themselves.
                    match sequence.as_str() {
                        "" => self.lines.truncate(self.row + 1),
                        _ if sequence.contains(';') || text.contains(&format!("[{sequence}m")) => {}
                        up => {
                            let up: usize = up.parse().unwrap();
                            assert!(self.row >= self.scrolled + up, "beyond the top of the screen");
                            self.row -= up;
                        }
                    }
                    if sequence.is_empty() {
                        self.lines[self.row].clear();
                    }
                }
                c => {
                    self.lines[self.row].push(c);
                    let width = self.lines[self.row].chars().count();
                    assert!(
                        width < self.columns,
                        "{width} of {}: {:?}",
                        self.columns,
                        self.lines[self.row]
                    );
                }
            }
        }
    }
}

#[test]
fn the_block_is_redrawn_in_place_and_the_scrollback_stays() {
    for (columns, rows) in [(80, 24), (100, 24), (100, 10), (40, 5), (240, 60)] {
        let (mut live, all) = (live(), collector(5));
        live.screen.resize(columns, rows);
        let mut terminal = Terminal::new(columns, rows);
        terminal.write("a line before\n");
        let mut tallest = 0;
        for second in 0..30 {
            let view_of = interval(second);
            live.counts.add(&view_of.counts);
            let view = View {
                interval: &view_of,
                all: &all,
                violations: second / 20,
                offered_per_s: Some(5_000.0),
                answered_per_s: 5_000.0,
            };
            live.look(&all, view_of.from_ns);
            let lines = block::lines(&live, &view, live.screen.size());
            assert!(lines.len() <= block::MOST_LINES, "{lines:#?}");
            tallest = tallest.max(lines.len().min(rows - 1));
            let text = live.screen.redraw(&lines);
            terminal.write(&text);
        }
        assert_eq!(terminal.lines[0], "a line before");
        assert_eq!(
            terminal.lines.len(),
            1 + tallest + 1,
            "{columns}x{rows}: one block, and the cursor"
        );
        let text = terminal.lines.join("\n");
        assert_eq!(text.matches("loadgen  test").count(), 1, "{text}");
        if rows > 20 {
            assert!(text.contains("n3 ✖ away 30s") && text.contains("n1 ● 203µs"), "{text}");
            assert!(text.contains("1 VIOLATION") && text.contains("8.0s kill n3"), "{text}");
        }
        assert!(columns < 80 || text.contains("achieved 5 000/s   in flight 37"), "{text}");
    }
}

#[test]
fn a_narrower_terminal_gets_a_block_of_its_own() {
    let (mut live, lines) = (live(), vec!["x".repeat(120), "y".to_owned()]);
    live.screen.resize(100, 24);
    assert!(!live.screen.redraw(&lines).contains('\x1b'));
    assert!(live.screen.redraw(&lines).starts_with("\x1b[2A\x1b[J"));
    live.screen.resize(60, 24);
    let narrow = live.screen.redraw(&lines);
    assert!(!narrow.contains('\x1b'), "over nothing: {narrow:?}");
    assert!(narrow.lines().all(|line| line.chars().count() < 60), "{narrow:?}");
    assert!(live.screen.redraw(&lines).starts_with("\x1b[2A"), "and that one in place again");
    live.screen.resize(120, 24);
    assert!(live.screen.redraw(&lines).starts_with("\x1b[2A"), "a wider one broke nothing up");
}

#[test]
fn lines_are_aligned_with_their_heading_and_have_a_word_per_column() {
    let (view_of, all) = (interval(14), collector(5));
    let view = View {
        interval: &view_of,
        all: &all,
        violations: 0,
        offered_per_s: Some(5_000.0),
        answered_per_s: 4_999.6,
    };
    let heading = line::heading();
    let names: Vec<&str> = heading.split_whitespace().collect();
    let text = line::of(&view, vec!["kill n3".to_owned(), "n3 quarantined".to_owned()]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(names.len(), 13);
    assert_eq!(&words[..4], ["15.0s", "5000", "5000", "4"], "{text}");
    assert_eq!((words[9], words[11]), ("4/5", "0"), "{text}");
    assert!(text.ends_with("  kill n3; n3 quarantined\n"), "{text}");
    let ends = |line: &str, n: usize| {
        let mut inside = false;
        let mut ends = Vec::new();
        for (at, c) in line.chars().enumerate() {
            if inside && c.is_whitespace() {
                ends.push(at);
            }
            inside = !c.is_whitespace();
        }
        ends.truncate(n);
        ends
    };
    assert_eq!(ends(&heading, 12), ends(&text, 12), "\n{heading}{text}");
    assert!(heading.chars().count() <= 101, "{heading}");
}
