//! The rules of this code base that neither the compiler nor clippy can hold.
//!
//! A rule is a function over the path and the text of one file; the first test applies every rule
//! to every file of the repository, and each rule has a test that shows it a file that breaks it.
//! What only a whole tree can break (stray entries, files that nothing compiles) comes after them.
//! It reads sources as text, with comments and literals blanked: it does not expand macros.

#![expect(clippy::indexing_slicing, reason = "every index was compared with the length before")]

#[path = "tidy/reader.rs"]
mod reader;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use reader::{code, paths, production};

/// A line, counted from 1, and what stands or is wrong there.
type Finding = (usize, String);
type Rule = fn(&str, &str) -> Vec<Finding>;

const RULES: &[Rule] = &[
    head_says_what_it_is,
    lines_are_short,
    files_are_short,
    nothing_is_left_over,
    no_path_of_a_machine,
    unsafe_is_forbidden,
    layers_point_downward,
    pure_layers_are_pure,
    only_the_clock_reads_time,
    only_the_engine_spawns,
    only_net_names_sockets,
    redis_protocol_stays_in_resp,
];

/// The layers, from the top down; [`may_import`] says who sees whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Face,
    Testing,
    Engine,
    Net,
    Session,
    Algorithm,
    Observe,
    Resp,
    /// Plain values that every layer may name.
    Value,
}

fn layer(module: &str) -> Option<Layer> {
    Some(match module {
        "lib" | "redlock" | "builder" | "request" | "guard" | "lease" | "fence" | "snapshot"
        | "blocking" | "manual" | "bench_internals" => Layer::Face,
        "testing" => Layer::Testing,
        "engine" => Layer::Engine,
        "net" => Layer::Net,
        "session" => Layer::Session,
        "algorithm" => Layer::Algorithm,
        "observe" => Layer::Observe,
        "resp" => Layer::Resp,
        "time" | "error" | "token" | "fencing" | "resource" | "endpoint" | "credentials"
        | "config" | "report" | "stats" => Layer::Value,
        _ => return None,
    })
}

fn may_import(from: Layer, to: Layer, path: &str) -> bool {
    use Layer::{Algorithm, Engine, Face, Net, Observe, Resp, Session, Testing, Value};
    match (from, to) {
        (_, Value) => true,
        (from, to) if from == to => true,
        (Face, to) => to != Testing,
        (Testing, to) => to != Face,
        (Engine, to) => matches!(to, Net | Session | Algorithm | Observe | Resp),
        (Net | Session | Observe, Resp) => true,
        // The handshake loads the scripts and knows them by their digests.
        (Session, Algorithm) => path.starts_with("crate::algorithm::script"),
        _ => false,
    }
}

/// The module right under `src/` that a file belongs to, if it is a file of the library.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(inner.split_once('/').map_or(inner, |(module, _)| module))
}

