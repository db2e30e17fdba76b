#!/bin/sh
# Makes VERSION.recording, and what it reads to, as root: make.sh MMAPTRACE VERSION
set -eu
tool=$(realpath "$1")
cd "$(dirname "$0")"
# Gone afterwards: functions must be found nowhere, for here they would be and elsewhere not.
place=/tmp/mmaptrace-golden
mkdir "$place"
gcc -static -fno-omit-frame-pointer -o "$place/program" program.c
"$tool" record -q -U -T -o "$2.recording" -- "$place/program" || test $? = 3
rm -r "$place"
"$tool" replay -q -U -T "$2.recording" > "$2.text"
pid=$(sed -n '1s/.*\[\([0-9]*\) .*/\1/p' "$2.text")
"$tool" dump --at exit -i "$2.recording" "$pid" > "$2.maps"
