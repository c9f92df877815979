//! The log's tail, harmed: what was durable is there, or an error says that it is not; of what was
//! not, a beginning is there.

use sapwood_damage::files::Files;
use sapwood_damage::harm::{Harm, Legal};
use sapwood_damage::judge::{Use, Verdict, judge_files};
use sapwood_damage::specimen::Specimen;
use sapwood_damage::sweep::Sweep;

fn judge_harm(specimen: &Specimen, harm: &Harm) -> Verdict {
    let files = harm.apply(specimen);
    judge_files(specimen, &files, Legal::SinceCheckpoint, false, Use::Everything)
}

fn tail_of(files: &Files) -> &str {
    files.names().find(|name| name.starts_with("tail-")).expect("a database with a tail")
}

#[test]
fn a_killed_database_has_its_last_commits_in_the_tail() {
    let specimen = Specimen::tailed(0);
    let verdict = judge_files(&specimen, &specimen.files, Legal::Newest, false, Use::Everything);
    assert!(verdict.errors.is_empty(), "{:?}", verdict.errors);
    let mut without = specimen.clone();
    let name = tail_of(&specimen.files).to_owned();
    without.files.0.remove(&name);
    without.states.truncate(specimen.checkpointed + 1);
    let verdict = judge_files(&without, &without.files, Legal::Newest, false, Use::Everything);
    assert!(verdict.errors.is_empty(), "what is durable needs no tail: {:?}", verdict.errors);
}

#[test]
fn a_flipped_bit_of_the_tail_costs_nothing_durable() {
    let mut sweep = Sweep::new("a_flipped_bit_of_the_tail_costs_nothing_durable", 11);
    let specimen = Specimen::tailed(0);
    let file = tail_of(&specimen.files).to_owned();
    let bits = (0..specimen.files.bytes(&file).len()).flat_map(|offset| {
        let file = file.clone();
        (0..8).map(move |bit| Harm::Flip { file: file.clone(), offset, bit })
    });
    sweep.go("tailed", bits, |_, harm| judge_harm(&specimen, harm).errors);
    sweep.expect(500);
    assert!(sweep.errors.is_empty(), "{:?}", sweep.errors);
}

#[test]
fn a_flipped_bit_of_the_log_is_told_with_a_tail_behind_it() {
    let mut sweep = Sweep::new("a_flipped_bit_of_the_log_is_told_with_a_tail_behind_it", 23);
    let specimen = Specimen::tailed(0);
    let logs = specimen.files.logs().filter(|name| name.starts_with("wal-"));
    let bits = logs.flat_map(|name| {
        let length = specimen.files.bytes(name).len();
        (0..length).map(|offset| Harm::Flip { file: name.to_owned(), offset, bit: 3 })
    });
    sweep.go("tailed", bits, |_, harm| judge_harm(&specimen, harm).errors);
    sweep.expect(100);
    assert!(!sweep.errors.is_empty());
}

#[test]
fn a_tail_of_another_length_or_of_somebody_else_costs_nothing_durable() {
    let specimen = Specimen::tailed(0);
    let file = tail_of(&specimen.files).to_owned();
    let whole = specimen.files.bytes(&file).to_vec();
    let stranger = Specimen::tailed(1);
    let moments = specimen.moments.iter().map(|(_, files)| files);
    let older = moments.filter_map(|files| files.get(&file)).cloned();
    let cut = (0..whole.len()).step_by(13).map(|length| whole[..length].to_vec());
    let mut others: Vec<Vec<u8>> = older.chain(cut).collect();
    others.push(stranger.files.bytes(tail_of(&stranger.files)).to_vec());
    others.push([&whole[..], &[7; 5000]].concat());
    others.push(vec![0xff; 3 << 20]);
    assert!(others.len() > 50);
    for bytes in others {
        let mut files = specimen.files.clone();
        files.0.insert(file.clone(), bytes);
        let verdict =
            judge_files(&specimen, &files, Legal::SinceCheckpoint, false, Use::Everything);
        assert!(verdict.errors.is_empty(), "{:?}", verdict.errors);
    }
}
