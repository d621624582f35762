//! Histories written by processes and read back.

use super::*;
use crate::config::RunConfig;
use crate::scratch::Scratch;
use crate::verdict::Safety;

fn record(cell: u32, begin_ns: u64) -> Record {
    Record {
        cell,
        client: 0xAB_CDEF,
        class: Class::Permit,
        overran: true,
        generation: 1 << 40,
        begin_ns,
        end_ns: begin_ns + 5,
        token: u64::MAX,
    }
}

fn head(config: &RunConfig) -> Head {
    let findings = crate::oracle::judge::Findings::default();
    let online = Online::new(Safety::Holds, None, &findings);
    Head { config: config.clone(), nodes: 5, measured_ns: 1_000, online }
}

#[test]
fn a_record_is_read_back() {
    let one = record(7, 123_456_789_012_345);
    assert_eq!(Record::from_bytes(&one.to_bytes()), one);
}

#[test]
fn two_processes_histories_are_one_and_the_scratch_may_go() {
    let config = RunConfig { history: Keep::Full, ..RunConfig::for_tests() };
    let scratch = Scratch::new("history").unwrap();
    let out = Scratch::new("history-out").unwrap();
    let cells = scratch.path().join("cells");
    let writers = [0, 1].map(|_| Writer::beside(&cells, &config).unwrap().unwrap());
    std::fs::write(&cells, [7; 10 * RECORD_BYTES]).unwrap();
    let files = Files::open(scratch.path()).unwrap();
    drop(scratch);
    for (at, writer) in writers.iter().enumerate() {
        let begin = 10 * at as u64;
        let parts = vec![(3, Class::Shared), (4, Class::Exclusive)];
        Note::new(writer, parts, (1, 2, 9), (begin, begin + 100)).left(begin + 5, true);
    }
    let [first, _] = &writers;
    // Released too late, and never released.
    Note::new(first, vec![(5, Class::Exclusive)], (1, 3, 0), (50, 60)).left(70, false);
    // Renewed meanwhile; and granted when its validity was over.
    Note::new(first, vec![(7, Class::Exclusive)], (1, 5, 0), (50, 60)).left(70, true);
    Note::new(first, vec![(8, Class::Exclusive)], (1, 6, 0), (50, 40)).left(70, false);
    drop(Note::new(first, vec![(6, Class::Exclusive)], (1, 4, 0), (80, 90)));
    writers.iter().for_each(Writer::flush);
    let path = out.path().join("history.bin");
    files.write(&path, &head(&config)).unwrap();
    let history = read(&path).unwrap();
    assert_eq!((history.head, history.stopped_ns), (head(&config), None));
    let mut spans: Vec<_> = history
        .records
        .iter()
        .map(|of| (of.cell, of.begin_ns, of.end_ns, of.overran, of.token))
        .collect();
    spans.sort_unstable();
    let expected = [
        (3, 0, 5, false, 9),
        (3, 10, 15, false, 9),
        (4, 0, 5, false, 9),
        (4, 10, 15, false, 9),
        (5, 50, 60, true, 0),
        (6, 80, 90, true, 0),
        (7, 50, 70, false, 0),
        (8, 50, 50, true, 0),
    ];
    assert_eq!(spans, expected);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("inside a record"));
    std::fs::write(&path, b"something else").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("no history"));
}

#[test]
fn a_sample_keeps_whole_names_and_the_time_around_faults() {
    let config = RunConfig {
        history: Keep::Sampled,
        faults: vec!["kill@10s/1s".to_owned()],
        ..RunConfig::for_tests()
    };
    let scratch = Scratch::new("sample").unwrap();
    let writer = Writer::beside(&scratch.path().join("cells"), &config).unwrap().unwrap();
    let second = crate::clock::NS_PER_S;
    let keeps = |cells: &[u64], at_s: u64| {
        writer.keeps(cells.iter().copied(), (100 + at_s) * second, 100 * second)
    };
    assert!(keeps(&[0], 1) && keeps(&[64], 1) && keeps(&[3, 128], 1));
    assert!(!keeps(&[1], 1) && !keeps(&[63, 65], 1));
    assert!(keeps(&[1], 9) && keeps(&[1], 12) && !keeps(&[1], 7) && !keeps(&[1], 13));
    let none = RunConfig::for_tests();
    assert!(Writer::beside(&scratch.path().join("cells"), &none).unwrap().is_none());
}

