//! Loads by name: each is a list of flags, put into the command line where nothing else set them
//! (see `scenario`).

use serde::{Deserialize, Serialize};

use crate::report::format::wrapped;

/// A load by name. No documentation of single values, as in `args`: [`help`] explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preset {
    Uncontended,
    HotKey,
    Zipf,
    ThunderingHerd,
    ReadHeavy,
    Hierarchy,
    Multi,
}

/// What a preset is, and the flags that make it.
struct Recipe {
    name: &'static str,
    about: &'static str,
    flags: &'static [(&'static str, &'static str)],
}

const UNCONTENDED: Recipe = Recipe {
    name: "uncontended",
    about: "nobody is ever in the way: what a lock costs by itself",
    flags: &[
        ("clients", "64"),
        ("keys", "100k"),
        ("key-dist", "seq"),
        ("hold", "0"),
        ("rate", "max"),
    ],
};
const HOT_KEY: Recipe = Recipe {
    name: "hot-key",
    about: "every client of four processes wants one lock, all the time",
    flags: &[
        ("processes", "4"),
        ("threads", "1"),
        ("clients", "64"),
        ("keys", "1"),
        ("hold", "1ms"),
        ("rate", "max"),
        ("wait", "30s"),
    ],
};
const ZIPF: Recipe = Recipe {
    name: "zipf",
    about: "many locks, few of them popular, as users have them; four processes",
    flags: &[
        ("processes", "4"),
        ("threads", "1"),
        ("clients", "128"),
        ("keys", "10k"),
        ("key-dist", "zipf:1.1"),
        ("hold", "exp:1ms"),
        ("rate", "max"),
    ],
};
const THUNDERING_HERD: Recipe = Recipe {
    name: "thundering-herd",
    about: "a thousand clients ask for one lock in the same instant, each once",
    flags: &[
        ("processes", "4"),
        ("threads", "1"),
        ("clients", "1000"),
        ("requests", "1000"),
        ("keys", "1"),
        ("hold", "1ms"),
        ("rate", "max"),
        ("wait", "60s"),
        ("duration", "60s"),
    ],
};

const READ_HEAVY: Recipe = Recipe {
    name: "read-heavy",
    about: "a few names, read by nearly everybody at once and written now and then",
    flags: &[
        ("mode", "shared:95"),
        ("processes", "2"),
        ("threads", "1"),
        ("clients", "64"),
        ("keys", "10"),
        ("hold", "1ms"),
        ("rate", "max"),
    ],
};
const HIERARCHY: Recipe = Recipe {
    name: "hierarchy",
    about: "paths of three levels, most locked at their ends, some as a whole",
    flags: &[
        ("mode", "hierarchy:3"),
        ("processes", "2"),
        ("threads", "1"),
        ("clients", "64"),
        ("keys", "1000"),
        ("hold", "1ms"),
        ("rate", "max"),
    ],
};
const MULTI: Recipe = Recipe {
    name: "multi",
    about: "three of a hundred names at once, all or nothing",
    flags: &[
        ("mode", "all:3"),
        ("processes", "2"),
        ("threads", "1"),
        ("clients", "64"),
        ("keys", "100"),
        ("hold", "1ms"),
        ("rate", "max"),
    ],
};

impl Preset {
    const ALL: [Self; 7] = [
        Self::Uncontended,
        Self::HotKey,
        Self::Zipf,
        Self::ThunderingHerd,
        Self::ReadHeavy,
        Self::Hierarchy,
        Self::Multi,
    ];

    const fn recipe(self) -> &'static Recipe {
        match self {
            Self::Uncontended => &UNCONTENDED,
            Self::HotKey => &HOT_KEY,
            Self::Zipf => &ZIPF,
            Self::ThunderingHerd => &THUNDERING_HERD,
            Self::ReadHeavy => &READ_HEAVY,
            Self::Hierarchy => &HIERARCHY,
            Self::Multi => &MULTI,
        }
    }

    /// The flags that make it, with their values.
    pub(crate) const fn flags(self) -> &'static [(&'static str, &'static str)] {
        self.recipe().flags
    }

    pub(crate) fn find(name: &str) -> Result<Self, String> {
        let all = Self::ALL.into_iter();
        all.clone().find(|preset| preset.name() == name).ok_or_else(|| {
            let names: Vec<&str> = all.map(Self::name).collect();
            format!("there is no preset `{name}`; use one of {}", names.join(", "))
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        self.recipe().name
    }
}

/// The presets, a line or two each, for the end of the help.
pub(crate) fn help() -> String {
    let mut text = String::from("Presets:\n");
    for Recipe { name, about, flags } in Preset::ALL.map(Preset::recipe) {
        let flags: Vec<String> =
            flags.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
        text.push_str(&wrapped(&format!("  {name:<17}"), &format!("{about}: {}", flags.join(" "))));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::{Command, parse};
    use crate::config::RunConfig;
    use crate::mode::Mode;
    use crate::values::{Hold, KeyDist, Rate};

    fn run(words: &str) -> RunConfig {
        let line = format!("loadgen run {words}");
        let line = line.split_whitespace().map(OsString::from);
        match parse(line).unwrap().command {
            Some(Command::Run(args)) => args.resolve("t", 7).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_preset_is_a_valid_load_of_its_name_and_the_help_has_it() {
        let help = help();
        for preset in Preset::ALL {
            let config = run(&format!("--preset {}", preset.name()));
            assert_eq!(config.preset, Some(preset));
            let Recipe { name, about, flags } = preset.recipe();
            assert!(help.contains(&format!("  {name} ")) && help.contains(about), "{help}");
            for (flag, value) in *flags {
                assert!(["keys", "wait"].contains(flag) || help.contains(value), "{flag}: {help}");
            }
        }
    }

    #[test]
    fn a_preset_sets_the_load_and_a_typed_flag_wins() {
        let hot = run("--preset hot-key");
        assert_eq!((hot.keys, hot.clients, hot.processes), (1, 64, 4));
        assert_eq!((hot.hold, hot.rate), (Hold::Fixed(1_000_000), Rate::Max));
        let ours = run("-k 7 --preset hot-key -c 9 --hold=2ms");
        assert_eq!((ours.keys, ours.clients, ours.processes), (7, 9, 4));
        assert_eq!(ours.hold, Hold::Fixed(2_000_000));
        assert_eq!(run("--preset zipf --rate 5k").rate, Rate::PerSecond(5_000.0));
        assert_eq!(run("--preset zipf").key_dist, KeyDist::Zipf(1.1));
        assert_eq!(run("--preset thundering-herd").requests, Some(1_000));
        assert_eq!(run("--preset read-heavy").mode, Mode::Shared(95.0));
        assert_eq!(run("--preset multi --mode all:2").mode, Mode::All(2));
        assert_eq!(run("").preset, None);
    }

    #[test]
    fn what_excludes_a_flag_of_the_preset_wins_as_well() {
        let config = run("--preset hot-key --try");
        assert!(config.try_only);
    }
}
