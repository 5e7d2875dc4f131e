# SPDX-License-Identifier: MIT
# Throughput: gnuplot -c bars.gnuplot DATA SVG TITLE. One panel for each block of DATA.
load "style.gnuplot"
stats ARG1 using 2 name "all" nooutput
panels = all_blocks
across = panels < 3 ? panels : panels == 4 ? 2 : 3
down = (panels + across - 1) / across
most = 1
array rows[panels]
array low[panels]
array high[panels]
do for [i = 1:panels] {
    stats ARG1 using 2 index i - 1 nooutput
    rows[i] = STATS_records
    low[i] = 10 ** floor(log10(0.8 * STATS_min))
    high[i] = 2.5 * STATS_max
    most = rows[i] > most ? rows[i] : most
}
set terminal svg size 560 * across, (90 + 20 * most) * down + 60 font "sans-serif,12" background "white"
set output ARG2
set multiplot layout down, across title ARG3 . "   (median, quartiles; blue: strait, grey: floor, orange: peers)" noenhanced
set logscale x
set format x "%g"
set grid xtics noytics
set lmargin 36
set rmargin 4
unset key
do for [i = 1:panels] {
    set xrange [*:*]
    set yrange [*:*]
    set table $unused
    plot ARG1 index i - 1 using (column_name = strcol(6), $2):0 with table
    unset table
    set xrange [low[i]:high[i]]
    set yrange [-0.7:rows[i] - 0.3]
    set title column_name noenhanced offset 0, -0.5
    set ytics noenhanced
    plot ARG1 index i - 1 using (low[i]):0:(low[i]):2:($0 - 0.38):($0 + 0.38):(colour_of($5)):ytic(1) with boxxyerror linecolor rgb variable, \
         "" index i - 1 using 2:0:3:4 with xerrorbars pointtype 0 linecolor rgb "#222222", \
         "" index i - 1 using ($4 > $2 ? $4 : $2):0:(sprintf("%.3g", $2)) with labels left offset 0.8, 0 font ",10"
}
unset multiplot
