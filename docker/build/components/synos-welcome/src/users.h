// Finds the account that a person logs in with.
#ifndef SYNOS_WELCOME_USERS_H
#define SYNOS_WELCOME_USERS_H

#include <stdbool.h>
#include <stdio.h>

// The allocated name of the first account with a uid of a person and a login shell, NULL where there is
// none. Looks into the user database of the system where passwd is NULL. False with errno set on failure.
bool users_first_person(char **name, FILE *passwd);

#endif
