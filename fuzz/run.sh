#!/bin/sh
# Fuzzes the readers with libFuzzer: run.sh RUNS [TARGET…] runs each target (default: all) RUNS times from the committed
# corpus, and prints a table row for each. Needs a C++ compiler, no nightly. Findings land in artifacts/.
#   run.sh build         builds the targets only
#   run.sh seed          writes the first inputs
#   run.sh minimise DIR  merges what was found in DIR/TARGET into the corpus, as few inputs as give the same coverage
# Targets of our own parsers count coverage in our own code; those of other crates' parsers also in these.
set -eu
cd "$(dirname "$0")"
own="npy npz csv idx svmlight xc safetensors jsonl thrift detect"
other="arrow parquet images"
bins() { for target in $1; do printf -- '--bin %s ' "$target"; done; }
build() {
    TARGETS="$own $other" RUSTC_WRAPPER="$PWD/wrapper.sh"
    export TARGETS RUSTC_WRAPPER
    INSTRUMENT=keener_data CARGO_TARGET_DIR=target/own cargo build --quiet --release $(bins "$own")
    INSTRUMENT="keener_data arrow_array arrow_buffer arrow_data arrow_ipc arrow_schema flatbuffers parquet image png zune_jpeg" \
        CARGO_TARGET_DIR=target/other cargo build --quiet --release $(bins "$other")
}
bin() { case " $own " in *" $1 "*) echo "target/own/release/$1" ;; *) echo "target/other/release/$1" ;; esac; }
case "${1:?runs, build, seed or minimise}" in
build) build; exit ;;
seed) cargo run --quiet --release --manifest-path ../Cargo.toml -p keener-data --example fuzz_seeds; exit ;;
minimise)
    for target in $own $other; do
        [ -d "$2/$target" ] || continue
        mkdir -p "corpus/$target.new"
        "$(bin "$target")" -merge=1 "corpus/$target.new" "corpus/$target" "$2/$target" >/dev/null 2>&1
        rm -r "corpus/$target" && mv "corpus/$target.new" "corpus/$target"
    done
    exit ;;
esac
runs=$1; shift
found=${FOUND:-target/found}
echo "| target | executions | seconds | inputs with new coverage | findings |"
echo "|---|---|---|---|---|"
for target in ${*:-$own $other}; do
    mkdir -p "$found/$target" "artifacts/$target"
    log="$found/$target.log"
    start=$(date +%s)
    "$(bin "$target")" "$found/$target" "corpus/$target" -runs="$runs" -seed=1 -max_len=1024 -rss_limit_mb=4096 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"$log" 2>&1 || true
    seconds=$(($(date +%s) - start))
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    findings=$(find "artifacts/$target" -type f | wc -l)
    echo "| \`$target\` | ${done:-0} | $seconds | $(find "$found/$target" -type f | wc -l) | $findings |"
done
