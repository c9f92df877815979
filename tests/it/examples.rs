//! Every example does what it says: they check themselves.

/// A test for each example, and the list of all.
macro_rules! examples {
    ($($test:ident: $example:ident at $path:literal),* $(,)?) => {
        $(
            #[path = $path]
            mod $example;

            #[test]
            fn $test() {
                $example::main().unwrap();
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($example)),*];
    };
}

examples! {
    append_runs: append at "../../examples/append.rs",
    backup_runs: backup at "../../examples/backup.rs",
    cursors_runs: cursors at "../../examples/cursors.rs",
    ingest_runs: ingest at "../../examples/ingest.rs",
    named_trees_runs: named_trees at "../../examples/named_trees.rs",
    read_only_runs: read_only at "../../examples/read_only.rs",
    salvage_runs: salvage at "../../examples/salvage.rs",
    snapshots_runs: snapshots at "../../examples/snapshots.rs",
    tickets_runs: tickets at "../../examples/tickets.rs",
    transactions_runs: transactions at "../../examples/transactions.rs",
    typed_runs: typed at "../../examples/typed.rs",
}

/// Examples that are measurements: they take arguments, and the demo and the benchmarks run them.
const MEASUREMENTS: [&str; 4] = ["cliffs", "meaning", "movement", "random_load"];

#[test]
fn no_example_is_left_out() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What several of them share.
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let known = NAMES.contains(&&*name) || MEASUREMENTS.contains(&&*name);
        assert!(known, "the example {name} is run by no test");
    }
}
