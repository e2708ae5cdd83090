#!/bin/sh
# RUSTC_WRAPPER of run.sh: adds coverage counters, comparisons, overflow checks and debug assertions to the crates that
# INSTRUMENT names (`all`: to every one). Counters of crates that are not fuzzed cost most of an execution: libFuzzer visits each.
name=
previous=
for word in "$@"; do
    [ "$previous" = --crate-name ] && name=$word
    previous=$word
done
case " $INSTRUMENT keener_fuzz $TARGETS " in
*" $name "* | *" all "*) ;;
*) exec "$@" ;;
esac
# Macros and build scripts run in the compiler, without libFuzzer.
case " $* " in *proc-macro* | *build_script* | *"--crate-name ___"*) exec "$@" ;; esac
exec "$@" --cfg fuzzing -Cdebug-assertions=on -Coverflow-checks=on -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
