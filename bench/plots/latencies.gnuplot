# SPDX-License-Identifier: MIT
# Latency percentiles: gnuplot -c latencies.gnuplot DATA SVG TITLE. One row for each candidate.
load "style.gnuplot"
stats ARG1 using 2 nooutput
rows = STATS_records
set terminal svg size 900, 130 + 24 * rows font "sans-serif,12" background "white"
set output ARG2
set title ARG3 . "   (blue: strait, grey: floor, orange: peers)" noenhanced
set logscale x
set format x "%g"
set grid xtics ytics
set ytics noenhanced
set yrange [-0.7:rows - 0.3]
set key outside bottom center horizontal
plot ARG1 using 2:0:2:4:(colour_of($5)) with xerrorbars pointtype 0 linewidth 1 linecolor rgb variable notitle, \
     "" using 2:0:(colour_of($5)):ytic(1) with points pointtype 7 pointsize 1 linecolor rgb variable notitle, \
     "" using 3:0:(colour_of($5)) with points pointtype 9 pointsize 1 linecolor rgb variable notitle, \
     "" using 4:0:(colour_of($5)) with points pointtype 13 pointsize 1 linecolor rgb variable notitle, \
     NaN with points pointtype 7 linecolor rgb "#444444" title "p50", \
     NaN with points pointtype 9 linecolor rgb "#444444" title "p99", \
     NaN with points pointtype 13 linecolor rgb "#444444" title "p99.9"