#[test]
fn a_full_history_stops_with_a_mark() {
    // 64 processes have 4 MiB each.
    let config = RunConfig { history: Keep::Full, processes: 64, ..RunConfig::for_tests() };
    let scratch = Scratch::new("full").unwrap();
    let writer = Writer::beside(&scratch.path().join("cells"), &config).unwrap().unwrap();
    let files = Files::open(scratch.path()).unwrap();
    for at in 0..110_000 {
        Note::new(&writer, vec![(1, Class::Exclusive)], (1, at, 0), (at, at + 1)).left(at, true);
    }
    writer.flush();
    let path = scratch.path().join("history.bin");
    files.write(&path, &head(&config)).unwrap();
    let history = read(&path).unwrap();
    let kept = history.records.len() as u64;
    assert!((104_000..=4 * 1024 * 1024 / 40).contains(&kept), "{kept}");
    assert_eq!(history.stopped_ns, Some(kept), "the first that had no place");
    let head_bytes = serde_json::to_vec(&history.head).unwrap().len() as u64;
    let records_bytes = std::fs::metadata(&path).unwrap().len() - 12 - head_bytes;
    assert_eq!(records_bytes, (kept + 1) * RECORD_BYTES as u64, "one mark and nothing after it");
    assert!(records_bytes <= 4 << 20, "{records_bytes}");
}

fn stop(at_ns: u64) -> Record {
    Record { cell: STOPPED, begin_ns: at_ns, end_ns: at_ns, ..record(0, 0) }
}

/// A history with these records behind its head.
fn written(dir: &std::path::Path, records: &[Record], more: &[u8]) -> std::path::PathBuf {
    let mut bytes: Vec<u8> = records.iter().flat_map(|of| of.to_bytes()).collect();
    bytes.extend_from_slice(more);
    std::fs::write(dir.join("history-1-0"), bytes).unwrap();
    let path = dir.join("history.bin");
    let head = head(&RunConfig::for_tests());
    Files::open(dir).unwrap().write(&path, &head).unwrap();
    std::fs::remove_file(dir.join("history-1-0")).unwrap();
    path
}

#[test]
fn the_first_stop_counts_and_half_a_record_of_a_killed_process_does_not() {
    let dir = Scratch::new("stops").unwrap();
    let path = written(dir.path(), &[stop(90), record(1, 5), stop(50)], &[1, 2, 3]);
    let history = read(&path).unwrap();
    assert_eq!((history.stopped_ns, history.records.len()), (Some(50), 1));
}

#[test]
fn a_history_that_cannot_be_is_refused_with_a_reason() {
    let dir = Scratch::new("bad-history").unwrap();
    let why = |path: &std::path::Path| read(path).unwrap_err().to_string();
    let backwards = Record { end_ns: 4, ..record(1, 5) };
    assert!(why(&written(dir.path(), &[backwards], &[])).contains("before it begins"));
    let path = dir.path().join("other.bin");
    std::fs::write(&path, [&MAGIC[..], &u32::MAX.to_le_bytes()].concat()).unwrap();
    assert!(why(&path).contains("head is too long"), "{}", why(&path));
    // Sparse: it takes no room.
    std::fs::File::create(&path).unwrap().set_len(WHOLE_BYTES + (2 << 20)).unwrap();
    assert!(why(&path).contains("larger than any"), "{}", why(&path));
}

#[test]
fn what_only_counters_saw_is_told_whichever_they_were() {
    let by_counters = |lost_updates, torn_reads| {
        let findings = crate::oracle::judge::Findings {
            lost_updates,
            torn_reads,
            ..crate::oracle::judge::Findings::default()
        };
        Online::new(Safety::Violated, None, &findings).by_counters
    };
    assert!(by_counters(1, 0) && by_counters(0, 1) && !by_counters(0, 0));
}