fn is_pure(path: &str) -> bool {
    matches!(module_of(path), Some("time" | "resp" | "session" | "algorithm"))
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn layers_point_downward(path: &str, text: &str) -> Vec<Finding> {
    let Some(module) = module_of(path) else { return Vec::new() };
    let Some(from) = layer(module) else {
        return vec![(1, format!("`{module}` is in no layer; give it one in tests/tidy.rs"))];
    };
    let stem = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = stem.split('/').count();
    paths(&production(path, text))
        .into_iter()
        .filter_map(|(line, path)| {
            let mut rest = path.as_str();
            let mut supers = 0;
            while let Some(outer) = rest.strip_prefix("super::") {
                (rest, supers) = (outer, supers + 1);
            }
            let rest = if supers >= depth { rest } else { path.strip_prefix("crate::")? };
            let target = rest.split("::").next()?;
            let to = layer(target)?;
            let is_fine = may_import(from, to, &format!("crate::{rest}"));
            (!is_fine).then(|| (line, format!("{from:?} may not name `{path}` of {to:?}")))
        })
        .collect()
}

fn pure_layers_are_pure(path: &str, text: &str) -> Vec<Finding> {
    if !is_pure(path) {
        return Vec::new();
    }
    let is_impure = |path: &str| {
        path.starts_with("std::net")
            || path.split("::").any(|name| IMPURE.contains(&name) || SOCKETS.contains(&name))
    };
    let mut found = found_paths(&production(path, text), is_impure, "in a pure layer");
    let is_socket = |path: &str| path.split("::").any(|name| SOCKETS.contains(&name));
    found.extend(found_paths(&code(text), is_socket, "in a test of a pure layer"));
    found
}

fn only_the_clock_reads_time(path: &str, text: &str) -> Vec<Finding> {
    if module_of(path).is_none() || is_in(path, CLOCKS) {
        return Vec::new();
    }
    let reads = |path: &str| {
        path.ends_with("Instant::now")
            || path.ends_with("SystemTime::now")
            || path.split("::").any(|name| name == "clock_gettime")
    };
    let code = production(path, text);
    let mut found = found_paths(&code, reads, "outside the clock");
    found.extend(found_text(&code, ".elapsed()", "reads the clock"));
    found
}

fn only_the_engine_spawns(path: &str, text: &str) -> Vec<Finding> {
    if module_of(path).is_none() || is_in(path, &["src/engine", "src/testing"]) {
        return Vec::new();
    }
    let spawns = |path: &str| {
        path.split("::").any(|name| name.starts_with("spawn")) || path.ends_with("thread::Builder")
    };
    found_paths(&production(path, text), spawns, "outside the engine")
}

fn only_net_names_sockets(path: &str, text: &str) -> Vec<Finding> {
    if module_of(path).is_none() || is_in(path, &["src/net", "src/testing"]) {
        return Vec::new();
    }
    let is_socket = |path: &str| path.split("::").any(|name| SOCKETS.contains(&name));
    found_paths(&production(path, text), is_socket, "outside net")
}

fn redis_protocol_stays_in_resp(path: &str, text: &str) -> Vec<Finding> {
    if module_of(path).is_none_or(|module| module == "resp") {
        return Vec::new();
    }
    let is_it = |path: &str| path.split("::").any(|name| name == "redis_protocol");
    found_paths(&code(text), is_it, "outside resp")
}

fn unsafe_is_forbidden(path: &str, text: &str) -> Vec<Finding> {
    if !path.ends_with(".rs") || is_in(path, UNSAFE_ALLOWED) {
        return Vec::new();
    }
    let code = code(text);
    let mut found = found_paths(&code, |path| path == "unsafe", "outside the allowed files");
    if path == "src/lib.rs" && !code.contains("#![forbid(unsafe_code)]") {
        found.push((1, "lacks #![forbid(unsafe_code)]".to_owned()));
    }
    found
}

fn head_says_what_it_is(path: &str, text: &str) -> Vec<Finding> {
    let has_head = text.lines().next().is_some_and(|line| line.starts_with("//! "));
    if !path.ends_with(".rs") || has_head {
        return Vec::new();
    }
    vec![(1, "the file does not begin with a `//!` that says what it is".to_owned())]
}

fn lines_are_short(path: &str, text: &str) -> Vec<Finding> {
    let is_long = |line: &str| line.chars().count() > COLUMNS_MAX;
    let lines = text.lines().enumerate().filter(|(_, line)| path.ends_with(".rs") && is_long(line));
    lines.map(|(index, _)| (index + 1, format!("more than {COLUMNS_MAX} columns"))).collect()
}

fn files_are_short(path: &str, text: &str) -> Vec<Finding> {
    let is_test = path.starts_with("tests/") || path.contains("/tests/");
    let max = if is_test { TEST_LINES_MAX } else { LINES_MAX };
    let lines = text.lines().count();
    if !path.ends_with(".rs") || lines <= max {
        return Vec::new();
    }
    vec![(lines, format!("{lines} lines, {max} allowed"))]
}

fn nothing_is_left_over(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_word = |word: &str| !word.starts_with(|c: char| c.is_ascii_alphanumeric());
        let marks = |mark: &&&str| {
            line.match_indices(**mark).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + mark.len()..]);
                is_word(after) && !before.ends_with(|c: char| c.is_ascii_alphanumeric())
            })
        };
        found.extend(MARKS.iter().filter(marks).map(|mark| (index + 1, format!("`{mark}`"))));
    }
    if path.ends_with(".rs") {
        let code = code(text);
        for leftover in LEFTOVERS {
            found.extend(found_text(&code, leftover, "was left over"));
        }
    }
    found
}

fn no_path_of_a_machine(_path: &str, text: &str) -> Vec<Finding> {
    MACHINE_PATHS.iter().flat_map(|path| found_text(text, path, "is on one machine only")).collect()
}

