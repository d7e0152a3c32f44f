//! How soon each sampling strategy finds what is wrong: `cargo bench --bench strategies [-- [SEEDS] [FILTER]…]`.
//!
//! Every case of the scenarios that is expected to be violated, sampled from 200 seeds (or SEEDS): the number of schedules up to the first
//! violation, median / 90th percentile / maximum, for each strategy by itself and for the mixture that `portfolio` samples with. The search
//! half of the portfolio, which finds the smallest of them sooner, is left out. Then the verdict on what is promised of the mixture:
//!
//! * its median is at most twice that of the best single strategy, for three quarters of the policies (and of the cases);
//! * it is never more than (number of strategies) times that;
//! * it misses nothing within 20,000 schedules.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../sims/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the same files are a test target, which uses more of them")]
mod sims;

use std::collections::BTreeMap;

use flockstep::scenario::{Case, Expected};
use flockstep::{Method, Strategy, Verdict};

/// No bug may take longer.
const SCHEDULES: u64 = 20_000;

/// The single strategies.
const SINGLE: [Method; 6] =
    [Method::Random, Method::Burst, Method::Urw, Method::Surw, Method::Pos, Method::Pct { depth: 3 }];

/// Schedules to the violation for each seed, in ascending order; a miss counts as one more than there were.
fn schedules(case: &Case, method: Method, seeds: u64) -> Vec<u64> {
    let explored = |seed| {
        let strategy = Strategy { method, seed, ..Strategy::random(SCHEDULES).unshortened() };
        let exploration = case.scenario.explore(strategy);
        match exploration.verdict {
            Verdict::Upheld { .. } => SCHEDULES + 1,
            verdict if case.expected.is_met_by(&verdict) => exploration.executions,
            Verdict::Violated(failure) => panic!("not what is expected:\n{}", failure.report()),
            Verdict::Inconclusive(why) => panic!("{why}"),
        }
    };
    let mut all: Vec<u64> = (0..seeds).map(explored).collect();
    all.sort_unstable();
    all
}

fn median(sorted: &[u64]) -> u64 {
    sorted[sorted.len() / 2]
}

fn cell(sorted: &[u64]) -> String {
    let number = |n: u64| if n > SCHEDULES { "-".to_owned() } else { n.to_string() };
    let high = sorted[sorted.len() * 9 / 10];
    let most = sorted[sorted.len() - 1];
    format!("{}/{}/{}", number(median(sorted)), number(high), number(most))
}

#[expect(clippy::disallowed_methods, reason = "the command line of a benchmark")]
fn main() {
    let (mut seeds, mut filters) = (200, Vec::new());
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.parse() {
            Ok(number) => seeds = number,
            Err(_) => filters.push(argument),
        }
    }
    let wanted = |case: &Case| {
        let name = format!("{} {}", case.scenario.name(), case.scenario.case_name());
        case.expected != Expected::Upheld && (filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())))
    };
    println!("schedules to the first violation, median/90 %/maximum over {seeds} seeds; - is none within {SCHEDULES}");
    let names: Vec<&str> = SINGLE.iter().map(|method| method.name()).chain(["mixed", "ratio"]).collect();
    println!("{:64}{}", "", names.iter().map(|name| format!("{name:>18}")).collect::<String>());
    // The worst ratio of each policy, and all of them.
    let (mut policies, mut ratios, mut missed) = (BTreeMap::<String, f64>::new(), Vec::new(), 0);
    for case in sims::all().iter().flat_map(|policy| &policy.cases).filter(|case| wanted(case)) {
        let single = SINGLE.map(|method| schedules(case, method, seeds));
        let mixed = schedules(case, Method::Mixed, seeds);
        let best = single.iter().map(|all| median(all)).min().expect("there are some");
        let ratio = median(&mixed) as f64 / best as f64;
        missed += mixed.iter().filter(|&&n| n > SCHEDULES).count();
        let cells: String = single.iter().chain([&mixed]).map(|all| format!("{:>18}", cell(all))).collect();
        println!("{:64}{cells}{ratio:>18.2}", format!("{} {}", case.scenario.name(), case.scenario.case_name()));
        ratios.push(ratio);
        let worst = policies.entry(case.scenario.name().to_owned()).or_default();
        *worst = worst.max(ratio);
    }
    let within = |ratios: &[f64]| ratios.iter().filter(|&&ratio| ratio <= 2.0).count();
    let policies: Vec<f64> = policies.into_values().collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let word = |holds: bool| if holds { "holds" } else { "DOES NOT HOLD" };
    let most = [(policies.len(), within(&policies)), (ratios.len(), within(&ratios))];
    let enough = most.iter().all(|&(all, good)| 4 * good >= 3 * all);
    println!(
        "at most twice the best for three quarters: {} of {} policies, {} of {} cases: {}",
        most[0].1,
        most[0].0,
        most[1].1,
        most[1].0,
        word(enough)
    );
    println!("never more than {} times the best: {worst:.2}: {}", SINGLE.len(), word(worst <= SINGLE.len() as f64));
    println!("no miss within {SCHEDULES} schedules: {missed} missed: {}", word(missed == 0));
}
