//! Numbers by name, from a result whose numbers are known.

use super::*;
use crate::document::{Fencing, Latency};
use crate::report::faults::FaultReport;
