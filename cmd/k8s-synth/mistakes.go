package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// told is an error as it is printed. The same, joined from two places, is told
// once.
func told(err error) string {
	var lines []string
next:
	for line := range strings.SplitSeq(err.Error(), "\n") {
		for _, before := range lines {
			if line != "" && (line == before || strings.HasSuffix(before, ": "+line)) {
				continue next
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// stdoutGone tells that who read the output wants no more of it, as head does.
func stdoutGone(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Path == "/dev/stdout" && errors.Is(err, syscall.EPIPE)
}

// flagMistake says of a flag what was expected.
func flagMistake(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f := e.GetFlag()
		if want := expected(f, e.Unwrap()); want != "" {
			return usageError{fmt.Errorf("--%s: expected %s, got %q", f.Name, want, e.GetValue())}
		}
		return usageError{fmt.Errorf("--%s: %w", f.Name, e.Unwrap())}
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		group := e.GetSpecifiedShortnames()
		switch {
		case group != "" && strings.ContainsAny(group[:1], "0123456789."):
			return usageError{fmt.Errorf("-%s: %s", group, notBelow(cmd))}
		case group != "":
			return usageError{fmt.Errorf("unknown flag: -%s", e.GetSpecifiedName())}
		}
	}
	return usageError{err}
}

// notBelow says what became of a number below 0 that is read as a flag.
func notBelow(cmd *cobra.Command) string {
	switch _, args, _ := strings.Cut(cmd.Use, " "); args {
	case "SCENE SECONDS":
		return "a morph takes 0 seconds or more"
	case "POINT":
		return "a point of the morph is 0 … 1"
	case "SLOT":
		return "a slot is a number from 1 on"
	case "STATE":
		return "a state is a number from 1 on"
	case "TIME":
		return "a time is 0 or later"
	}
	return "it is read as a flag, and there is none; what begins with - goes behind --"
}

// expected is what a flag takes, in words; nothing where its own error says so.
func expected(f *pflag.Flag, cause error) string {
	tooFar := errors.Is(cause, strconv.ErrRange)
	switch kind := f.Value.Type(); {
	case strings.HasPrefix(kind, "int") && !strings.HasSuffix(kind, "Slice"):
		if tooFar {
			return "a number nearer to 0"
		}
		return "a whole number"
	case strings.HasPrefix(kind, "uint") && !strings.HasSuffix(kind, "Slice"):
		if tooFar {
			return "a number nearer to 0"
		}
		return "a whole number, 0 or more"
	case strings.HasPrefix(kind, "float"):
		if tooFar {
			return "a number nearer to 0"
		}
		return "a number"
	case kind == "bool":
		return "true or false"
	case kind == "duration":
		return "a length of time such as 30s or 1m30s"
	case kind == "stringSlice":
		return "a list with commas between, quotes in pairs"
	}
	return ""
}
