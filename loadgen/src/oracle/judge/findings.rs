//! What the checker found, read out of its memory.

use std::sync::atomic::Ordering;

use super::crowd::TORN_READS;
use super::{
    Findings, GRANTS, HEADER, OVERRUNS, Oracle, RECORD_WORDS, RECORDS, Span, UNRESOLVED,
    VIOLATIONS, Violation,
};
use crate::mode::Class;
use crate::num;

impl Oracle {
    /// What was found; call when every process is done.
    pub(crate) fn findings(&self) -> Findings {
        let header = |at| self.word(at).load(Ordering::Acquire);
        let mut findings = Findings {
            sections: header(GRANTS),
            violations: header(VIOLATIONS),
            unresolved: header(UNRESOLVED),
            overruns: header(OVERRUNS),
            tokens: self.tokens(),
            ..Findings::default()
        };
        for key in 0..self.keys as u64 {
            let field = |at| self.cell(key, at).load(Ordering::Acquire);
            if field(4) != 0 {
                findings.unjudged_keys += 1;
            } else {
                findings.lost_updates += field(3).abs_diff(field(2));
                findings.torn_reads += if self.is_crowded(key) { field(TORN_READS) } else { 0 };
            }
        }
        for at in 0..RECORDS {
            let field = |offset| header(HEADER + at * RECORD_WORDS + offset);
            if field(7) & 1 == 1 {
                let span = |from| Span {
                    client: num::u32_of(field(from)),
                    begin_ns: field(from + 1),
                    end_ns: field(from + 2),
                };
                let class = |shift: u32| Class::from_code(field(7) >> shift & 0xFF);
                findings.examples.push(Violation {
                    key: field(0),
                    held: span(1),
                    granted: span(4),
                    classes: [class(8), class(16)],
                });
            }
        }
        findings
    }
}