fn found_text(text: &str, wanted: &str, what: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(wanted));
    lines.map(|(index, _)| (index + 1, format!("`{wanted}` {what}"))).collect()
}

fn found_paths(code: &str, is_bad: impl Fn(&str) -> bool, what: &str) -> Vec<Finding> {
    let bad = paths(code).into_iter().filter(|(_, path)| is_bad(path));
    bad.map(|(line, path)| (line, format!("`{path}` {what}"))).collect()
}

/// Files that nothing compiles: no parent declares them, no manifest lists them.
fn undeclared(files: &BTreeMap<String, String>) -> Vec<String> {
    files
        .keys()
        .filter(|path| path.ends_with(".rs") && !is_declared(path, files))
        .cloned()
        .collect()
}

fn is_declared(path: &str, files: &BTreeMap<String, String>) -> bool {
    let file = path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or(path);
    let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
    let is_root = matches!(name, "lib" | "main") && dir.ends_with("src") || name == "build";
    let listed = |manifest: &String| manifest.contains(&format!("path = \"{path}\""));
    // The packages of this workspace are the root and the directories right under it.
    let (package, kind) = dir.split_once('/').map_or(("", dir), |(package, kind)| (package, kind));
    let manifest = if package.is_empty() { "Cargo.toml" } else { &format!("{package}/Cargo.toml") };
    let is_target = files.get(manifest).is_some_and(|manifest| match kind {
        "examples" => true,
        "tests" if !manifest.contains("autotests = false") => true,
        "tests" | "benches" => manifest.contains(&format!("name = \"{name}\"")),
        _ => false,
    });
    let is_root = is_root || is_target || files.get("Cargo.toml").is_some_and(listed);
    let roots = ["mod.rs", "lib.rs", "main.rs"].map(|root| format!("{dir}/{root}"));
    let parents = roots.iter().cloned().chain([format!("{dir}.rs")]);
    let declaration = format!("mod {name};");
    let is_module = parents
        .filter(|p| p != path)
        .any(|p| files.get(&p).is_some_and(|t| t.contains(&declaration)));
    let tail = file.rsplit('/').take(2).collect::<Vec<_>>();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("/");
    let is_included = || {
        let spellings = [format!("{tail}.rs\"]"), format!("{tail}/mod.rs\"]")];
        let beside = format!("#[path = \"{name}.rs\"]");
        files.iter().any(|(from, text)| {
            let is_beside = from.rsplit_once('/').is_some_and(|(from, _)| from == dir);
            (is_beside && text.contains(&beside))
                || text.contains("#[path = ") && spellings.iter().any(|s| text.contains(s))
        })
    };
    let is_built = || {
        let named = format!("join(\"{path}\")");
        BUILT_BY_TESTS.contains(&path) && files.values().any(|text| text.contains(&named))
    };
    is_root || is_module || is_included() || is_built()
}

/// Targets that the manifest lists and the tree lacks.
fn missing_targets(files: &BTreeMap<String, String>) -> Vec<String> {
    let manifest = files.get("Cargo.toml").map_or("", String::as_str);
    let listed = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
    let listed = listed.filter_map(|line| line.split_once('"').map(|(path, _)| path.to_owned()));
    listed.filter(|path| path.ends_with(".rs") && !files.contains_key(path)).collect()
}

fn stray_entries<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let first = paths.map(|path| path.split_once('/').map_or(path.as_str(), |(first, _)| first));
    let mut stray: Vec<&str> =
        first.filter(|first| !first.starts_with('.') && !TOP_LEVEL.contains(first)).collect();
    stray.dedup();
    stray
}

/// Every text file of the repository: those that git tracks, with `--others` also those that it
/// would; all there are where there is no git.
fn files(options: &[&str]) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached"]).args(options).current_dir(root);
    let listed = git.output();
    let listed = listed.ok().filter(|output| output.status.success() && !output.stdout.is_empty());
    let mut names: Vec<String> = match listed {
        Some(output) => {
            let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
            names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        }
        None => Vec::new(),
    };
    if names.is_empty() {
        walk(root, root, &mut names);
    }
    let text = |name: String| {
        let bytes = std::fs::read(root.join(&name)).ok()?;
        String::from_utf8(bytes).ok().map(|text| (name, text))
    };
    names.into_iter().filter(|name| !name.ends_with(".lock")).filter_map(text).collect()
}

fn walk(root: &Path, dir: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            walk(root, &path, names);
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && path.is_file()
        {
            names.push(name.to_owned());
        }
    }
}

