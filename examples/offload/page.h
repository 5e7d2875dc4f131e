/* SPDX-License-Identifier: MIT */
/* page: page.html, which the build turns into bytes: see examples/CMakeLists.txt. */
#ifndef OFFLOAD_PAGE_H
#define OFFLOAD_PAGE_H

#include <stddef.h>

extern const char page[];
extern const size_t page_length;

#endif
