//! The built program in a directory of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Removed at its end.
#[derive(Debug)]
pub(crate) struct Dir(PathBuf);

impl Dir {
    /// `name` tells the directories of one file of tests apart.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The program in here, its words as in a shell: `tune --objective 'min p99 @ 1k'`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.current_dir(&self.0).args(words(line));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The exit code, standard output and standard error of `line`.
    pub(crate) fn loadgen(&self, line: &str) -> (i32, String, String) {
        finished(self.command(line).spawn().unwrap())
    }

    /// `line`, with its files in `out`.
    pub(crate) fn spawn(&self, line: &str) -> Child {
        self.command(&format!("{line} -o out")).spawn().unwrap()
    }

    /// The exit code of `line`, with its files in `out`, and everything that was printed.
    pub(crate) fn run(&self, line: &str) -> (i32, String) {
        end(self.spawn(line))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let path = self.0.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// Of a run with its files in `out`.
    pub(crate) fn result(&self) -> Value {
        self.json("out/result.json")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Words between white space, and whatever stands between two single quotes as one.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace()),
            _ => words.push(part),
        }
    }
    words
}

/// Waits for the exit code, standard output and standard error.
pub(crate) fn finished(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Waits for the exit code and everything that was printed.
pub(crate) fn end(child: Child) -> (i32, String) {
    let (code, out, err) = finished(child);
    (code, out + &err)
}

/// A percentile of a result, in ns.
pub(crate) fn percentile(result: &Value, metric: &str, p: f64) -> u64 {
    let all = result["latency_ns"][metric]["percentiles"].as_array().unwrap();
    all.iter().find(|entry| entry["p"] == p).unwrap()["ns"].as_u64().unwrap()
}
