//! Flags that belong together, kept in structs of their own; the user sees one list.

use clap::Args;

use crate::config::Gather;
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
