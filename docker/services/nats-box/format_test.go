package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour,
		"2w": 336 * time.Hour, "1y": 365 * 24 * time.Hour, "0": 0} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1s", "-1d", "1.5d", "9999y", "1", "x"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "65536": 65536, "512K": 512 << 10, "10MB": 10 << 20, "2GiB": 2 << 30, "1T": 1 << 40,
		"7B": 7} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "K", "-1", "1X", "1KK", "1.5M", "9999999T", "99999999999999999999"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q gives %v", text, got)
		}
	}
}

func TestPrinting(t *testing.T) {
	for number, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := printNumber(number); got != want {
			t.Errorf("%d: %s", number, got)
		}
	}
	for size, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 40: "5.0 TiB"} {
		if got := printSize(size); got != want {
			t.Errorf("%d: %s", size, got)
		}
	}
	if got := printLimit(int64(-1), printSize[int64]); got != "unlimited" {
		t.Error(got)
	}
}

func TestCounted(t *testing.T) {
	if got := counted("{{Count}} of {{.Count}} {{Other}}", 7); got != "7 of 7 {{Other}}" {
		t.Error(got)
	}
}

func TestReadPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	for content, want := range map[string]string{"a b\n": "a b", "a\n\n": "a\n", "a\r\n": "a", " a": " a", "": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readPassword(file); got != want || err != nil {
			t.Errorf("%q: %q %v", content, got, err)
		}
	}
	if _, err := readPassword(file + ".none"); err == nil || !strings.Contains(err.Error(), "password") {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, url := range []string{"nats://nats:4222", "tls://a:1, nats://b:2"} {
		if err := checkURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"nats://user:secret@nats:4222", "nats://a:1,nats://token@b:2", "nats", "nats://u:secret@a:b:c"} {
		if err := checkURL(url); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
