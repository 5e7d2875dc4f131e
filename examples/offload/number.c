/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "settings.h"

bool parse_number(const char *text, unsigned long max, unsigned long *number)
{
    char *end;
    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *number = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *number <= max;
}
