//! The order of the cells: inside a repetition every peer runs a cell before the next cell
//! begins, and the first peer changes from one to the next, so that drift of the machine meets
//! all peers alike.

use std::io::{self, Write};
use std::{env, process};

use crate::Result;
use crate::args::{Args, Job};
use crate::cell::CellSpec;
use crate::children;
use crate::fleet::{Fleet, default_server};
use crate::group::{self, CellResult};
use crate::machine::Machine;
use crate::report::{Measured, Report};
use crate::spin;

pub(crate) fn run(args: &Args) -> Result<Report> {
    let count = args.nodes.iter().copied().max().unwrap_or(1);
    let server = args.server.as_deref().unwrap_or_else(|| default_server());
    let fleet = Fleet::start(server, count)?;
    let spinners = if args.spin { spin::start()? } else { Vec::new() };
    let machine = Machine::describe(&fleet.version);
    let cells = args.nodes.len() * args.tasks.len() * args.peers.len() * args.reps;
    let per_cell = args.seconds + args.warmup_s + 0.2 + 0.1 * args.processes as f64;
    eprint!("{}", machine.text());
    eprintln!("{cells} cells, about {:.0} min", (cells as f64 * per_cell / 60.0).ceil());
    if !children::has_setpriv() {
        eprintln!("no `setpriv --pdeathsig` here: SIGKILL of this process would leave servers");
    }

    let ledger = if args.processes > 1 {
        let name = format!("peers-{}-ledger", process::id());
        Some(children::directory(env::temp_dir().join(name))?.join("holder"))
    } else {
        None
    };
    let mut measured = Vec::new();
    // Spreads the turns of one peer in one cell evenly over the repetitions.
    let stride = (args.peers.len() / args.reps).max(1);
    for rep in 0..args.reps {
        let mut first = rep * stride;
        for &nodes in &args.nodes {
            for &tasks in &args.tasks {
                for turn in 0..args.peers.len() {
                    let at = (first + turn) % args.peers.len();
                    let Some(&peer) = args.peers.get(at) else { continue };
                    let chosen = fleet.nodes.iter().take(nodes);
                    let spec = CellSpec {
                        peer,
                        tasks,
                        process: 0,
                        one_key: args.job == Job::Handover,
                        hold: args.hold,
                        ledger: ledger.clone(),
                        ports: chosen.clone().map(|node| node.port).collect(),
                        server_pids: chosen.map(|node| node.pid()).collect(),
                        spinner_pids: spinners.iter().map(|spinner| spinner.pid()).collect(),
                        warmup_s: args.warmup_s,
                        seconds: args.seconds,
                    };
                    let result =
                        group::run(&spec, args.processes).unwrap_or_else(|error| CellResult {
                            errors: 1,
                            first_error: Some(format!("no result: {error}")),
                            ..CellResult::default()
                        });
                    progress(rep, &spec, &result);
                    measured.push(Measured { peer, nodes, tasks, rep, result });
                }
                first += 1;
            }
        }
    }
    Ok(Report {
        machine,
        job: args.job,
        processes: args.processes,
        hold_us: args.hold.as_secs_f64() * 1e6,
        measured,
    })
}

fn progress(rep: usize, spec: &CellSpec, result: &CellResult) {
    let mut line = format!(
        "rep {} nodes {} tasks {:>4} {:<11} {:>9.0} cycles/s",
        rep + 1,
        spec.ports.len(),
        spec.tasks,
        spec.peer,
        result.cycles_per_s
    );
    if let Some(error) = &result.first_error {
        line.push_str(&format!("  {} errors, first: {error}", result.errors));
    }
    if result.keys_left != 0 {
        line.push_str(&format!("  {} keys left", result.keys_left));
    }
    let _ = writeln!(io::stderr(), "{line}");
}
