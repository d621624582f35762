//! Layers, mistakes, and settings that read back.

use std::path::PathBuf;

use super::show::repeating;
use super::*;
use crate::args::{self, Command, Refusal, RunArgs};
use crate::config::RunConfig;
use crate::mode::Mode;
use crate::plan::rng::Xoshiro;
use crate::scratch::Scratch;
use crate::values::{Hold, Rate};

/// A scenario on disk for the length of a test.
struct File(Scratch);

impl File {
    fn new(text: &str) -> Self {
        let scratch = Scratch::new("scenario").unwrap();
        std::fs::write(scratch.path().join("s.toml"), text).unwrap();
        Self(scratch)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("s.toml")
    }

    fn args(&self, words: &[&str]) -> Result<Box<RunArgs>, String> {
        let file = self.path();
        let line = ["loadgen", "run", "-f"].iter().map(OsString::from);
        let line = line.chain([file.into_os_string()]);
        match args::parse(line.chain(words.iter().map(OsString::from))) {
            Ok(line) => match line.command {
                Some(Command::Run(args)) => Ok(args),
                other => panic!("{other:?}"),
            },
            Err(Refusal::Scenario(text)) => Err(text),
            Err(Refusal::Clap(error)) => Err(format!("clap: {error}")),
        }
    }

    fn config(&self, words: &[&str]) -> RunConfig {
        self.args(words).unwrap().resolve("t", 7).unwrap()
    }

