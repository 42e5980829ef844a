package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// A snapshot is a tar of the stream's files, compressed with S2. It is read through when it is made, because the server
// sends status 204 even after it could not read a block (it puts errors.txt into the tar, or just stops); and again
// before it is restored, because the stream of that name has to be deleted first.

const (
	snapshotMeta  = "meta.inf"
	snapshotError = "errors.txt"
)

// checkSnapshot fails unless a snapshot is an archive that is whole, and tells which sequences its blocks span.
func checkSnapshot(file io.ReadSeeker, name string) (blocks []span, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	// S2 has a checksum for each block
	members := newTar(s2.NewReader(file))
	first := true
	for {
		header, err := members.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("damaged: %w", err)
		}
		switch {
		case header.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%q is not a file", header.Name)
		case header.Name == snapshotError:
			text, _ := io.ReadAll(io.LimitReader(members, 4096))
			return nil, fmt.Errorf("the server reports: %s", text)
		case first && header.Name != snapshotMeta:
			return nil, fmt.Errorf("begins with %q instead of %s", header.Name, snapshotMeta)
		case first:
			if err := checkMeta(members, name); err != nil {
				return nil, err
			}
		}
		first = false
		if isBlock(header.Name) {
			block, any, err := readBlock(members)
			if err != nil {
				return nil, fmt.Errorf("damaged: %w", err)
			}
			if any {
				blocks = append(blocks, block)
			}
		}
		if _, err := io.Copy(io.Discard, members); err != nil {
			return nil, fmt.Errorf("damaged: %w", err)
		}
	}
	if first {
		return nil, errors.New("empty")
	}
	return blocks, members.complete()
}

// checkMeta compares the name in the snapshot, which the server does only after it took the old stream's place.
func checkMeta(content io.Reader, name string) error {
	var meta struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(io.LimitReader(content, largestMeta)).Decode(&meta); err != nil {
		return fmt.Errorf("%s: %w", snapshotMeta, err)
	}
	if meta.Name != name {
		return fmt.Errorf("is of stream %q", meta.Name)
	}
	return nil
}

// tarReader is a tar.Reader that knows whether it saw the end of the archive: tar.Reader takes a file that was cut off
// between two members for a whole one.
type tarReader struct {
	*tar.Reader
	source *countingReader
	// offset at which the members so far end, with their padding
	end int64
}

type countingReader struct {
	io.Reader
	count int64
}

func (r *countingReader) Read(buffer []byte) (int, error) {
	n, err := r.Reader.Read(buffer)
	r.count += int64(n)
	return n, err
}

func newTar(source io.Reader) *tarReader {
	counting := &countingReader{Reader: source}
	return &tarReader{Reader: tar.NewReader(counting), source: counting}
}

func (r *tarReader) Next() (*tar.Header, error) {
	header, err := r.Reader.Next()
	if err == nil {
		const block = 512
		r.end = r.source.count + (header.Size+block-1)/block*block
	}
	return header, err
}

// complete is asked after Next gave io.EOF: two blocks of zeros follow the last member.
func (r *tarReader) complete() error {
	if r.source.count < r.end+1024 {
		return errors.New("damaged: ends early")
	}
	return nil
}
