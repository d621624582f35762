//! What the codec costs per frame: commands to bytes, bytes to replies. No sockets.
//!
//! `cargo bench --bench codec`. Every case works on warm buffers that keep their capacity, as a
//! connection's do; the figures are per frame, or per stream where the name says so.

#![expect(clippy::expect_used, reason = "a bench whose set-up fails has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use redlatch::Token;
use redlatch::bench_internals::{Lock, Replies, encode_acquire, encode_release};

const TTL_MS: u64 = 10_000;

fn token(number: usize) -> Token {
    Token::from_hex(&format!("{number:032x}")).expect("32 digits")
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let mut out = Vec::with_capacity(32 << 10);
    let one = token(1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("set_nx_px", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_acquire(&mut out, black_box(b"orders:00000042"), black_box(&one), TTL_MS);
            black_box(out.len())
        });
    });
    for count in [1_usize, 16, 64] {
        let lock = |number| {
            Lock::asked_for(format!("orders:{number:08}").as_bytes(), token(number), TTL_MS)
        };
        let locks: Vec<_> = (0..count).map(lock).collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("release/{count}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_release(&mut out, black_box(&locks));
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let bulk = b"$20\r\n00000000000000000042\r\n";
    let letters = [b"$16\r\n".as_slice(), &[b'd'; 16], b"\r\n"].concat();
    let error = b"-NOSCRIPT No matching script. Please use EVAL.\r\n";
    // What a busy connection reads: three grants in four, one denial in eight, a release's letters.
    let mixed = [b"+OK\r\n".as_slice(); 6].into_iter().chain([b"_\r\n".as_slice(), &letters]);
    let stream = mixed.cycle().take(64).collect::<Vec<_>>().concat();
    let cases: [(&str, &[u8], usize); 6] = [
        ("ok", b"+OK\r\n", 1),
        ("nil", b"_\r\n", 1),
        ("bulk_20", bulk, 1),
        ("letters_16", &letters, 1),
        ("error", error, 1),
        ("stream_of_64", &stream, 64),
    ];
    for (name, input, count) in cases {
        let mut replies = Replies::resp3();
        assert_eq!(replies.decode(input), Some(count), "{name}");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| replies.decode(black_box(input)));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}
