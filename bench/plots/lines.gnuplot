# SPDX-License-Identifier: MIT
# Fan-in: gnuplot -c lines.gnuplot DATA SVG TITLE. One curve for each block of DATA.
load "style.gnuplot"
stats ARG1 using 2 name "all" nooutput
curves = all_blocks
array names[curves]
array kinds[curves]
do for [i = 1:curves] {
    set table $unused
    plot ARG1 index i - 1 using (names[i] = strcol(4), kinds[i] = $3, $1):2 with table
    unset table
}
set terminal svg size 1000, (curves > 20 ? 130 + 20 * curves : 560) font "sans-serif,12" background "white"
set output ARG2
set title ARG3 . "\n(thick, blue: strait; orange: peers)" noenhanced
set logscale xy 2
set logscale y 10
set format "%g"
set grid xtics ytics
set xlabel "senders"
set ylabel "million messages per second"
set key outside right top noenhanced
# Shades of blue and of orange.
strait_colours = "#0b3d91 #1f5fbf #4a90e2 #13a0a8 #5b4bc4 #2e7d5b"
peer_colours = "#e08a2c #c0392b #b5651d #d4a017 #8e5a2b #d9667b #7a7a2a #a04000"
nth(colours, n) = word(colours, n % words(colours) + 1)
array colours[curves]
array dashes[curves]
strait = 0
peer = 0
do for [i = 1:curves] {
    colours[i] = kinds[i] == 0 ? nth(strait_colours, strait) : kinds[i] == 1 ? floor_colour : nth(peer_colours, peer)
    dashes[i] = kinds[i] == 0 ? 1 : 1 + i % 4
    strait = strait + (kinds[i] == 0)
    peer = peer + (kinds[i] == 2)
}
plot for [i = 1:curves] ARG1 index i - 1 using 1:2 with linespoints \
     pointtype i pointsize 0.8 linewidth (kinds[i] == 0 ? 3 : 1.2) linecolor rgb colours[i] \
     dashtype dashes[i] title names[i]
