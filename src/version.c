/* SPDX-License-Identifier: MIT */
/* version: of the library that was compiled. */
#include "strait.h"

uint32_t strait_version(void)
{
    return STRAIT_VERSION;
}