    /// What `run` says about the file, its directory left out.
    fn error(&self, words: &[&str]) -> String {
        let told = self.args(words).and_then(|args| {
            let origins = args.scenario.origins.clone();
            let told = args.resolve("t", 7).and_then(|config| {
                crate::target::check(&args, &config).map_err(|error| format!("{error:?}"))
            });
            told.map_err(|text| Origin::locate(&text, &origins))
        });
        told.unwrap_err().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn config(text: &str, words: &[&str]) -> RunConfig {
    File::new(text).config(words)
}

const WHOLE: &str = r#"
name = "hot-key-node-kill"
seed = 42
abort_on_fail = "5s"

[labels]
machine = "ci 3"
branch = "main=1"

[cluster]
spawn = 5
transport = "unix"
persist = "aof-everysec"

[load]
processes = 2
threads = 1
clients = 256
stages = [ { over = "10s", to = "1k" }, { over = "50s", to = 10_000 } ]
arrival = "poisson"
catch_up = 2
warmup = "2s"

[[workload]]
mode = "hierarchy:3"
keys = 1000
key_dist = "zipf:1.1"
hold = "uniform:5ms..20ms"
wait = "2s"

[engine.batch]
max_commands = 64

[engine.retry]
base = "1ms"

[[fault]]
at = "15s"
kind = "kill"
target = "one"
for = "10s"

[[fault]]
at = "35s"
kind = "pause"
target = [2]
for = "5s"

[[threshold]]
expr = "acquire.response.p99 < 50ms"
outside_faults = true
[[threshold]]
expr = "safety.violations == 0"
abort = true

[output]
percentiles = [50, 90, 99.9]
interval = "200ms"
"#;

#[test]
fn a_whole_file_becomes_the_settings_it_says() {
    let config = config(WHOLE, &[]);
    assert_eq!((config.name.as_str(), config.seed), ("hot-key-node-kill", 42));
    assert_eq!(config.labels["branch"], "main=1");
    assert_eq!((config.processes, config.clients, config.keys), (2, 256, 1_000));
    assert_eq!((config.rate, config.stages.len()), (Rate::PerSecond(10_000.0), 2));
    assert_eq!(config.duration_ns, 60_000_000_000, "the sum of the stages");
    assert_eq!((config.mode, config.catch_up), (Mode::Hierarchy(3), Some(2.0)));
    assert_eq!(config.hold, Hold::Uniform(5_000_000, 20_000_000));
    assert_eq!(config.engine.batch_max_commands, Some(64));
    assert_eq!(config.engine.retry_base_ns, Some(1_000_000));
    assert_eq!(config.faults, ["kill@15s/10s:one", "pause@35s/5s:node=2"]);
    let thresholds: Vec<String> = config.thresholds.iter().map(ToString::to_string).collect();
    assert_eq!(
        thresholds,
        ["acquire.response.p99 < 50ms outside faults", "safety.violations == 0 abort"]
    );
    assert_eq!(config.abort_on_fail_ns, Some(5_000_000_000));
    assert_eq!(config.percentiles, [50.0, 90.0, 99.9]);
    assert_eq!(config.interval_ns, 200_000_000);
}

#[test]
fn typed_beats_set_beats_the_file_beats_the_preset_beats_the_default() {
    let file = "preset = \"hot-key\"\n[load]\nclients = 10\nprocesses = 3\n[workload]\nkeys = 5\n";
    let file = File::new(file);
    let plain = file.config(&[]);
    assert_eq!((plain.clients, plain.processes, plain.keys), (10, 3, 5), "the file");
    assert_eq!((plain.wait_ns, plain.threads), (30_000_000_000, 1), "the preset");
    assert_eq!(plain.max_in_flight, 100_000, "the default");
    let set = file.config(&["--set", "load.clients=20", "--set", "workload.keys=6"]);
    assert_eq!((set.clients, set.processes, set.keys), (20, 3, 6));
    let typed = file.config(&["--set", "load.clients=20", "-c", "30", "--wait", "1s"]);
    assert_eq!((typed.clients, typed.wait_ns), (30, 1_000_000_000));
    let other = file.config(&["--preset", "zipf"]);
    assert_eq!((other.clients, other.key_dist), (10, values::KeyDist::Zipf(1.1)));
    let again = file.config(&["--set", "load.clients=1k", "--set", "load.clients=2k"]);
    assert_eq!(again.clients, 2_000, "the last --set");
}

#[test]
fn what_counts_more_hides_what_it_excludes() {
    let file =
        File::new("[load]\nstages = \"2s:1k\"\n[cluster]\nspawn = 3\n[workload]\ntry = true\n");
    let rate = file.config(&["--rate", "5k"]);
    assert_eq!((rate.rate, rate.stages.len()), (Rate::PerSecond(5_000.0), 0));
    assert_eq!(rate.duration_ns, 10_000_000_000, "no stages, no sum of them");
    let set = file.config(&["--set", "load.rate=6k"]);
    assert_eq!((set.rate, set.stages.len()), (Rate::PerSecond(6_000.0), 0));
    let both = file.error(&["--set", "load.rate=6k", "--set", "load.stages=1s:5"]);
    assert!(both.contains("excludes"), "{both}");
    let nodes = file.args(&["--nodes", "redis://h:1"]).unwrap();
    assert_eq!((nodes.spawn, nodes.nodes.len()), (None, 1));
    let wait = file.config(&["--wait", "1s"]);
    assert!(!wait.try_only && wait.wait_ns == 1_000_000_000);
    let longer = file.config(&["-d", "7s"]);
    assert_eq!((longer.duration_ns, longer.stages.len()), (7_000_000_000, 1));
    assert_eq!(file.config(&["--stages", "3s:9"]).duration_ns, 3_000_000_000);
}

#[test]
fn a_typed_list_replaces_the_files_and_labels_are_put_together() {
    let file = File::new(WHOLE);
    let typed = file.config(&["--fault", "kill@1s/1s", "-T", "errors.rate<5%"]);
    assert_eq!(typed.faults, ["kill@1s/1s"]);
    assert_eq!(typed.thresholds.len(), 1);
    let labels = file.config(&["--label", "machine=mine", "--label", "x=y"]).labels;
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["branch=main=1", "machine=mine", "x=y"]);
    let short = ["--set", "load.duration=3s", "--set", "fault.1.at=1s", "--set", "fault.1.for=1s"];
    let short = file.config(&[&short[..], &["--set", "fault.2.at=2s"]].concat());
    assert_eq!(short.faults, ["kill@1s/1s:one", "pause@2s/5s:node=2"]);
    assert_eq!(file.config(&["--set", "fault=[]"]).faults.len(), 0);
    let off = file.config(&["--set", "workload.try=false", "--set", "abort_on_fail=false"]);
    assert!(!off.try_only && off.abort_on_fail_ns.is_none());
}

#[test]
fn every_flag_of_a_run_is_a_setting_and_every_setting_a_flag() {
    use clap::CommandFactory;
    let mut command = args::Cli::command();
    command.build();
    let [run, chaos] = ["run", "chaos"].map(|name| command.find_subcommand(name).unwrap());
    for arg in chaos.get_arguments() {
        let flag = arg.get_long().unwrap();
        let known = table::SETTINGS.iter().any(|setting| setting.flag == flag);
        let alone = table::TYPED_ALONE.contains(&flag);
        assert!(known != alone, "--{flag} belongs into SETTINGS, or into TYPED_ALONE");
    }
    for setting in table::SETTINGS {
        let is_elsewhere = setting.path.starts_with("chaos.");
        let command = if is_elsewhere { chaos } else { run };
        assert!(table::arg(command, setting.flag).is_some(), "{} has no flag", setting.path);
        assert!(!is_elsewhere || table::arg(run, setting.flag).is_none(), "{}", setting.path);
    }
}

mod mix;

/// A mistake, where it stands, and a word of what is said about it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("name = \"x\"\n[load\n", "s.toml:2:", "no TOML"),
    ("seed = 1\nseed = 2\n", "s.toml:2:1", "duplicate"),
    ("[load]\n\nrat = 5\n", "s.toml:3:1", "did you mean `load.rate`?"),
    ("[lod]\nrate = 5\n", "s.toml:1:2", "did you mean `load`?"),
    ("rate = \"5k\"\n", "s.toml:1:1", "did you mean `load.rate`?"),
    ("[load]\nkeys = 5\n", "s.toml:2:1", "did you mean `workload.keys`?"),
    ("[engine]\nlinger = \"50us\"\n", "s.toml:2:1", "[engine] knows max_inflight"),
    ("frobnicate = 1\n", "s.toml:1:1", "knows name, seed"),
    ("[load]\nduration = 10\n", "s.toml:2:12", "no unit"),
    ("[load]\nduration = \"10 parsecs\"\n", "s.toml:2:12", "250us, 1ms, 10s"),
    ("[load]\nduration = \"1ms\"\n", "s.toml:2:12", "between 100ms and 6h"),
    ("[load]\nrate = -5\n", "s.toml:2:8", "is not a rate"),
    ("[load]\nrate = 1e3\n", "s.toml:2:8", "is not a rate"),
    ("[load]\nrate = [5]\n", "s.toml:2:8", "is a list; write a text or a number"),
    ("[load]\nrate = true\n", "s.toml:2:8", "is true or false; write a text"),
    ("[load]\nrate = \"5k\"\nstages = \"1s:5\"\n", "s.toml:3:1", "excludes `load.rate`"),
    ("[load]\nstages = [ { over = \"1s\" } ]\n", "s.toml:2:12", "a stage is"),
    ("[load]\nstages = [ { over = \"1s\", to = \"x\" } ]\n", "s.toml:2:10", "`x` of stage"),
    ("[load]\nthreads = 0\n", "s.toml:2:11", "0 is not in 1..=256"),
    ("[load]\nclients = 0x10\n", "s.toml:2:11", "in decimal"),
    ("[load]\nclients = 2\nprocesses = 3\n", "s.toml:2:11", "cannot be spread"),
    ("[load]\nallow_overload = \"yes\"\n", "s.toml:2:18", "true or false, without quotes"),
    ("[cluster]\ntransport = \"tpc\"\n", "s.toml:2:13", "did you mean `tcp`?"),
    ("[cluster]\nspawn = 12\n", "s.toml:2:9", "12 is not in 1..=9"),
    ("[cluster]\nspawn = 3\nnodes = [\"redis://h:1\"]\n", "s.toml:3:1", "excludes `cluster.spawn`"),
    ("[cluster]\nnodes = [[1]]\n", "s.toml:2:10", "an entry of `cluster.nodes` is a list"),
    ("cluster = 5\n", "s.toml:1:1", "write [cluster]"),
    ("[[workload]]\nkeys = 1\n[[workload]]\nkeys = 2\n", "s.toml:1:1", "add name = \"..\""),
    ("[workload]\nweight = 9\n", "s.toml:2:1", "write [[workload]], with two brackets"),
    ("[workload]\nmode = \"rw:90\"\n", "s.toml:2:8", "`rw:90` is no mode"),
    ("[workload]\nkeys = 2\nmode = \"all:3\"\n", "s.toml:2:8", "needs as many"),
    ("[[fault]]\nat = \"1s\"\n", "s.toml:1:1", "no `kind`; add kind"),
    ("[[fault]]\nkind = \"kill\"\nfor = \"1s\"\n", "s.toml:1:1", "no `at`; add at"),
    ("[[fault]]\nat = \"1s\"\nknd = \"kill\"\n", "s.toml:3:1", "did you mean `kind`?"),
    ("[[fault]]\nat = \"1s\"\nkind = \"melt\"\nfor = \"1s\"\n", "s.toml:1:1", "melt@1s/1s"),
    ("[[fault]]\nat = 1\nkind = \"kill\"\nfor = \"1s\"\n", "s.toml:1:1", "bad start"),
    (
        "[[fault]]\nat=\"1s\"\nkind=\"kill\"\nfor=\"1s\"\ntarget=[1,\"b\"]\n",
        "s.toml:5:11",
        "numbers of nodes",
    ),
    ("\n[[fault]]\nat=\"11s\"\nkind=\"kill\"\nfor=\"1s\"\n", "s.toml:2:1", "after the end"),
    ("[chaos]\nevery = \"5s\"\n", "s.toml:2:1", "give the file to `loadgen chaos`"),
    ("[fault]\nat = \"1s\"\n", "s.toml:1:2", "two brackets"),
    ("[[threshold]]\nexpr = \"errors.rat < 1%\"\n", "s.toml:1:1", "did you mean `errors.rate`?"),
    ("[[threshold]]\nabort = true\n", "s.toml:1:1", "no `expr`"),
    ("[[threshold]]\nexpr = \"errors.rate<1%\"\nabort = 1\n", "s.toml:3:9", "true or false"),
    ("[[threshold]]\nexpr = \"fencing.violations==0\"\n", "s.toml:1:1", "--fenced; add it"),
    ("[labels]\n\"a b\" = \"x\"\n", "s.toml:2:9", "is no label"),
    ("labels = \"x\"\n", "s.toml:1:10", "write [labels]"),
    ("name = \"a/b\"\n", "s.toml:1:8", "is no name of a run"),
    ("preset = \"hotkey\"\n", "s.toml:1:10", "did you mean `hot-key`?"),
    ("[output]\npercentiles = [50, 100]\n", "s.toml:2:15", "`100` is not a percentile"),
];

