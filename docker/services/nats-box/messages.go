package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
)

// Up to this many messages, each gets a line of its own.
const chatty = 20

// body is an argument, or stdin where that is a dash.
func (c *call) body(index int) (string, error) {
	if len(c.args) <= index {
		return "", nil
	}
	if c.args[index] != "-" {
		return c.args[index], nil
	}
	content, err := io.ReadAll(c.in)
	return string(content), err
}

func counted(body string, number int) string {
	return strings.NewReplacer("{{Count}}", strconv.Itoa(number), "{{.Count}}", strconv.Itoa(number)).Replace(body)
}

func publish(c *call) error {
	count, err := c.number("count", 1)
	if err != nil {
		return err
	}
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	body, err := c.body(1)
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	js, err := c.nc.JetStream(nats.MaxWait(timeout))
	if err != nil {
		return err
	}
	subject := c.args[0]
	for number := 1; number <= count; number++ {
		data := counted(body, number)
		if !c.has("jetstream") {
			if err := c.nc.Publish(subject, []byte(data)); err != nil {
				return err
			}
			if count <= chatty {
				fmt.Fprintf(c.out, "Published %d bytes to %q\n", len(data), subject)
			}
			continue
		}
		stored, err := js.Publish(subject, []byte(data), nats.RetryAttempts(0))
		if errors.Is(err, nats.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("no stream takes %q", subject)
		}
		if err != nil {
			return err
		}
		if count <= chatty || number == count {
			fmt.Fprintf(c.out, "Stored in Stream: %s Sequence: %d%s\n", stored.Stream, stored.Sequence, duplicate(stored))
		}
	}
	if count > chatty {
		fmt.Fprintf(c.out, "Published %s messages to %q\n", printNumber(count), subject)
	}
	return c.settle()
}

func duplicate(stored *nats.PubAck) string {
	if stored.Duplicate {
		return " Duplicate: true"
	}
	return ""
}

// settle waits until the server has read all that was sent. What it refused, it has told by then.
func (c *call) settle() error {
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	if err := c.nc.FlushTimeout(timeout); err != nil {
		return err
	}
	return c.nc.LastError()
}

func subscribe(c *call) error {
	count, err := c.number("count", 0)
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	sub, err := c.nc.SubscribeSync(c.args[0])
	if err != nil {
		return err
	}
	if err := c.nc.Flush(); err != nil {
		return err
	}
	note("Subscribing on %q", c.args[0])
	// process 1 of a container gets no default handling of signals
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for number := 1; count == 0 || number <= count; number++ {
		message, err := sub.NextMsgWithContext(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !c.has("raw") {
			fmt.Fprintf(c.out, "[#%d] Received on %q", number, message.Subject)
			if message.Reply != "" {
				fmt.Fprintf(c.out, " with reply %q", message.Reply)
			}
			fmt.Fprintln(c.out)
		}
		c.printMessage(message.Header, message.Data)
		// the next one may be long in coming
		if err := c.out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// printMessage prints headers and body, or with --raw the body and nothing else.
func (c *call) printMessage(header nats.Header, data []byte) {
	if c.has("raw") {
		c.out.Write(data)
		c.out.WriteByte('\n')
		return
	}
	for name, values := range header {
		for _, value := range values {
			fmt.Fprintf(c.out, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(c.out, "%s\n\n", data)
}

func request(c *call) error {
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	body, err := c.body(1)
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	answer, err := c.nc.Request(c.args[0], []byte(body), timeout)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("nobody answers on %q", c.args[0])
	case errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("no answer on %q within %s", c.args[0], timeout)
	case err != nil:
		return err
	}
	if c.has("raw") || len(answer.Header) == 0 {
		_, err = fmt.Fprintf(c.out, "%s\n", answer.Data)
		return err
	}
	c.printMessage(answer.Header, answer.Data)
	return nil
}
