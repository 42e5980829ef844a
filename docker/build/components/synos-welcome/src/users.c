// Finds the account that a person logs in with.
#include "users.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

// The range that Debian policy gives to people; 65534 is nobody.
enum { FIRST_UID = 1000, LAST_UID = 59999 };

static bool is_login_shell(const char *shell)
{
    static const char *const refusing[] = {"nologin", "false", "true"};
    const char *slash = strrchr(shell, '/');
    const char *base = slash != NULL ? slash + 1 : shell;

    for (size_t i = 0; i < sizeof refusing / sizeof refusing[0]; i++) {
        if (strcmp(base, refusing[i]) == 0) {
            return false;
        }
    }
    return true; // an empty one means /bin/sh, see passwd(5)
}

static bool is_person(const struct passwd *entry)
{
    return entry->pw_uid >= FIRST_UID && entry->pw_uid <= LAST_UID && entry->pw_name[0] != '\0' &&
           is_login_shell(entry->pw_shell);
}

static struct passwd *next_entry(FILE *passwd)
{
    errno = 0;
    return passwd != NULL ? fgetpwent(passwd) : getpwent();
}

bool users_first_person(char **name, FILE *passwd)
{
    struct passwd *entry = next_entry(passwd);

    while (entry != NULL && !is_person(entry)) {
        entry = next_entry(passwd);
    }
    // at the end of the entries errno is set to one value or another, so only the stream tells of errors
    bool found_out = passwd == NULL || !ferror(passwd);
    *name = NULL;
    if (entry != NULL) {
        *name = strdup(entry->pw_name);
        found_out = *name != NULL;
    }
    if (passwd == NULL) {
        int error = errno;
        endpwent();
        errno = error;
    }
    return found_out;
}
