# SPDX-License-Identifier: MIT
# What all plots share: the colours of strait's rows (0), the floors' (1) and the peers' (2).
floor_colour = "#9a9a9a"
colour_of(kind) = kind == 0 ? 0x1f5fbf : kind == 1 ? 0x9a9a9a : 0xe08a2c

set border 3 linecolor "#555555"
set tics nomirror
set grid linecolor "#dddddd"
set style fill solid 0.9 noborder
