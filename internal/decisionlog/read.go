package decisionlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// Reader reads the lines that a Log has written.
type Reader struct {
	in     *bufio.Reader
	number int
	// Others is how many lines of other events were passed over: of the audit log, which has standard
	// output in common.
	Others int
}

// NewReader returns a reader of a log.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, maxLine+1)} }

// LineError is a line that is none of a decision. Those behind it can be read.
type LineError struct {
	Line int
	err  error
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.err) }

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.err }

// Next returns the next decision. Its error is io.EOF at the end, a *LineError for a line that is
// none, or what reading has failed with.
func (r *Reader) Next() (*Record, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		record, err := parse(line)
		switch {
		case err != nil:
			return nil, &LineError{r.number, err}
		case record == nil:
			r.Others++
		default:
			return record, nil
		}
	}
}

// line returns the next line that is not empty, without its break.
func (r *Reader) line() ([]byte, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		if len(line) > 0 {
			r.number++
		}
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.in.ReadSlice('\n')
		}
		switch {
		case tooLong && (err == nil || err == io.EOF):
			return nil, &LineError{r.number, fmt.Errorf("expected at most %d bytes, got more", maxLine)}
		case err == io.EOF && len(line) > 0:
			return nil, &LineError{r.number, errors.New("expected a line break at its end, got none: it is " +
				"being written, or was cut off")}
		case err != nil:
			return nil, err
		}
		if line = bytes.TrimSuffix(line, []byte("\n")); len(line) > 0 {
			return line, nil
		}
	}
}

// parse reads a line strictly. It returns nil for a line of another event.
func parse(line []byte) (*Record, error) {
	// Of a name that stands twice, readers take the first or the last.
	root, err := strict.Parse(string(line), strict.Rules{MaxDepth: 32})
	if err != nil || root.Kind() != strict.Object {
		return nil, errors.New("expected a JSON object without names that stand twice, and nothing after it")
	}
	if event, ok := root.Member("event"); !ok || event.Kind() != strict.String {
		return nil, errors.New("expected event, got none: is it a log of a gate?")
	} else if event.Text() != Event {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	record := new(Record)
	if err := d.Decode(record); err != nil {
		return nil, fmt.Errorf("expected the fields of a decision: %w", err)
	}
	if record.Verdict != Allowed && (record.Verdict != Refused || record.Reason == "") {
		return nil, errors.New("expected the verdict allowed, or refused with a reason")
	}
	return record, nil
}
