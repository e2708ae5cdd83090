#!/usr/bin/env bash
# Lines of each objective: code (without comments, blanks and tests), and its registry entry. Run from the root.
for f in crates/keener/src/objective/*.rs; do n=$(basename $f .rs); case $n in mod|registry|common|sum|testing) continue;; esac
awk -v n=$n '/#\[cfg\(test\)\]/{exit} /^pub\(crate\) const [A-Z]+: Entry/{e=1} {t++; if(e){en++} else if($0 !~ /^ *\/\// && $0 !~ /^ *$/){c++}} END{printf "| `%s` | %d | %d |\n", n, c, en}' $f; done
