//! Flags that belong together, kept in structs of their own; the user sees one list.

use std::path::PathBuf;

use clap::Args;

use crate::config::Gather;
use crate::scenario::Origin;
use crate::thresholds::Threshold;
use crate::values;

/// Knobs of the engine; what is not given keeps the engine's default.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Commands per write
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_max_commands: Option<u32>,
    /// Bytes per write
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_max_bytes: Option<u32>,
    /// When a node's driver gathers commands before it writes
    #[arg(long, value_name = "MODE", help_heading = "Engine")]
    pub(crate) batch_gather: Option<Gather>,
    /// Gather only with so many commands in flight
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) batch_gather_min_inflight: Option<u32>,
    /// Commands in flight per node
    #[arg(long, value_name = "N", value_parser = values::count_u32, help_heading = "Engine")]
    pub(crate) max_inflight: Option<u32>,
    /// How long a node may take to answer
    #[arg(long, value_name = "TIME", value_parser = values::positive_duration,
          help_heading = "Engine")]
    pub(crate) node_timeout: Option<u64>,
    /// Bound of the first pause between two attempts [default: 2ms]
    #[arg(long, value_name = "TIME", value_parser = values::positive_duration,
          help_heading = "Engine")]
    pub(crate) retry_base: Option<u64>,
    /// What that bound doubles to at most [default: 20ms]
    #[arg(long, value_name = "TIME", value_parser = values::positive_duration,
          help_heading = "Engine")]
    pub(crate) retry_cap: Option<u64>,
}

/// What a run must reach.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// What the run must reach, else it ends with 3: acquire.response.p99<5ms, errors.rate<0.1%,
    /// throughput>=9.5k, safety.violations==0, fault.recovered.max<2s, ..;
    /// errors.rate{workload=A}<1% is about one workload of a mix; append `outside faults` or
    /// `abort` (end the run when it fails); may be repeated
    #[arg(
        short = 'T',
        long = "threshold",
        alias = "slo",
        value_name = "EXPR",
        help_heading = "Verdict"
    )]
    pub(crate) thresholds: Vec<Threshold>,
    /// End the run when any threshold fails meanwhile, not before TIME of the measured time
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "0", value_parser = values::duration, help_heading = "Verdict")]
    pub(crate) abort_on_fail: Option<u64>,
}

/// Settings that are written elsewhere.
#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    /// A run written down as TOML, see loadgen/scenarios; flags beside it win
    #[arg(short = 'f', long, value_name = "FILE.toml", help_heading = "Scenario")]
    pub(crate) scenario: Option<PathBuf>,
    /// Change a setting of the file: load.rate=5k, fault.1.for=2s, workload.NAME.hold=1ms; may be
    /// repeated
    #[arg(long = "set", value_name = "PATH=VALUE", help_heading = "Scenario")]
    pub(crate) set: Vec<String>,
    /// Say whether the settings are valid, and run nothing
    #[arg(long, help_heading = "Scenario")]
    pub(crate) check: bool,
    /// Print all settings as a scenario file, and run nothing
    #[arg(long, help_heading = "Scenario")]
    pub(crate) show_config: bool,
    /// All settings, as a scenario file.
    #[arg(skip)]
    pub(crate) settings: String,
    /// Where those that were not typed come from.
    #[arg(skip)]
    pub(crate) origins: Vec<Origin>,
}
