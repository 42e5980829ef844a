// Puts the greeting together and prints it.
#ifndef SYNOS_WELCOME_GREETING_H
#define SYNOS_WELCOME_GREETING_H

#include "addresses.h"
#include "os_release.h"

#include <stdbool.h>
#include <stdio.h>

// Text fit to be printed; profile and user may be NULL.
struct greeting {
    char *product;
    char *build;
    char *profile;
    char *host;
    char *user;
};

// Fills an empty greeting out of values that need no trust; host and user may be NULL. False with errno
// set where memory ran out.
bool greeting_fill(struct greeting *greeting, const struct os_release *release, const char *host, const char *user,
                   bool utf8);

// At most 80 columns wide, whatever the values are.
void greeting_print(FILE *out, const struct greeting *greeting, const struct address_list *addresses, bool colour);

void greeting_free(struct greeting *greeting);

// Whether to colour, with the values of the variables NO_COLOR and TERM, which may be NULL.
bool greeting_wants_colour(bool terminal, const char *no_color, const char *term);

#endif