#[test]
fn every_file_keeps_every_rule() {
    let files = files(WITH_NEW);
    assert!(files.contains_key("src/lib.rs") && files.contains_key("tests/tidy.rs"));
    let mut found = Vec::new();
    for (path, text) in &files {
        let all = RULES.iter().flat_map(|rule| rule(path, text));
        found.extend(all.map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn nothing_stands_at_the_top_without_a_reason() {
    assert_eq!(stray_entries(files(&[]).keys()), Vec::<&str>::new());
    let bad = ["scratch.py", "src/lib.rs", ".ci/run", "notes/a", "notes/b"].map(String::from);
    assert_eq!(stray_entries(bad.iter()), ["scratch.py", "notes"]);
}

#[test]
fn every_source_file_is_compiled() {
    assert_eq!(undeclared(&files(WITH_NEW)), Vec::<String>::new());
    assert_eq!(missing_targets(&files(WITH_NEW)), Vec::<String>::new());
    let tree = [
        ("Cargo.toml", "autotests = false\npath = \"tests/it/main.rs\"\npath = \"gone.rs\""),
        ("src/lib.rs", "mod net;"),
        ("src/net/mod.rs", "mod dial;"),
        ("src/net/dial.rs", ""),
        ("src/net/dead.rs", ""),
        ("tests/it/main.rs", "#[path = \"../support/server.rs\"]\nmod server;"),
        ("tests/support/server.rs", "root.join(\"tests/clockshim/shim.rs\")"),
        ("tests/forgotten.rs", "root.join(\"tests/forgotten.rs\")"),
        ("tests/clockshim/shim.rs", ""),
        ("tool/Cargo.toml", "[package]"),
        ("tool/tests/cli.rs", ""),
        ("tool/src/main.rs", "#[path = \"inner.rs\"]\nmod x;"),
        ("tool/src/inner.rs", ""),
        ("tool/src/a/inner.rs", ""),
    ];
    let tree = tree.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    assert_eq!(undeclared(&tree), ["src/net/dead.rs", "tests/forgotten.rs", "tool/src/a/inner.rs"]);
    assert_eq!(missing_targets(&tree), ["gone.rs"]);
}

/// Each rule with a place and a text that break it, and one in which the same is fine.
#[test]
fn every_rule_can_fail() {
    let long = format!("//! {}", "x".repeat(97));
    let many = "//! x\n".repeat(401);
    let mark = format!("//! x\n// {}: mend", MARKS[0]);
    let home = format!("see {}me", MACHINE_PATHS[0]);
    let tests = "#[cfg(test)]\nmod tests {\n";
    let in_tests = |code: &str| format!("{tests}{code}");
    let table: &[(Rule, &str, &str, &str, &str)] = &[
        (head_says_what_it_is, "src/a.rs", "use x;\n//! x", "src/a.rs", "//! x"),
        (lines_are_short, "src/a.rs", &long, "README.md", &long),
        (files_are_short, "src/a.rs", &many, "tests/a.rs", &many),
        (nothing_is_left_over, "README.md", &mark, "a.rs", "// mktemp XXXXXX"),
        (nothing_is_left_over, "a.rs", "fn f() { todo!() }", "a.rs", "// todo!()"),
        (nothing_is_left_over, "a.rs", "#[ignore]", "a.rs", "\"#[ignore\""),
        (no_path_of_a_machine, "README.md", &home, "README.md", "see home/me"),
        (unsafe_is_forbidden, "a.rs", "unsafe { f() }", "a.rs", "// unsafe\nunsafe_code"),
        (unsafe_is_forbidden, "tests/clockshim/b.rs", "unsafe {}", BUILT_BY_TESTS[0], "unsafe {}"),
        (unsafe_is_forbidden, "src/lib.rs", "//! x", "src/lib.rs", "#![forbid(unsafe_code)]"),
        (layers_point_downward, "src/new.rs", "", "src/time.rs", ""),
        (
            layers_point_downward,
            "src/resp/a.rs",
            "use crate::net::X;",
            "src/net/a.rs",
            "use crate::resp::X;",
        ),
        (
            layers_point_downward,
            "src/algorithm/mod.rs",
            "use crate::{time::T, resp::R};",
            "src/algorithm/mod.rs",
            "use crate::{time::T, token::R};",
        ),
        (
            layers_point_downward,
            "src/time.rs",
            "fn f(g: super::guard::Guard)",
            "src/guard.rs",
            "fn f(t: super::time::T)",
        ),
        (
            layers_point_downward,
            "src/engine/a/b.rs",
            "super::super::super::redlock::f()",
            "src/engine/a/b.rs",
            "super::super::redlock::f()",
        ),
        (
            layers_point_downward,
            "src/session/a.rs",
            "crate::algorithm::tally::f()",
            "src/session/a.rs",
            "crate::algorithm::script::ALL",
        ),
        (
            layers_point_downward,
            "src/engine/a.rs",
            "use crate::testing::Clock;",
            "src/engine/a.rs",
            &in_tests("use crate::testing::Clock;"),
        ),
        (pure_layers_are_pure, "src/resp/a.rs", "use tokio::io;", "src/net/a.rs", "tokio::io"),
        (
            pure_layers_are_pure,
            "src/session/a.rs",
            "use std::{io, net};",
            "src/session/a.rs",
            "use std::{io, fmt};",
        ),
        (pure_layers_are_pure, "src/time.rs", "getrandom::fill(x)", "src/time.rs", "'\"' // rand"),
        (
            pure_layers_are_pure,
            "src/algorithm/a.rs",
            &in_tests("use std::net::TcpStream;"),
            "src/algorithm/a.rs",
            &in_tests("use proptest::prelude::*;"),
        ),
        (
            only_the_clock_reads_time,
            "src/guard.rs",
            "std::time::Instant::now()",
            "src/engine/clock.rs",
            "std::time::Instant::now()",
        ),
        (only_the_clock_reads_time, "src/net/a.rs", "x.elapsed()", "src/net/a.rs", "x.elapsed"),
        (
            only_the_engine_spawns,
            "src/guard.rs",
            "tokio::spawn(f)",
            "src/engine/a.rs",
            "tokio::spawn(f)",
        ),
        (only_the_engine_spawns, "src/net/a.rs", "set.spawn_on(f)", "src/net/a.rs", "r#\"spawn\"#"),
        (
            only_net_names_sockets,
            "src/engine/a.rs",
            "use tokio::net::{TcpStream as S};",
            "src/net/a.rs",
            "use tokio::net::TcpStream;",
        ),
        (
            redis_protocol_stays_in_resp,
            "src/net/a.rs",
            "redis_protocol::f()",
            "src/resp/a.rs",
            "redis_protocol::f()",
        ),
    ];
    for (index, (rule, bad_path, bad, good_path, good)) in table.iter().enumerate() {
        assert_ne!(rule(bad_path, bad), [], "row {index} accepts {bad_path}: {bad}");
        assert_eq!(rule(good_path, good), [], "row {index} refuses {good_path}: {good}");
    }
    let is_tested = |rule: &Rule| table.iter().any(|row| std::ptr::fn_addr_eq(row.0, *rule));
    assert!(RULES.iter().all(is_tested), "a rule has no row in the table above");
}

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 400;
/// Asks git for the files that are not added yet, too.
const WITH_NEW: &[&str] = &["--others", "--exclude-standard"];
const TEST_LINES_MAX: usize = 600;
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "src",
    "loadgen",
    "benches",
    "tests",
    "examples",
];
/// Not walked where there is no git to ask.
const SKIPPED: &[&str] = &[".git", "target", ".servers", "loadgen-runs", "proptest-regressions"];
/// Shared memory of the oracle's processes; the allocator that counts for the tests; the hooks
/// that a server calls for the time.
const UNSAFE_ALLOWED: &[&str] = &[
    "loadgen/src/oracle.rs",
    "loadgen/src/oracle/",
    "tests/it/allocator.rs",
    "tests/clockshim/shim.rs",
];
/// Given to rustc by the tests themselves, by this path.
const BUILT_BY_TESTS: &[&str] = &["tests/clockshim/shim.rs"];
const CLOCKS: &[&str] = &["src/engine/clock.rs", "src/engine/clock/", "src/testing/clock.rs"];
const SOCKETS: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "TcpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "UdpSocket",
    "socket2",
];
const IMPURE: &[&str] =
    &["tokio", "Instant", "SystemTime", "clock_gettime", "rustix", "getrandom", "rand", "fastrand"];
const LEFTOVERS: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];
/// In pieces, so that this file keeps its own rules.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const MACHINE_PATHS: &[&str] =
    &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
