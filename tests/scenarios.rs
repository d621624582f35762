//! Every attack that the manual numbers has a test that carries it out.
//!
//! The manual's page `attacks` gives each number its meaning. A test claims numbers with a line of
//! its own in its documentation:
//!
//! ```text
//! /// Scenario 13.
//! /// Scenarios 13, 14.
//! /// Scenarios 13, 14 and 22, at their sharpest: all at once.
//! ```
//!
//! More may follow behind the full stop or a comma. Under the documentation stands a test function.
//! The head of a file may name scenarios, and claims none. What names one in any other way is a
//! finding, too: it would be taken for a claim and be none.
//!
//! The tests that the safety page names by their functions exist as well.

#![expect(clippy::indexing_slicing, reason = "only ranges of what was found in the same text")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The attacks on what is built. The gaps are attacks on what is not.
const NUMBERS: &[std::ops::RangeInclusive<u32>] = &[1..=5, 9..=40, 42..=45, 50..=73];

/// Where tests are.
const PLACES: &[&str] = &["src", "tests", "loadgen"];

/// What a claim begins with.
const MARK: &str = "Scenario";

/// A claim: file and line, the number, the test.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    number: u32,
    test: String,
}

/// The numbers of a line such as `Scenarios 13, 14 and 22. They also ...`.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let rest = text.strip_prefix(MARK)?;
    let (is_plural, rest) = rest.strip_prefix('s').map_or((false, rest), |rest| (true, rest));
    let mut rest = rest.strip_prefix(' ')?;
    let mut read = Vec::new();
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        read.push(rest[..end].parse().ok()?);
        rest = &rest[end..];
        let next = [", ", " and "].iter().find_map(|joint| rest.strip_prefix(joint));
        match next {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => break,
        }
    }
    let ends = rest == "." || rest.starts_with(". ") || rest.starts_with(", ");
    (ends && is_plural == (read.len() > 1)).then_some(read)
}

/// Does the line name a scenario by number?
fn names_one(line: &str) -> bool {
    line.split(MARK).skip(1).any(|rest| {
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let rest = rest.strip_prefix(' ').unwrap_or("");
        rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

/// The test function that the documentation at `lines` belongs to.
fn documented_test<'a>(lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (mut is_test, mut depth) = (false, 0_usize);
    for line in lines.map(str::trim) {
        if depth == 0 && (line.starts_with("//") || line.is_empty()) {
            continue;
        }
        if depth > 0 || line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            depth += line.matches('[').count();
            depth = depth.saturating_sub(line.matches(']').count());
            continue;
        }
        return function(line).filter(|_| is_test);
    }
    None
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let words = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("async ");
    let name = words.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// The claims of one file, and what looks like one and is none.
fn claims(path: &str, text: &str) -> (Vec<Claim>, Vec<String>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if !names_one(line) || line.starts_with("//!") {
            continue;
        }
        let place = format!("{path}:{}", at + 1);
        let Some(numbers) = line.trim_start().strip_prefix("/// ").and_then(numbers) else {
            wrong.push(format!("{place}: write `/// {MARK} 1.` or `/// {MARK}s 1, 2.`: {line}"));
            continue;
        };
        match documented_test(lines[at..].iter().copied()) {
            Some(test) => {
                let test = format!("{place} {test}");
                let claim = |number| Claim { number, test: test.clone() };
                found.extend(numbers.into_iter().map(claim));
            }
            None => wrong.push(format!("{place}: no test function under `{}`", line.trim())),
        }
    }
    (found, wrong)
}

/// The numbered rows of the manual's tables.
fn listed(page: &str) -> BTreeMap<u32, &str> {
    page.lines()
        .filter_map(|line| {
            let (number, text) = line.strip_prefix("| ")?.split_once(" | ")?;
            Some((number.parse().ok()?, text.split(" | ").next()?))
        })
        .collect()
}

/// What a page puts in backticks and is spelled like the name of a test: three words and more.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| {
        name.matches('_').count() >= 3
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_name).collect()
}

fn rust_files(dir: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let Ok(text) = fs::read_to_string(&path)
        {
            files.insert(path.display().to_string(), text);
        }
    }
}

fn tree() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for place in PLACES {
        rust_files(&root.join(place), &mut files);
    }
    let short = |path: String| path.replace(&format!("{}/", root.display()), "");
    files.into_iter().map(|(path, text)| (short(path), text)).collect()
}

