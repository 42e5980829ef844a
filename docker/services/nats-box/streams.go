package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
)

func streamList(c *call) error {
	raw, err := c.list("STREAM.LIST", "streams")
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	return c.printStreams(raw, "")
}

// printStreams prints a table; prefix is cut off names.
func (c *call) printStreams(raw []json.RawMessage, prefix string) error {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Name\tStorage\tMessages\tSize\tConsumers\tLast message")
	for _, one := range raw {
		var info nats.StreamInfo
		if err := json.Unmarshal(one, &info); err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", strings.TrimPrefix(info.Config.Name, prefix),
			strings.ToLower(info.Config.Storage.String()), printNumber(info.State.Msgs), printSize(info.State.Bytes),
			info.State.Consumers, printTime(info.State.LastTime))
	}
	return table.Flush()
}

func streamInfo(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	var info nats.StreamInfo
	raw, err := c.api("STREAM.INFO."+c.args[0], nil, &info)
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	return c.printStream(info)
}

func (c *call) printStream(info nats.StreamInfo) error {
	config, state := info.Config, info.State
	number, size := printNumber[int64], printSize[int64]
	fmt.Fprintf(c.out, "Information for Stream %s created %s\n\n", config.Name, printTime(info.Created))
	fmt.Fprintf(c.out, "Subjects: %s\n", strings.Join(config.Subjects, ", "))
	fmt.Fprintf(c.out, "Storage: %s\nRetention: %s\n", config.Storage, config.Retention)
	fmt.Fprintf(c.out, "Maximum messages: %s\n", printLimit(config.MaxMsgs, number))
	fmt.Fprintf(c.out, "Maximum bytes: %s\n", printLimit(config.MaxBytes, size))
	fmt.Fprintf(c.out, "Maximum age: %s\n", printLimit(int64(config.MaxAge), func(int64) string { return config.MaxAge.String() }))
	fmt.Fprintf(c.out, "Duplicate window: %s\n\n", config.Duplicates)
	fmt.Fprintf(c.out, "Messages: %s\nBytes: %s\n", printNumber(state.Msgs), printSize(state.Bytes))
	fmt.Fprintf(c.out, "First sequence: %d at %s\n", state.FirstSeq, printTime(state.FirstTime))
	fmt.Fprintf(c.out, "Last sequence: %d at %s\n", state.LastSeq, printTime(state.LastTime))
	_, err := fmt.Fprintf(c.out, "Deleted: %d\nConsumers: %d\nSubjects held: %d\n", state.NumDeleted, state.Consumers, state.NumSubjects)
	return err
}

func streamAdd(c *call) error {
	config, err := streamConfig(c.input)
	if err != nil {
		return err
	}
	var info nats.StreamInfo
	if _, err := c.api("STREAM.CREATE."+config.Name, config, &info); err != nil {
		return err
	}
	return c.printStream(info)
}

// streamConfig makes of flags what the server takes, with the defaults of the official CLI.
func streamConfig(in input) (config nats.StreamConfig, err error) {
	if err := checkNames("stream", in.args[0]); err != nil {
		return config, err
	}
	config = nats.StreamConfig{Name: in.args[0], Subjects: strings.Split(in.flags["subjects"], ","),
		MaxConsumers: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, Replicas: 1, AllowDirect: true}
	storage, err := in.pick("storage", "file", [2]string{"file", "file"}, [2]string{"memory", "memory"})
	if err != nil {
		return config, err
	}
	if storage == "memory" {
		config.Storage = nats.MemoryStorage
	}
	retention, err := in.pick("retention", "limits", [2]string{"limits", "limits"}, [2]string{"interest", "interest"},
		[2]string{"work", "workqueue"})
	if err != nil {
		return config, err
	}
	if err := config.Retention.UnmarshalJSON([]byte(strconv.Quote(retention))); err != nil {
		return config, err
	}
	messages, err := in.number("max-msgs", -1)
	if err != nil {
		return config, err
	}
	config.MaxMsgs = int64(messages)
	if in.has("max-bytes") {
		if config.MaxBytes, err = parseSize(in.flags["max-bytes"]); err != nil {
			return config, misused("--max-bytes takes a size such as 65536, 512K or 2GB, not %q", in.flags["max-bytes"])
		}
	}
	if config.MaxAge, err = in.duration("max-age", 0); err != nil {
		return config, err
	}
	config.Duplicates, err = in.duration("dupe-window", 0)
	return config, err
}

func streamRemove(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	if _, err := c.api("STREAM.DELETE."+c.args[0], nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "Removed stream %s\n", c.args[0])
	return err
}

func streamPurge(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	if _, err := c.api("STREAM.PURGE."+c.args[0], nil, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "Purged %s messages of stream %s\n", printNumber(answer.Purged), c.args[0])
	return err
}

// storedMessage is a message as JetStream's API gives it.
type storedMessage struct {
	Message struct {
		Subject  string    `json:"subject"`
		Sequence uint64    `json:"seq"`
		Header   []byte    `json:"hdrs"`
		Data     []byte    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
}

func (c *call) printStored(stored storedMessage) error {
	message := stored.Message
	header := nats.Header{}
	if len(message.Header) > 0 {
		var err error
		if header, err = nats.DecodeHeadersMsg(message.Header); err != nil {
			return err
		}
	}
	if !c.has("raw") {
		fmt.Fprintf(c.out, "[%d] Subject: %s Received: %s\n", message.Sequence, message.Subject, printTime(message.Time))
	}
	c.printMessage(header, message.Data)
	return nil
}

func streamGet(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	sequence, err := strconv.ParseUint(c.args[1], 10, 64)
	if err != nil {
		return misused("%q is not the sequence of a message", c.args[1])
	}
	var stored storedMessage
	raw, err := c.api("STREAM.MSG.GET."+c.args[0], map[string]uint64{"seq": sequence}, &stored)
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.printJSON(raw)
	}
	return c.printStored(stored)
}

func streamView(c *call) error {
	if err := checkNames("stream", c.args[0]); err != nil {
		return err
	}
	from, err := c.number("from", 1)
	if err != nil {
		return err
	}
	count, err := c.number("count", 25)
	if err != nil {
		return err
	}
	sequence := uint64(from)
	for range count {
		stored, err := c.nextMessage(c.args[0], sequence)
		if stored == nil || err != nil {
			return err
		}
		if err := c.printStored(*stored); err != nil {
			return err
		}
		sequence = stored.Message.Sequence + 1
	}
	return nil
}

// nextMessage gives the first one from a sequence on, stepping over what was deleted, or nil where there is none.
func (c *call) nextMessage(name string, sequence uint64) (*storedMessage, error) {
	var stored storedMessage
	question := map[string]any{"seq": sequence, "next_by_subj": ">"}
	_, err := c.api("STREAM.MSG.GET."+name, question, &stored)
	var failure *apiError
	if errors.As(err, &failure) && failure.Code == 404 && failure.ErrCode != streamNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &stored, nil
}
