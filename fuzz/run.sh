#!/bin/sh
# Fuzzes the readers: run.sh RUNS [TARGET…] runs each target (default: all) RUNS times from the committed corpus, and
# prints a table row for each. Needs a nightly compiler and a C++ compiler. Findings land in artifacts/.
#   run.sh build         builds the targets only
#   run.sh seed          writes the first inputs
#   run.sh minimise DIR  merges what was found in DIR/TARGET into the corpus, as few inputs as give the same coverage
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
all="npy npz csv idx svmlight xc safetensors jsonl thrift detect arrow parquet images"
build() {
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
        cargo +nightly build --quiet --release --target "$host" --bins
}
bin="target/$host/release"
case "${1:?runs, build, seed or minimise}" in
build) build; exit ;;
seed) build; "$bin/seed"; exit ;;
minimise)
    for target in $all; do
        [ -d "$2/$target" ] || continue
        mkdir -p "corpus/$target.new"
        "$bin/$target" -merge=1 "corpus/$target.new" "corpus/$target" "$2/$target" >/dev/null 2>&1
        rm -r "corpus/$target" && mv "corpus/$target.new" "corpus/$target"
    done
    exit ;;
esac
runs=$1; shift
found=${FOUND:-target/found}
echo "| target | executions | seconds | inputs with new coverage | findings |"
echo "|---|---|---|---|---|"
for target in ${*:-$all}; do
    mkdir -p "$found/$target" "artifacts/$target"
    log="$found/$target.log"
    start=$(date +%s)
    "$bin/$target" "$found/$target" "corpus/$target" -runs="$runs" -seed=1 -max_len=1024 -rss_limit_mb=4096 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"$log" 2>&1 || true
    seconds=$(($(date +%s) - start))
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    findings=$(find "artifacts/$target" -type f | wc -l)
    echo "| \`$target\` | ${done:-0} | $seconds | $(find "$found/$target" -type f | wc -l) | $findings |"
done
