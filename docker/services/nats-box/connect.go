package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Name lookup, connection and login together: the client library bounds each of them but the first.
const connectLimit = 5 * time.Second

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// connect logs in; it does not try again, for a script must learn at once that the server is gone.
func (c *call) connect() error {
	server := c.text("server", environment("NATS_URL", "nats://nats:4222"))
	if err := checkURL(server); err != nil {
		return err
	}
	user := c.text("user", environment("NATS_USER", "synos"))
	file := c.text("password-file", "/run/secrets/nats_password")
	password, err := readPassword(file)
	if err != nil {
		return err
	}
	type result struct {
		nc  *nats.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(server,
			nats.Name("synos nats-box"),
			nats.UserInfo(user, password),
			nats.Timeout(connectLimit-time.Second),
			nats.NoReconnect(),
			// else a subscription that is not allowed waits for ever
			nats.PermissionErrOnSubscribe(true),
			// the default handler prints; what fails is reported by who asked for it
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
		)
		connected <- result{nc, err}
	}()
	select {
	case r := <-connected:
		if r.err != nil {
			return explain(r.err, server, user, file)
		}
		c.nc = r.nc
		return nil
	case <-time.After(connectLimit):
		return fmt.Errorf("no NATS server answers at %s within %s", server, connectLimit)
	}
}

func explain(err error, server, user, file string) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("%s refuses user %q with the password in %s", server, user, file)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no NATS server answers at %s", server)
	}
	return fmt.Errorf("cannot connect to %s: %w", server, err)
}

// checkURL refuses a password in the URL: it would be in the process list, or in the container's environment.
func checkURL(servers string) error {
	for _, server := range strings.Split(servers, ",") {
		parsed, err := url.Parse(strings.TrimSpace(server))
		if err == nil && parsed.User != nil {
			return misused("the URL of the server must not hold a user or password: use --user and --password-file")
		}
		// the error of url.Parse holds the URL, and thus perhaps a password
		if err != nil || parsed.Host == "" {
			return misused("the URL of the server must be like nats://nats:4222")
		}
	}
	return nil
}

func readPassword(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), nil
}
