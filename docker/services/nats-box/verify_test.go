package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

func compress(t *testing.T, content []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	writer := s2.NewWriter(&buffer)
	if _, err := writer.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func block(sequences ...uint64) string {
	var content []byte
	for _, sequence := range sequences {
		record := make([]byte, recordHeader+recordSum+5)
		binary.LittleEndian.PutUint32(record, uint32(len(record))|headerFlag)
		binary.LittleEndian.PutUint64(record[4:], sequence)
		content = append(content, record...)
	}
	return string(content)
}

func TestCheckSnapshot(t *testing.T) {
	meta := file("meta.inf", `{"Created": "2024-01-01T00:00:00Z", "name": "A"}`)
	whole := makeTar(t, meta, file("msgs/1.blk", block(1, 2, 5)), file("msgs/3.blk", block(8, 3|tombstoneFlag, 9|erasedFlag)),
		file("msgs/4.blk", block(2|tombstoneFlag)), file("msgs/index.db", "x"))
	blocks, err := checkSnapshot(bytes.NewReader(compress(t, whole)), "A")
	if err != nil || !slices.Equal(blocks, []span{{1, 5}, {8, 9}}) {
		t.Errorf("%v %v", blocks, err)
	}
	compressed := compress(t, whole)
	flipped := slices.Clone(compressed)
	flipped[len(flipped)/2] ^= 0x10
	for name, bad := range map[string]struct {
		content []byte
		part    string
	}{
		"another stream":     {compress(t, makeTar(t, file("meta.inf", `{"name": "B"}`))), `of stream "B"`},
		"no meta":            {compress(t, makeTar(t, file("msgs/1.blk", ""))), "begins with"},
		"a server's error":   {compress(t, makeTar(t, meta, file("errors.txt", "no block"))), "no block"},
		"a link":             {compress(t, makeTar(t, meta, member{"x", "y", '2'})), "not a file"},
		"empty":              {nil, "empty"},
		"cut off in a file":  {compress(t, whole[:600]), "damaged"},
		"cut off after one":  {compress(t, whole[:1024]), "ends early"},
		"one block of zeros": {compress(t, whole[:len(whole)-512]), "ends early"},
		"cut off compressed": {compressed[:len(compressed)-9], "damaged"},
		"a flipped bit":      {flipped, "damaged"},
		"not compressed":     {whole, "damaged"},
	} {
		if _, err := checkSnapshot(bytes.NewReader(bad.content), "A"); err == nil || !strings.Contains(err.Error(), bad.part) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadBlockStopsAtNonsense(t *testing.T) {
	for _, tail := range []string{"\x00\x00", strings.Repeat("\x00", 40), "\xff\xff\xff\x7f" + strings.Repeat("a", 40)} {
		found, any, err := readBlock(strings.NewReader(block(3, 4) + tail))
		if found != (span{3, 4}) || !any || err != nil {
			t.Errorf("%q: %v %v %v", tail, found, any, err)
		}
	}
}

func TestIsBlock(t *testing.T) {
	for name, want := range map[string]bool{"msgs/12.blk": true, "msgs/index.db": false, "msgs/12.blk.tmp": false, "obs/1.blk": false} {
		if isBlock(name) != want {
			t.Errorf("%s is taken for the opposite", name)
		}
	}
}

func TestUncovered(t *testing.T) {
	all := span{10, 100}
	for name, c := range map[string]struct{ blocks, want []span }{
		"none":       {nil, []span{{10, 100}}},
		"one":        {[]span{{1, 200}}, nil},
		"a hole":     {[]span{{60, 100}, {10, 40}}, []span{{41, 59}}},
		"overlap":    {[]span{{10, 70}, {20, 30}, {60, 100}}, nil},
		"both ends":  {[]span{{20, 30}}, []span{{10, 19}, {31, 100}}},
		"all beyond": {[]span{{101, 130}}, []span{{10, 100}}},
	} {
		if got := uncovered(all, c.blocks); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	spool := func(label string) *os.File {
		file, err := newSpool()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		content := makeTar(t, member{"meta.inf", `{"name":"A"}`, '0'}, member{"msgs/1.blk", label, '0'}, member{"obs/c/o.dat", label, '0'})
		if _, err := file.Write(compress(t, content)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	merged, err := merge(spool("later"), spool("before"))
	if err != nil {
		t.Fatal(err)
	}
	defer merged.Close()
	if _, err := checkSnapshot(merged, "A"); err != nil {
		t.Error(err)
	}
	if _, err := merged.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	members := newTar(s2.NewReader(merged))
	got := []string{}
	for header, err := members.Next(); err == nil; header, err = members.Next() {
		content, _ := io.ReadAll(members)
		got = append(got, header.Name+"="+string(content))
	}
	if want := []string{`meta.inf={"name":"A"}`, "msgs/1.blk=later", "obs/c/o.dat=before"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
