//! The order of the cells: inside a repetition every peer runs a cell before the next cell
//! begins, and the first peer changes from one to the next, so that drift of the machine meets
//! all peers alike.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, io, thread};

use crate::Result;
use crate::args::{Args, Job};
use crate::cell::{CellResult, CellSpec};
use crate::children;
use crate::fleet::{Fleet, default_server};
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
    let per_cell = args.seconds + args.warmup_s + 0.3;
    eprint!("{}", machine.text());
    eprintln!("{cells} cells, about {:.0} min", (cells as f64 * per_cell / 60.0).ceil());
    if !children::has_setpriv() {
        eprintln!("no `setpriv --pdeathsig` here: SIGKILL of this process would leave servers");
    }

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
                        one_key: args.job == Job::Handover,
                        ports: chosen.clone().map(|node| node.port).collect(),
                        server_pids: chosen.map(|node| node.pid()).collect(),
                        spinner_pids: spinners.iter().map(|spinner| spinner.pid()).collect(),
                        warmup_s: args.warmup_s,
                        seconds: args.seconds,
                    };
                    let result = in_child(&spec).unwrap_or_else(|error| CellResult {
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
    Ok(Report { machine, job: args.job, measured })
}

/// Runs one cell in a process of its own; its log goes to our standard error.
fn in_child(spec: &CellSpec) -> Result<CellResult> {
    let program = env::current_exe()?;
    let args = ["cell".to_owned(), serde_json::to_string(spec)?];
    let (child, output) = children::spawn(Path::new(&program), &args, Stdio::piped())?;
    let mut output = output.ok_or("the cell has no output")?;
    let (sender, receiver) = mpsc::channel();
    // A thread reads, so that this one can give up; it sleeps while the cell runs.
    thread::spawn(move || {
        let mut text = String::new();
        let result = output.read_to_string(&mut text).map(|_| text);
        let _ = sender.send(result);
    });
    let limit = Duration::from_secs_f64(spec.warmup_s + spec.seconds + 60.0);
    let text = receiver.recv_timeout(limit).map_err(|_| "the cell did not end in time")??;
    drop(child);
    let parsed = serde_json::from_str(text.trim());
    Ok(parsed.map_err(|_| "the cell failed; its error is above")?)
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
