// Makes text from untrusted sources fit for a terminal.
#ifndef SYNOS_WELCOME_TEXT_H
#define SYNOS_WELCOME_TEXT_H

#include <stdbool.h>
#include <stddef.h>

// An allocated copy of value without control and invisible characters and without blanks around it,
// NULL without memory. What takes more than the given columns (at least 3) is cut and ends in "...".
// Bytes that are no UTF-8, and without utf8 all characters beyond ASCII, become '?'.
char *text_clean(const char *value, size_t columns, bool utf8);

#endif
