package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func printNumber[T int | int64 | uint64](number T) string {
	digits := fmt.Sprint(number)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func printSize[T int | int64 | uint64](bytes T) string {
	size := float64(bytes)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if size < 1024 {
			if unit == "B" {
				return fmt.Sprintf("%.0f B", size)
			}
			return fmt.Sprintf("%.1f %s", size, unit)
		}
		size /= 1024
	}
	return fmt.Sprintf("%.1f TiB", size)
}

// printLimit prints what the server gives as a limit, where 0 and less mean that there is none.
func printLimit[T int | int64](limit T, print func(T) string) string {
	if limit <= 0 {
		return "unlimited"
	}
	return print(limit)
}

func printTime(moment time.Time) string {
	if moment.IsZero() {
		return "never"
	}
	return moment.UTC().Format("2006-01-02 15:04:05.000Z")
}

// parseDuration reads Go's durations, and days, weeks and years as the official CLI does.
func parseDuration(text string) (time.Duration, error) {
	days := map[string]int{"d": 1, "w": 7, "y": 365}
	if text != "" {
		if factor, known := days[text[len(text)-1:]]; known {
			number, err := strconv.ParseUint(text[:len(text)-1], 10, 16)
			if err != nil {
				return 0, err
			}
			// 106,751 days is what fits
			if number*uint64(factor) > 100_000 {
				return 0, strconv.ErrRange
			}
			return time.Duration(number) * time.Duration(factor) * 24 * time.Hour, nil
		}
	}
	duration, err := time.ParseDuration(text)
	if err == nil && duration < 0 {
		err = strconv.ErrRange
	}
	return duration, err
}

// parseSize reads bytes, with a unit of 1024 as the official CLI takes it: 512K, 10MB, 2GiB.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTiB")
	unit := strings.TrimSuffix(strings.TrimSuffix(text[len(number):], "B"), "i")
	shift, known := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	if !known {
		return 0, strconv.ErrSyntax
	}
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || size < 0 {
		return 0, strconv.ErrSyntax
	}
	if size > (1<<62)>>shift {
		return 0, strconv.ErrRange
	}
	return size << shift, nil
}
