//! Where a curve of latency over throughput bends.
//!
//! By Kleinrock's *power*, throughput over latency (L. Kleinrock, "Power and Deterministic Rules of
//! Thumb for Probabilistic Problems in Computer Communications", ICC 1979): up to its highest point
//! more load brings more than it costs, beyond it less. It needs no scale, no threshold and no
//! smoothness. A highest point at the end of the curve says only that the bend is farther out.

use serde::Serialize;

use super::Point;
use super::words::{self, Setting};

/// Points below which a curve has no shape.
const FEWEST: usize = 3;

/// The bend of one curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Knee {
    /// What all points of the curve have in common; empty: it is the only curve.
    pub(crate) curve: String,
    /// The settings of the point; `null` if the curve did not bend.
    pub(crate) settings: Option<Vec<Setting>>,
    pub(crate) throughput: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
}

/// A point in the plane: locks per second and p99 in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dot<'a> {
    pub(super) point: &'a Point,
    pub(super) throughput: f64,
    pub(super) p99_ns: f64,
}

/// A curve: points that differ in the first parameter alone, by throughput.
#[derive(Debug)]
pub(super) struct Curve<'a> {
    pub(super) name: String,
    pub(super) dots: Vec<Dot<'a>>,
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

/// The curves of a sweep, of valid points only.
pub(super) fn curves(points: &[Point]) -> Vec<Curve<'_>> {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for point in points.iter().filter(|point| point.valid) {
        let rest = point.settings.get(1..).unwrap_or_default();
        let name = words::label(rest);
        let figures = &point.figures;
        let Some((throughput, p99_ns)) = figures.throughput.zip(figures.response_p99_ns) else {
            continue;
        };
        let dot = Dot { point, throughput, p99_ns };
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.dots.push(dot),
            None => curves.push(Curve { name, dots: vec![dot] }),
        }
    }
    for curve in &mut curves {
        curve.dots.sort_by(|a, b| a.throughput.total_cmp(&b.throughput));
    }
    curves
}

/// The place of the highest power, unless that is the end of the curve.
fn bend(dots: &[(f64, f64)]) -> Option<usize> {
    if dots.len() < FEWEST {
        return None;
    }
    let power = |&(throughput, latency): &(f64, f64)| throughput / latency.max(1.0);
    let best = dots.iter().enumerate().max_by(|(_, a), (_, b)| power(a).total_cmp(&power(b)))?.0;
    (best + 1 < dots.len()).then_some(best)
}

/// The bend of every curve.
pub(super) fn knees(points: &[Point]) -> Vec<Knee> {
    let knee = |curve: Curve<'_>| {
        let dots: Vec<(f64, f64)> =
            curve.dots.iter().map(|dot| (dot.throughput, dot.p99_ns)).collect();
        let dot = bend(&dots).and_then(|at| curve.dots.get(at));
        Knee {
            curve: curve.name.clone(),
            settings: dot.map(|dot| dot.point.settings.clone()),
            throughput: dot.map(|dot| dot.throughput),
            p99_ns: dot.map(|dot| dot.p99_ns),
        }
    };
    curves(points).into_iter().map(knee).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a queue with one server: latency `1 / (1 - load)`.
    fn queue(loads: &[f64]) -> Vec<(f64, f64)> {
        loads.iter().map(|&load| (load * 10_000.0, 1e6 / (1.0 - load))).collect()
    }

    #[test]
    fn a_queue_bends_at_half_its_capacity_as_theory_says() {
        assert_eq!(bend(&queue(&[0.1, 0.2, 0.3, 0.5, 0.7, 0.9])), Some(3));
    }

    #[test]
    fn a_curve_that_ends_before_the_bend_or_has_no_shape_has_none() {
        assert_eq!(bend(&queue(&[0.1, 0.2, 0.3])), None);
        assert_eq!(bend(&queue(&[0.5, 0.9])), None);
        assert_eq!(bend(&[]), None);
    }
}
