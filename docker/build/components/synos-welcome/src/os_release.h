// Reads the values of os-release(5) that the greeting shows.
#ifndef SYNOS_WELCOME_OS_RELEASE_H
#define SYNOS_WELCOME_OS_RELEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

// Values without their quotes, else just as the file has them; NULL for those it lacks.
struct os_release {
    char *name;
    char *pretty_name;
    char *build_id;
    char *variant;
    char *variant_id;
};

// Both add to what release holds (all NULL at first) and return false with errno set where that fails.
// Lines that are no assignment as os-release(5) has them are passed over; of several of a name the last counts.
bool os_release_parse(struct os_release *release, const char *text, size_t length);
bool os_release_read(struct os_release *release, FILE *file);

void os_release_free(struct os_release *release);

#endif
