//! Files with several workloads.

use super::*;

/// As those of the other settings.
pub(super) const MISTAKES: &[(&str, &str, &str)] = &[
    ("workload = [1, 2]\n", "s.toml:1:13", "a workload is a table"),
    ("[[workload]]\nname = 5\n", "s.toml:2:8", "`5` is no name of a workload"),
    ("[[workload]]\nname = [5]\n", "s.toml:2:8", "is a list; write a text"),
    ("[[workload]]\nname = \"a b\"\n", "s.toml:2:8", "beginning with a letter"),
    (
        "[[workload]]\nname=\"a\"\n[[workload]]\nname=\"a\"\n",
        "s.toml:4:6",
        "already, at s.toml:2:6",
    ),
    ("[[workload]]\nname=\"a\"\nweight = 0\n", "s.toml:3:10", "take the [[workload]] out"),
    ("[[workload]]\nname=\"a\"\nweight = 0.0\n", "s.toml:3:10", "a weight of 0"),
    ("[[workload]]\nname=\"a\"\nweight = -1\n", "s.toml:3:10", "use a number above 0"),
    ("[[workload]]\nname=\"a\"\nweight = nan\n", "s.toml:3:10", "`nan` is no weight"),
    ("[[workload]]\nname=\"a\"\nweight = true\n", "s.toml:3:10", "write a number"),
    ("[[workload]]\nname=\"a\"\nkey = 1\n", "s.toml:3:1", "did you mean `workload.keys`?"),
    ("[[workload]]\nname=\"a\"\nclients = 1\n", "s.toml:3:1", "did you mean `load.clients`?"),
    ("[[workload]]\nname=\"a\"\nhold = \"1x\"\n", "s.toml:3:8", "250us, 1ms, 10s"),
    ("[[workload]]\nname=\"a\"\ntry = 1\n", "s.toml:3:7", "true or false"),
    ("[[workload]]\nname=\"a\"\ntry=true\nwait=\"1s\"\n", "s.toml:4:6", "set at s.toml:3:5"),
    (
        "[[workload]]\nname=\"a\"\nwaiting=\"race\"\n[[workload]]\nname=\"b\"\n",
        "s.toml:3:1",
        "cannot differ between workloads",
    ),
    (
        "[[workload]]\nname=\"a\"\nmax_ttl=\"9s\"\n[[workload]]\nname=\"b\"\nmax_ttl=\"8s\"\n",
        "s.toml:6:1",
        "write the same in each",
    ),
    ("[[workload]]\nname=\"a\"\nkeys=2\nmode=\"all:3\"\n", "s.toml:1:1", "`a`: mode all:3 needs"),
    (
        "[[workload]]\nname=\"a\"\n\n[[workload]]\nname=\"b\"\nfenced=true\nmode=\"all:3\"\n",
        "s.toml:4:1",
        "workload `b`: fenced goes with mode mutex alone",
    ),
    (
        "[[workload]]\nname=\"a\"\nkey_prefix=\"x:\"\n[[workload]]\nname=\"b\"\nkey_prefix=\"x:\"\n\
         mode=\"permits:2\"\n",
        "s.toml:1:1, s.toml:4:1",
        "cannot be judged together",
    ),
    (
        "threshold = [\"throughput{workload=check}>1\"]\n[[workload]]\nname=\"cheek\"\n",
        "s.toml:1:14",
        "no workload is called `check`; did you mean `cheek`?",
    ),
    ("threshold = [\"throughput{workload=a}>1\"]\n", "s.toml:1:14", "this run is no mix"),
];

const MIX: &str = r#"
[load]
rate = 100
[[workload]]
name = "checkout"
weight = 9
keys = 1000
key_dist = "zipf:1.1"
hold = "exp:1ms"
wait = "2s"
waiting = "race"
[[workload]]
name = "nightly"
mode = "hierarchy:3"
keys = 50
try = true
key_prefix = "n,\"=}:"
waiting = "race"
"#;

