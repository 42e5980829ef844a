package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A block is a file of records, and a stream a row of blocks. Reading the records' numbers is the only way to see that
// a snapshot lacks a block; nothing else of the format matters here.

const (
	recordHeader = 22
	recordSum    = 8

	headerFlag    = 1 << 31 // in the length: the message has headers
	erasedFlag    = 1 << 63 // in the sequence: overwritten, so there is nothing to miss
	tombstoneFlag = 1 << 62 // in the sequence: tells that a message of another block is deleted
)

// span is sequences from first to last, both included.
type span struct{ first, last uint64 }

// isBlock holds for the names of blocks.
func isBlock(name string) bool {
	var number int
	var rest string
	n, _ := fmt.Sscanf(name, "msgs/%d.blk%s", &number, &rest)
	return n == 1
}

// readBlock gives the sequences that a block spans, and false where it has none. It stops where a record makes no sense,
// as the server does: what is behind that counts as missing.
func readBlock(content io.Reader) (found span, any bool, err error) {
	buffered := bufio.NewReaderSize(content, 64<<10)
	var record [recordHeader]byte
	for {
		if _, err := io.ReadFull(buffered, record[:]); err != nil {
			if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
				return found, any, nil
			}
			return found, any, err
		}
		length := int(binary.LittleEndian.Uint32(record[0:]) &^ headerFlag)
		sequence := binary.LittleEndian.Uint64(record[4:])
		if length < recordHeader+recordSum {
			return found, any, nil
		}
		if _, err := buffered.Discard(length - recordHeader); err != nil {
			if err == io.EOF {
				return found, any, nil
			}
			return found, any, err
		}
		if sequence&tombstoneFlag != 0 {
			continue
		}
		sequence &^= erasedFlag
		if !any {
			found.first = sequence
		}
		found.last, any = sequence, true
	}
}

// uncovered gives what of a span is in none of the blocks.
func uncovered(all span, blocks []span) (missing []span) {
	blocks = slices.Clone(blocks)
	slices.SortFunc(blocks, func(a, b span) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	next := all.first
	for _, block := range blocks {
		if block.first > all.last {
			break
		}
		if block.first > next {
			missing = append(missing, span{next, block.first - 1})
		}
		next = max(next, block.last+1)
	}
	if next <= all.last {
		missing = append(missing, span{next, all.last})
	}
	return missing
}