#[test]
fn every_attack_has_a_test() {
    let wanted: BTreeSet<u32> = NUMBERS.iter().cloned().flatten().collect();
    let listed = listed(include_str!("../src/manual/attacks.md"));
    assert_eq!(listed.keys().copied().collect::<BTreeSet<_>>(), wanted, "the manual's page");
    let (mut tested, mut wrong) = (BTreeMap::new(), Vec::new());
    // This file quotes claims and makes none.
    for (path, text) in tree().into_iter().filter(|(path, _)| path != file!()) {
        let (claims, faults) = claims(&path, &text);
        wrong.extend(faults);
        for Claim { number, test } in claims {
            if wanted.contains(&number) {
                tested.insert(number, test);
            } else {
                wrong.push(format!("{test}: the manual has no number {number}"));
            }
        }
    }
    let missing = wanted.iter().filter(|number| !tested.contains_key(number));
    let missing: Vec<String> =
        missing.map(|number| format!("{number}: {}", listed[number])).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{} of {} attacks have no test:\n{}\n{}",
        missing.len(),
        wanted.len(),
        missing.join("\n"),
        wrong.join("\n"),
    );
}

#[test]
fn every_test_that_the_safety_page_names_exists() {
    let tree = tree();
    let mut tests = BTreeSet::new();
    for text in tree.values() {
        let lines: Vec<&str> = text.lines().collect();
        let is_attribute = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio:");
        for at in (0..lines.len()).filter(|at| is_attribute(lines[*at].trim())) {
            tests.extend(documented_test(lines[at..].iter().copied()));
        }
    }
    for page in [
        include_str!("../src/manual/safety.md"),
        include_str!("../src/manual/attacks.md"),
        include_str!("../src/manual/deployment.md"),
    ] {
        let named = named_tests(page);
        let gone: Vec<_> = named.difference(&tests).collect();
        assert!(gone.is_empty(), "no test is called {gone:?}");
    }
}

/// The reader on texts that it must and must not accept.
#[test]
fn claims_are_read_strictly() {
    let claimed = |doc: &str| {
        let text = format!("    {doc}\n    /// More.\n    #[tokio::test]\n    async fn t() {{");
        let text = text.replace("Sc", MARK);
        let (found, wrong) = claims("a.rs", &text);
        let numbers: Vec<u32> = found.iter().map(|claim| claim.number).collect();
        (numbers, wrong.len())
    };
    assert_eq!(claimed("/// Sc 13."), (vec![13], 0));
    assert_eq!(claimed("/// Scs 13, 14."), (vec![13, 14], 0));
    assert_eq!(claimed("/// Scs 1, 2 and 5. And more."), (vec![1, 2, 5], 0));
    assert_eq!(claimed("/// Sc 27, its first half: a server."), (vec![27], 0));
    assert_eq!(claimed("/// Scs are many."), (vec![], 0));
    assert_eq!(claims("a.rs", "//! As in Scenario 13.\n"), (vec![], vec![]));
    let wrong = [
        "// Sc 13.",
        "//! Sc 13.",
        "/// Sc 13",
        "/// Sc 13, 14.",
        "/// Scs 13.",
        "/// See Sc 13.",
        "/// Scs 13-15.",
        "/// Sc 13.5",
        "/// Scs 13 14.",
    ];
    for wrong in wrong {
        assert_eq!(claimed(wrong), (vec![], 1), "{wrong}");
    }

    let claim = format!("/// {MARK} 7.\n");
    let under = |item: &str| claims("a.rs", &format!("{claim}{item}"));
    let (found, _) = under("#[test]\n#[expect(\n    lint,\n)]\nfn one<T>(x: T) {");
    assert_eq!(found, [Claim { number: 7, test: "a.rs:1 one".into() }]);
    for item in ["fn helper() {", "struct S;", "#[inline]\nfn f() {", ""] {
        assert_eq!(under(item).1.len(), 1, "{item}");
    }
    let rows = listed("| | attack | b |\n|---|---|---|\n| 3 | c | d |\n| x | y |");
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), [(3, "c")]);
    let page = "a `one_two_three_four` and `max_hold`, `a::b_c_d_e`";
    assert_eq!(named_tests(page).into_iter().collect::<Vec<_>>(), ["one_two_three_four"]);
}