#[test]
fn a_mix_has_what_each_workload_says_and_what_the_flags_say_for_all() {
    let file = File::new(MIX);
    let config = file.config(&["--think", "3ms"]);
    let [checkout, nightly] = config.workloads.as_slice() else { panic!("{config:?}") };
    assert_eq!((config.shares(), config.waiting.name()), (vec![0.9, 0.1], "race"));
    assert_eq!((checkout.keys, nightly.keys, nightly.mode), (1_000, 50, Mode::Hierarchy(3)));
    assert_eq!((checkout.hold, nightly.hold), (Hold::Exp(1_000_000), Hold::Fixed(0)));
    assert_eq!((checkout.wait_ns, checkout.try_only), (2_000_000_000, false));
    assert_eq!(
        (checkout.think_ns, nightly.think_ns, nightly.try_only),
        (3_000_000, 3_000_000, true)
    );
    assert_eq!(checkout.key_prefix, "lg:checkout:", "names of its own");
    assert_eq!(nightly.key_prefix, "n,\"=}:");
    // The settings of a run without a mix are those of the first.
    assert_eq!((config.keys, config.key_prefix.as_str()), (1_000, "lg:checkout:"));
    let typed = file.config(&["--hold", "7ms", "--wait", "1s"]);
    let all = typed.workloads.iter().map(|of| (of.hold, of.wait_ns, of.try_only));
    let expected = (Hold::Fixed(7_000_000), 1_000_000_000, false);
    assert_eq!(all.collect::<Vec<_>>(), [expected; 2], "what was typed counts most");
    let preset = file.config(&["--preset", "hot-key"]);
    assert_eq!((preset.workloads[0].keys, preset.workloads[1].keys), (1_000, 50));
    assert_eq!(preset.workloads[1].ttl_ns, preset.ttl_ns);
    let one = File::new("[[workload]]\nname = \"only\"\nkeys = 3\n").config(&[]);
    assert_eq!((one.workloads.len(), one.workloads[0].keys, one.shares()), (1, 3, vec![1.0]));
}

#[test]
fn set_changes_one_workload_by_its_name_or_its_number_or_all_of_them() {
    let file = File::new(MIX);
    let config = file.config(&[
        "--set",
        "workload.checkout.hold=2ms",
        "--set",
        "workload.2.weight=27",
        "--set",
        "workload.ttl=4s",
        "--set",
        "workload.waiting=queue",
    ]);
    let of = |at: usize| (config.workloads[at].hold, config.workloads[at].ttl_ns);
    assert_eq!(of(0), (Hold::Fixed(2_000_000), 4_000_000_000));
    assert_eq!(of(1), (Hold::Fixed(0), 4_000_000_000));
    assert_eq!((config.shares(), config.waiting.name()), (vec![0.25, 0.75], "queue"));
    for (set, word) in [
        ("workload.chekout.hold=2ms", "did you mean `checkout`?"),
        ("workload.zzz.hold=2ms", "there are checkout, nightly"),
        ("workload.checkout.hold=2", "`workload.hold`: `2` has no unit"),
        ("workload.checkout.name=nightly", "called `nightly` already"),
    ] {
        let error = file.error(&["--set", set]);
        assert!(error.contains(word) && error.contains(&format!("--set {set}")), "{set}: {error}");
    }
    let error = file.error(&["--key-prefix", "x:"]);
    assert!(
        error.contains("s.toml:12:1") && error.contains("workload.nightly.key_prefix"),
        "{error}"
    );
}

#[test]
fn a_mix_that_is_shown_reads_back_and_has_a_bound() {
    for words in [&[][..], &["--hold", "5ms", "--try"], &["--preset", "multi", "--fenced"]] {
        // Without what `--fenced` and modes exclude.
        let text = if words.len() > 2 {
            MIX.replace("mode = \"hierarchy:3\"", "mode = \"mutex\"")
        } else {
            MIX.to_owned()
        };
        let text = text.replace("name = \"checkout\"", "name = \"checkout\"\nmode = \"mutex\"");
        let file = File::new(&text);
        let args = file.args(words).unwrap();
        let (config, shown) = (args.resolve("t", 7).unwrap(), &args.scenario.settings);
        assert_eq!(shown.matches("[[workload]]").count(), 2, "{shown}");
        let again = File::new(shown).args(&[]).unwrap_or_else(|why| panic!("{why}\n{shown}"));
        assert_eq!(again.resolve("t", 7).unwrap(), config, "{shown}");
        assert_eq!(&again.scenario.settings, shown);
    }
    let all = |n: usize| -> String {
        (0..n).map(|at| format!("[[workload]]\nname = \"w{at}\"\n")).collect()
    };
    assert_eq!(File::new(&all(16)).config(&[]).workloads.len(), 16);
    let error = File::new(&all(17)).error(&[]);
    assert!(error.contains("s.toml:33:1") && error.contains("at most 16"), "{error}");
}