#[test]
fn mistakes_are_told_in_one_line_with_their_place_and_the_fix() {
    for (text, place, word) in MISTAKES.iter().chain(mix::MISTAKES) {
        let error = File::new(text).error(&[]);
        assert!(error.contains(place), "{text}: {error}");
        assert!(error.contains(word), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn mistakes_of_set_and_of_files_as_such_are_told_as_well() {
    let file = File::new("[load]\nrate = 5\n");
    for (set, word) in [
        ("load.rate=fast", "--set load.rate=fast: `load.rate`: `fast` is not a rate"),
        ("load.rats=5", "--set load.rats=5: unknown key `load.rats`; did you mean `load.rate`?"),
        ("load.rate", "--set load.rate: write PATH=VALUE"),
        ("load.duration=1ms", "--duration is `load.duration` at --set load.duration=1ms"),
    ] {
        let error = file.error(&["--set", set]);
        assert!(error.contains(word), "{set}: {error}");
    }
    let typed = file.error(&["--duration", "1ms"]);
    assert!(!typed.contains("s.toml"), "typed, not of the file: {typed}");
    let large = File::new(&"# a comment\n".repeat(100_000));
    assert!(large.error(&[]).contains("larger than 1 MiB"));
    std::fs::write(large.path(), b"a = 1\nb = \"\xff\"\n").unwrap();
    assert!(large.error(&[]).contains("s.toml:2: a letter is not UTF-8"));
    std::fs::remove_file(large.path()).unwrap();
    assert!(large.error(&[]).contains("cannot read scenario"));
}

/// Words for every kind of value, drawn at random.
fn random_words(rng: &mut Xoshiro) -> Vec<String> {
    let mut words = Vec::new();
    let mut flag = |flag: &str, values: &[&str], rng: &mut Xoshiro| {
        let at = usize::try_from(rng.below(2 * values.len() as u64)).unwrap();
        if let Some(value) = values.get(at) {
            words.push(if value.is_empty() {
                format!("--{flag}")
            } else {
                format!("--{flag}={value}")
            });
        }
    };
    flag("preset", &["hot-key", "zipf", "multi", "thundering-herd"], rng);
    flag("name", &["a", "a.b-c_d", "1"], rng);
    flag("label", &["a=1", "b.c=x y \"q\" \\ ü", "n="], rng);
    flag("label", &["a=2", "d=="], rng);
    flag("seed", &["0", "18446744073709551615", "42"], rng);
    flag("spawn", &["3", "5"], rng);
    flag("persist", &["aof-always", "none"], rng);
    flag("clients", &["1k", "64", "100"], rng);
    flag("arrival", &["constant", "poisson"], rng);
    match rng.below(3) {
        0 => flag("rate", &["max", "5k", "2.50", "20000/s"], rng),
        1 => flag("stages", &["1s:1k,2s:5k,500ms:0", "3s:2.5k"], rng),
        _ => {}
    }
    flag("catch-up", &["inf", "2", "1.5"], rng);
    flag("duration", &["3s", "1.5m"], rng);
    flag("keys", &["100k", "1000"], rng);
    flag("key-dist", &["hot:0.1/0.9", "seq", "zipf:1.1"], rng);
    flag("key-prefix", &["x\ty", "a\"b\\:", "0x1"], rng);
    flag("hold", &["0", "exp:1ms", "uniform:5ms..20ms"], rng);
    match rng.below(2) {
        0 => flag("try", &[""], rng),
        _ => flag("wait", &["1s", "30s"], rng),
    }
    flag("batch-gather", &["off", "always"], rng);
    flag("fault", &["kill@1s/1s", "pause@500ms/20ms:node=2"], rng);
    flag("fault", &["pause@2s/20ms:one"], rng);
    flag("threshold", &["errors.rate < 0.1% abort", "handoff.p99<=1ms"], rng);
    flag("threshold", &["acquire.response.p99 < 5ms outside faults"], rng);
    flag("percentiles", &["50,99,99.99", "1.5"], rng);
    flag("time-unit", &["us", "ms"], rng);
    flag("quiet", &[""], rng);
    words
}

#[test]
fn settings_that_are_shown_read_back_as_the_same_settings() {
    let mut rng = Xoshiro::for_client(20_261_126, 0);
    let empty = File::new("");
    for round in 0..150 {
        let words = random_words(&mut rng);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let args = match empty.args(&words) {
            Ok(args) => args,
            Err(error) => panic!("{words:?}: {error}"),
        };
        let Ok(config) = args.resolve("t", 7) else { continue };
        let shown = &args.scenario.settings;
        let file = File::new(shown);
        let again = file.args(&[]).unwrap_or_else(|error| panic!("{words:?}: {error}\n{shown}"));
        assert_eq!(again.resolve("t", 7).unwrap(), config, "{words:?}\n{shown}");
        assert_eq!(&again.scenario.settings, shown, "round {round}");
    }
    let whole = File::new(WHOLE);
    let shown = File::new(&whole.args(&[]).unwrap().scenario.settings);
    assert_eq!(shown.config(&[]), whole.config(&[]));
}

#[test]
fn what_repeats_a_run_has_its_seed() {
    let file = File::new("name = \"x\"\n[load]\nclients = 3\n");
    let shown = file.args(&[]).unwrap().scenario.settings.clone();
    let again = File::new(&repeating(&shown, 123)).config(&[]);
    assert_eq!(again, RunConfig { seed: 123, ..file.config(&[]) });
    let seeded = repeating(&shown, 123);
    assert_eq!(repeating(&seeded, 9), seeded, "a seed that was given stays");
}

#[test]
fn passwords_of_nodes_are_not_shown() {
    let file = File::new("[cluster]\nnodes = [\"redis://:s3cret@h:1\", \"unix:///tmp/x\"]\n");
    let shown = &file.args(&[]).unwrap().scenario.settings;
    assert!(shown.contains("redis://:***@h:1") && !shown.contains("s3cret"), "{shown}");
}
