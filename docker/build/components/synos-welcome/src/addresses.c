// Lists the addresses under which this machine can be reached.
#include "addresses.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

// The binary address, NULL where it is none to show.
static const void *address_of(const struct ifaddrs *entry)
{
    if (entry->ifa_addr == NULL || !(entry->ifa_flags & IFF_UP) || (entry->ifa_flags & IFF_LOOPBACK)) {
        return NULL;
    }
    if (entry->ifa_addr->sa_family == AF_INET) {
        return &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
    }
    if (entry->ifa_addr->sa_family == AF_INET6) {
        const struct in6_addr *address = &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr;
        return IN6_IS_ADDR_LINKLOCAL(address) ? NULL : address;
    }
    return NULL;
}

// The kernel takes nearly any byte in a name, escape sequences too.
static void copy_name(char out[IF_NAMESIZE], const char *name)
{
    size_t i = 0;

    for (; name[i] != '\0' && i < IF_NAMESIZE - 1; i++) {
        out[i] = name[i] > ' ' && name[i] < 0x7f ? name[i] : '?';
    }
    out[i] = '\0';
}

// getifaddrs() gives all IPv4 addresses before all IPv6 ones, so put each behind those of its interface.
static void insert(struct address_list *list, const struct address *added)
{
    size_t place = list->count;

    while (place > 0 && strcmp(list->items[place - 1].interface, added->interface) != 0) {
        place--;
    }
    if (place == 0) {
        place = list->count;
    }
    memmove(&list->items[place + 1], &list->items[place], (list->count - place) * sizeof *added);
    list->items[place] = *added;
    list->count++;
}

static size_t count_entries(const struct ifaddrs *entry)
{
    size_t count = 0;

    for (; entry != NULL; entry = entry->ifa_next) {
        count++;
    }
    return count;
}

bool addresses_collect(struct address_list *list, const struct ifaddrs *first)
{
    size_t most = count_entries(first);

    if (most == 0) {
        return true;
    }
    list->items = calloc(most, sizeof *list->items);
    if (list->items == NULL) {
        return false;
    }
    for (const struct ifaddrs *entry = first; entry != NULL; entry = entry->ifa_next) {
        const void *binary = address_of(entry);
        struct address added;
        if (binary != NULL && inet_ntop(entry->ifa_addr->sa_family, binary, added.text, sizeof added.text) != NULL) {
            copy_name(added.interface, entry->ifa_name);
            insert(list, &added);
        }
    }
    return true;
}

bool addresses_read(struct address_list *list)
{
    struct ifaddrs *first = NULL;

    if (getifaddrs(&first) != 0) {
        return false;
    }
    bool collected = addresses_collect(list, first);
    freeifaddrs(first);
    return collected;
}

void addresses_free(struct address_list *list)
{
    free(list->items);
    *list = (struct address_list){0};
}
