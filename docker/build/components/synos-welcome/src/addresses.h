// Lists the addresses under which this machine can be reached.
#ifndef SYNOS_WELCOME_ADDRESSES_H
#define SYNOS_WELCOME_ADDRESSES_H

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct address {
    char interface[IF_NAMESIZE];
    char text[INET6_ADDRSTRLEN];
};

// Those of one interface follow each other.
struct address_list {
    struct address *items;
    size_t count;
};

// Both fill an empty list and return false with errno set where that fails. Interfaces that are down,
// loopback and link-local IPv6 addresses are left out.
bool addresses_collect(struct address_list *list, const struct ifaddrs *first);
bool addresses_read(struct address_list *list);

void addresses_free(struct address_list *list);

#endif
