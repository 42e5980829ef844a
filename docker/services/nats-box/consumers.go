package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
)

func consumerList(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	raw, err := c.list("CONSUMER.LIST."+c.args[0], "consumers")
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Name\tAck\tDelivered\tAck floor\tAck pending\tUnprocessed")
	for _, one := range raw {
		var info nats.ConsumerInfo
		if err := json.Unmarshal(one, &info); err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\n", info.Name, ackName(info.Config.AckPolicy), info.Delivered.Stream,
			info.AckFloor.Stream, info.NumAckPending, printNumber(info.NumPending))
	}
	return table.Flush()
}

func ackName(policy nats.AckPolicy) string {
	quoted, err := policy.MarshalJSON()
	if err != nil {
		return "?"
	}
	name, _ := strconv.Unquote(string(quoted))
	return name
}

// checkConsumer looks at the arguments STREAM and NAME.
func (c *call) checkConsumer() (path string, err error) {
	if err := checkNames("stream", c.args[0]); err != nil {
		return "", err
	}
	return c.args[0] + "." + c.args[1], checkNames("consumer", c.args[1])
}

func consumerInfo(c *call) error {
	path, err := c.checkConsumer()
	if err != nil {
		return err
	}
	var info nats.ConsumerInfo
	raw, err := c.api("CONSUMER.INFO."+path, nil, &info)
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	return c.printConsumer(info)
}

func (c *call) printConsumer(info nats.ConsumerInfo) error {
	filter := info.Config.FilterSubject
	if filter == "" {
		filter = ">"
	}
	fmt.Fprintf(c.out, "Information for Consumer %s > %s created %s\n\n", info.Stream, info.Name, printTime(info.Created))
	fmt.Fprintf(c.out, "Filter: %s\nAck policy: %s\nAck wait: %s\n\n", filter, ackName(info.Config.AckPolicy), info.Config.AckWait)
	fmt.Fprintf(c.out, "Last delivered: consumer sequence %d, stream sequence %d\n", info.Delivered.Consumer, info.Delivered.Stream)
	fmt.Fprintf(c.out, "Ack floor: consumer sequence %d, stream sequence %d\n", info.AckFloor.Consumer, info.AckFloor.Stream)
	_, err := fmt.Fprintf(c.out, "Outstanding acks: %d\nRedelivered: %d\nUnprocessed: %s\nWaiting pulls: %d\n", info.NumAckPending,
		info.NumRedelivered, printNumber(info.NumPending), info.NumWaiting)
	return err
}

func consumerAdd(c *call) error {
	path, err := c.checkConsumer()
	if err != nil {
		return err
	}
	ack, err := c.pick("ack", "explicit", [2]string{"explicit", "explicit"}, [2]string{"none", "none"}, [2]string{"all", "all"})
	if err != nil {
		return err
	}
	deliver, err := c.pick("deliver", "all", [2]string{"all", "all"}, [2]string{"new", "new"}, [2]string{"last", "last"})
	if err != nil {
		return err
	}
	config := map[string]any{"durable_name": c.args[1], "name": c.args[1], "ack_policy": ack, "deliver_policy": deliver,
		"replay_policy": "instant"}
	subject := "CONSUMER.CREATE." + path
	if filter := c.text("filter", ""); filter != "" {
		config["filter_subject"] = filter
		subject += "." + filter
	}
	// "create", so that a consumer that exists with other settings is an error and not changed
	question := map[string]any{"stream_name": c.args[0], "action": "create", "config": config}
	var info nats.ConsumerInfo
	if _, err := c.api(subject, question, &info); err != nil {
		return err
	}
	return c.printConsumer(info)
}

func consumerNext(c *call) error {
	path, err := c.checkConsumer()
	if err != nil {
		return err
	}
	count, err := c.number("count", 1)
	if err != nil {
		return err
	}
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	// a pull of a consumer that is not there is not answered at all, hence the question first
	var info nats.ConsumerInfo
	if _, err := c.api("CONSUMER.INFO."+path, nil, &info); err != nil {
		return err
	}
	// the server does not answer acks of a consumer that has none
	acks := !c.has("no-ack") && info.Config.AckPolicy != nats.AckNonePolicy
	inbox, err := c.nc.SubscribeSync(c.nc.NewRespInbox())
	if err != nil {
		return err
	}
	for received := 0; received < count; received++ {
		// one at a time: what is pulled and then not printed would be delivered, and lost until the ack wait ends
		question, err := json.Marshal(map[string]any{"batch": 1, "expires": timeout})
		if err != nil {
			return err
		}
		if err := c.nc.PublishRequest(apiPrefix+"CONSUMER.MSG.NEXT."+path, inbox.Subject, question); err != nil {
			return err
		}
		message, err := inbox.NextMsg(timeout + time.Second)
		if err == nil && message.Header.Get("Status") != "" {
			err = pullStatus(message)
		}
		if errors.Is(err, nats.ErrTimeout) {
			return fmt.Errorf("no message within %s, after %d of %d", timeout, received, count)
		}
		if err != nil {
			return err
		}
		if err := c.printPulled(message); err != nil {
			return err
		}
		if acks {
			// waits until the server has it, else the tool might end before
			if err := message.AckSync(nats.AckWait(timeout)); err != nil {
				return fmt.Errorf("the server does not confirm the ack: %w", err)
			}
		}
	}
	return nil
}

func pullStatus(message *nats.Msg) error {
	if status := message.Header.Get("Status"); status == "408" || status == "404" {
		return nats.ErrTimeout
	}
	return fmt.Errorf("the server refuses the pull: %s %s", message.Header.Get("Status"), message.Header.Get("Description"))
}

// printPulled prints before the message is acked, so that none is lost where printing fails.
func (c *call) printPulled(message *nats.Msg) error {
	meta, err := message.Metadata()
	if err != nil {
		return err
	}
	if !c.has("raw") {
		fmt.Fprintf(c.out, "[%s] subj: %s / tries: %d / cons seq: %d / str seq: %d / pending: %d\n",
			printTime(meta.Timestamp), message.Subject, meta.NumDelivered, meta.Sequence.Consumer, meta.Sequence.Stream, meta.NumPending)
	}
	c.printMessage(message.Header, message.Data)
	return c.out.Flush()
}

func consumerRemove(c *call) error {
	path, err := c.checkConsumer()
	if err != nil {
		return err
	}
	if _, err := c.api("CONSUMER.DELETE."+path, nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Removed consumer %s of stream %s\n", c.args[1], c.args[0])
	return err
}
