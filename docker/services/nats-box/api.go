package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// What JetStream answers is kept as it came where it is printed or archived: the client library's types drop the
// fields that they do not know.

const (
	apiPrefix = "$JS.API."

	streamNotFound   = 10059
	consumerNotFound = 10014
)

// apiError is the "error" of an answer.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode)
}

func isAPIError(err error, code int) bool {
	var answer *apiError
	return errors.As(err, &answer) && answer.ErrCode == code
}

// api asks JetStream and decodes the answer into response, where that is not nil.
func (c *call) api(subject string, question, response any) (json.RawMessage, error) {
	if c.nc == nil {
		if err := c.connect(); err != nil {
			return nil, err
		}
	}
	timeout, err := c.timeout()
	if err != nil {
		return nil, err
	}
	var body []byte
	if question != nil {
		if body, err = json.Marshal(question); err != nil {
			return nil, err
		}
	}
	answer, err := c.nc.Request(apiPrefix+subject, body, timeout)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errors.New("JetStream is not enabled on the server")
	case errors.Is(err, nats.ErrTimeout):
		return nil, fmt.Errorf("the server does not answer %s%s within %s", apiPrefix, subject, timeout)
	case err != nil:
		return nil, err
	}
	return answer.Data, decode(answer.Data, response)
}

func decode(answer []byte, response any) error {
	var failure struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer, &failure); err != nil {
		return fmt.Errorf("the server's answer is not JSON: %w", err)
	}
	if failure.Error != nil {
		return failure.Error
	}
	if response == nil {
		return nil
	}
	return json.Unmarshal(answer, response)
}

// list asks for all pages of a list; field is what the answer calls it.
func (c *call) list(subject, field string) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	for {
		var page map[string]json.RawMessage
		if _, err := c.api(subject, map[string]int{"offset": len(all)}, &page); err != nil {
			return nil, err
		}
		var total int
		var items []json.RawMessage
		if err := json.Unmarshal(page["total"], &total); err != nil {
			return nil, fmt.Errorf("the answer to %s has no total: %w", subject, err)
		}
		// the server writes null where there is nothing
		if err := json.Unmarshal(page[field], &items); err != nil {
			return nil, fmt.Errorf("the answer to %s has no %s: %w", subject, field, err)
		}
		all = append(all, items...)
		if len(items) == 0 || len(all) >= total {
			return all, nil
		}
	}
}

func (c *call) timeout() (time.Duration, error) {
	return c.duration("timeout", 5*time.Second)
}

// checkNames keeps names out of subjects that would make another question of it: a stream "A.B" asks for B's consumer.
func checkNames(kind string, names ...string) error {
	for _, name := range names {
		if !validName(name) {
			return misused("%q cannot be the name of a %s", name, kind)
		}
	}
	return nil
}

// validName holds for streams and consumers what the server asks for, and keeps a name from being a path.
func validName(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune(".*>/\\", r)
	})
}

func (c *call) printJSON(document any) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err = indented.WriteTo(c.out)
	return err
}
