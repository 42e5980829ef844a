package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

func roundTrip(c *call) error {
	if err := c.connect(); err != nil {
		return err
	}
	const times = 5
	var sum time.Duration
	for range times {
		rtt, err := c.nc.RTT()
		if err != nil {
			return err
		}
		sum += rtt
	}
	_, err := fmt.Fprintf(c.out, "%s: %s\n", c.nc.ConnectedUrl(), (sum / times).Round(time.Microsecond))
	return err
}

func accountInfo(c *call) error {
	var info nats.AccountInfo
	raw, err := c.api("INFO", nil, &info)
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	number := printNumber[int]
	size := printSize[int64]
	fmt.Fprintf(c.out, "User: %s\nServer: %s %s\n", c.text("user", environment("NATS_USER", "synos")),
		c.nc.ConnectedServerName(), c.nc.ConnectedServerVersion())
	fmt.Fprintf(c.out, "Streams: %s of %s\n", number(info.Streams), printLimit(info.Limits.MaxStreams, number))
	fmt.Fprintf(c.out, "Consumers: %s of %s\n", number(info.Consumers), printLimit(info.Limits.MaxConsumers, number))
	fmt.Fprintf(c.out, "Memory: %s of %s\n", printSize(info.Memory), printLimit(info.Limits.MaxMemory, size))
	_, err = fmt.Fprintf(c.out, "Storage: %s of %s\n", printSize(info.Store), printLimit(info.Limits.MaxStore, size))
	return err
}
